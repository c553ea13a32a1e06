"""Where nginx reaches a container: by which address and port, and why not by the others."""

from lbwatch.core.reach.rules import NETWORK_WAY, Reached, reached, weighed_networks, weighed_ways

__all__ = ["NETWORK_WAY", "Reached", "reached", "weighed_networks", "weighed_ways"]
