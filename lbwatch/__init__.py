"""Follows a Docker Engine's containers and has nginx serve what they say."""

__version__ = "0.1.0"
