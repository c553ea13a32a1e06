"""How a candidate is tested together with the user's own configuration."""
