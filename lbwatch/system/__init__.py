"""What this machine offers: files, locks, mounts, state that survives, log and service manager."""
