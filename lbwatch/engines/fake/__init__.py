"""
A small Docker Engine on a unix socket, for the demo, for tests and for authors of templates.

It runs nothing: containers are entries in memory. It speaks the Engine API as Engine 20.10 does, or another of its
`kinds`, with that engine's habits: a list that lags, a stream that loses, labels that overwrite what an event says. It
imports nothing else of lbwatch, so that no mistake can be in both.
"""

from lbwatch.engines.fake.engine import FakeEngine

__all__ = ["FakeEngine"]
