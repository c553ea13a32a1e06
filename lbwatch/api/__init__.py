"""What the running daemon answers, by TCP to whoever looks and by a unix socket to its commands, and their client."""
