"""All mutants by name, and the seeds that are known to kill them.

A known seed only saves time: it is tried before the others, and if it kills no more, the mutant is searched for.
"""

from __future__ import annotations

from ringproto.testing import mutants_barrier, mutants_membership, mutants_order, mutants_stream
from ringproto.testing.mutation import Mutant

__all__ = ["MUTANTS"]

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        *mutants_order.MUTANTS,
        *mutants_barrier.MUTANTS,
        *mutants_membership.MUTANTS,
        *mutants_stream.MUTANTS,
    )
}
"""Every mutant by its name."""
