"""A Swarm, whose managers are asked for its tasks, and tell of its services and nodes."""
