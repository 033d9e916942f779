"""All mutants by name, those of the core first.

What is known to kill those of the core stands in ``mutant_seeds``. It only saves time: it is tried before the rest, and
if it kills no more, the mutant is searched for.
"""

from __future__ import annotations

from ringproto.testing import (
    mutants_barrier,
    mutants_membership,
    mutants_order,
    mutants_service,
    mutants_staying,
    mutants_stream,
    mutants_transports,
)
from ringproto.testing.mutation import Mutant

__all__ = ["MUTANTS"]

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        *mutants_order.MUTANTS,
        *mutants_barrier.MUTANTS,
        *mutants_membership.MUTANTS,
        *mutants_stream.MUTANTS,
        *mutants_staying.MUTANTS,
        *mutants_service.MUTANTS,
        *mutants_transports.MUTANTS,
    )
}
"""Every mutant by its name."""
