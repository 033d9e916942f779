"""The judge: holds the logs of a run against the rules that docs/testing.md lists.

It is written from the rules and knows nothing of the implementation. Every rule is a function under its own name that
walks the indexed run and yields what breaks it; :data:`RULES` is the whole law. Two things matter: no correct run is
ever blamed, and every rule can fail.

Rules that no log can show are not here: Q1 (buffers stay within bounds) is for whoever can see the buffers, and of
B17 (one place is always kept for the unblock) only the consequence is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from ringproto.testing.judge import barrier, causality, configurations, liveness, order, stability, stream, token
from ringproto.testing.judge.history import History, Stretch, Violation
from ringproto.testing.judge.transcript import Transcript, uncollected

__all__ = ["RULES", "Stretch", "Violation", "judge"]

RULES: dict[str, Callable[[History], Iterator[Violation]]] = {
    **order.RULES,
    **causality.RULES,
    **configurations.RULES,
    **barrier.RULES,
    **liveness.RULES,
    **token.RULES,
    **stream.RULES,
    **stability.RULES,
}
"""Every rule by its name in the design."""

VIOLATIONS_MAX = 20
"""Of each rule; the first ones say what is wrong."""


def judge(
    transcripts: Sequence[Transcript],
    *,
    quorum: int = 1,
    complete: Sequence[tuple[int, int]] | None = None,
    truncated: bool = False,
    storage_survives: bool = False,
    window_size: int | None = None,
    retransmits_max: int = 128,
    origin: int = 0,
    stretches: Sequence[Stretch] = (),
) -> list[Violation]:
    """All violations of a run, at most ``VIOLATIONS_MAX`` of each rule; none if it was right.

    ``transcripts`` are the logs of all incarnations, those of one node in the order of its lives. ``quorum`` is what
    the processors ran with. ``complete`` asks for liveness: the processors (node, incarnation) that must at the end be
    together in one last regular configuration, its barrier complete if it has the quorum, with everything delivered
    that they accepted. ``truncated``: logs of killed processes may lack their last records. ``storage_survives``: ring
    sequences must rise over restarts too. ``window_size`` (packets) and ``retransmits_max`` bound what K5 sees.
    ``origin``: what the rings counted their messages from. ``stretches`` asks for stability: parts of the run in which
    nothing was wrong but a loss that is known.
    """
    with uncollected():
        run = History(
            transcripts,
            quorum=quorum,
            complete=complete,
            truncated=truncated,
            storage_survives=storage_survives,
            window_size=window_size,
            retransmits_max=retransmits_max,
            origin=origin,
            stretches=stretches,
        )
        return [violation for rule in RULES.values() for violation in islice(rule(run), VIOLATIONS_MAX)]
