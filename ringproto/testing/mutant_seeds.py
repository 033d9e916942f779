"""A seed for each mutant that is known to kill it. Written by ``ringproto mutants --search --write``.

A change of the simulator changes what each seed does; then this is written anew.
"""

from __future__ import annotations

from ringproto.testing.mutation import Seed

__all__ = ["KILLED_BY"]

KILLED_BY: dict[str, Seed] = {}
"""The first seed of the search that killed it."""
