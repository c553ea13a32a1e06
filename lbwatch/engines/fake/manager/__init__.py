"""What a fake engine says as a manager of a Swarm: the truth of services, tasks and nodes, and copies that lag."""
