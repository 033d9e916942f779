"""All mutants by name, those of the core first.

What is known to kill those of the core stands in ``seeds``. It only saves time: it is tried before the rest, and
if it kills no more, the mutant is searched for.
"""

from __future__ import annotations

from mutants import barrier, membership, order, service, staying, stream, transports
from mutants.mutation import Mutant

__all__ = ["MUTANTS"]

MUTANTS: dict[str, Mutant] = {
    mutant.name: mutant
    for mutant in (
        *order.MUTANTS,
        *barrier.MUTANTS,
        *membership.MUTANTS,
        *stream.MUTANTS,
        *staying.MUTANTS,
        *service.MUTANTS,
        *transports.MUTANTS,
    )
}
"""Every mutant by its name."""
