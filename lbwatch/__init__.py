"""Follows a Docker Engine's containers and keeps nginx's upstreams true."""

__version__ = "0.1.0"
