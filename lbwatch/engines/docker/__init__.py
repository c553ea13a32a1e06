"""The Docker edge: speaks the Engine API and keeps one engine's containers as a snapshot."""
