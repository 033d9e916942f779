"""What must not happen while nothing is wrong but an ordinary loss: nobody is left out, and little changes.

Most rules say what a configuration change must keep; these say when there must be none. No log knows whether its
processor was scheduled or what its links lost, so they are asked for only over the stretches that the caller names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ringproto._core import NUMBER_END
from ringproto.events import RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.history import History, Incarnation, Stretch, Violation
from ringproto.testing.judge.transcript import Stop
from ringproto.types import RingId

__all__ = ["RULES"]


def _parts(run: History) -> Iterator[tuple[Stretch, Incarnation, list[tuple[int, Any]]]]:
    """Of each stretch each member, with its records that speak of configurations or of its end, and their places."""
    lives = {(life.node, life.transcript.incarnation): life for life in run.lives}
    for stretch in run.stretches:
        for who, (first, after) in stretch.places.items():
            life = lives[who]
            changes: list[tuple[int, Any]] = [(at, record) for at, record in life.configurations if first <= at < after]
            records = life.transcript.records
            if records and isinstance(records[-1], Stop) and first <= len(records) - 1 < after:
                changes.append((len(records) - 1, records[-1]))
            yield stretch, life, changes


def b21_nobody_is_left_out(run: History) -> Iterator[Violation]:
    """While all live, are scheduled, and hear each other with an ordinary loss, every configuration has all of them;
    where more is lost, all but a few."""
    for stretch, life, changes in _parts(run):
        without: dict[str, int] = {"transitional": 0, "regular": 0}
        for at, record in changes:
            if isinstance(record, Stop):
                yield life.violation("B21", at, f"stopped ({record.kind}) although {stretch.what}")
                continue
            missing = sorted(stretch.kept.difference(record.members)) if life.node in stretch.kept else []
            if missing:
                kind = "transitional" if isinstance(record, TransitionalConfiguration) else "regular"
                without[kind] += 1
                if without[kind] > stretch.left_out_max:
                    text = f"{missing} not in the {kind} configuration of {record.ring_id} although {stretch.what}"
                    yield life.violation("B21", at, f"{text}; at most {stretch.left_out_max} such")


def _worn_out(run: History) -> set[RingId]:
    """The rings whose numbers came to their end: each gives way to one with fresh numbers."""
    return {
        ring_id
        for life in run.lives
        for ring_id, tokens in life.tokens.items()
        if any(max(token.token_seq, token.seq) >= NUMBER_END for _, token in tokens[-1:])
    }


def stability(run: History) -> Iterator[Violation]:
    """A member installs no more configurations than the loss explains."""
    worn_out = _worn_out(run)
    for stretch, life, changes in _parts(run):
        rings = [record.ring_id for _, record in life.configurations if isinstance(record, RegularConfiguration)]
        before = dict(zip(rings[1:], rings[:-1], strict=True))
        installed = [
            at
            for at, record in changes
            if isinstance(record, RegularConfiguration) and before.get(record.ring_id) not in worn_out
        ]
        if len(installed) > stretch.changes_max:
            text = f"installed {len(installed)} configurations although {stretch.what}; at most {stretch.changes_max}"
            yield life.violation("stability", installed[stretch.changes_max], text)


RULES = {"B21": b21_nobody_is_left_out, "stability": stability}
