"""How changes of servers reach nginx's workers without a reload."""
