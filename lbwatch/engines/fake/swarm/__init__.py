"""A fake Swarm: who decides which tasks there are, and on which machines these come and go."""

from lbwatch.engines.fake.swarm.swarm import FakeSwarm

__all__ = ["FakeSwarm"]
