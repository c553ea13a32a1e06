"""Where containers come from, a folder for each kind of engine."""
