"""The nginx edge: tests a candidate, replaces the file, reloads and verifies that nginx runs it."""
