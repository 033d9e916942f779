"""What an application was given, held against what its processor says that it delivered.

All other rules read the audit, which the processor writes itself. A fault between the audit and the application (a
message that gets lost there, two that change places, a completion that comes too early) breaks none of them. A
transcript with ``given`` has both sides. One without it says nothing about the application, and is not judged here.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringproto.testing.judge.history import History, Incarnation, Violation
from ringproto.testing.judge.transcript import Given, describe

__all__ = ["RULES"]


def _difference(life: Incarnation, *, torn: bool) -> int | None:
    """The first place at which the application was given something else than the processor says that it delivered;
    ``None`` if it was given the beginning of that. ``torn``: the log may lack its last records."""
    given, delivered = life.transcript.given or [], life.transcript.delivered()
    if torn:
        given = given[: len(delivered)]
    if given == delivered[: len(given)]:
        return None
    places = range(min(len(given), len(delivered)))
    return next((place for place in places if given[place] != delivered[place]), len(delivered))


def _torn(run: History, life: Incarnation) -> bool:
    return run.truncated and (life.stop is None or life.stop.kind == "crash")


def _words(records: list[Given], place: int) -> str:
    return f"«{describe(records[place])}»" if place < len(records) else "nothing more"


def s1_given_is_what_was_delivered(run: History) -> Iterator[Violation]:
    """The application is given the events that its processor delivers, each once and in that order."""
    for life in run.lives:
        given = life.transcript.given
        place = _difference(life, torn=_torn(run, life))
        if given is None or place is None:
            continue
        delivered = life.transcript.delivered()
        text = (
            f"event {place + 1} of the application is {_words(given, place)}, and its processor delivered "
            f"{_words(delivered, place)}"
        )
        yield life.violation("S1", _index(life, delivered, place), text)


def s2_all_that_was_delivered_is_given(run: History) -> Iterator[Violation]:
    """Who reads its stream up to the end, or is to have everything by now, was given all that was delivered."""
    named = set(run.complete or ())
    for life in run.lives:
        given = life.transcript.given
        if given is None or not (life.transcript.ended or (life.node, life.transcript.incarnation) in named):
            continue
        delivered = life.transcript.delivered()
        if len(given) < len(delivered) and _difference(life, torn=False) is None:
            missing = len(delivered) - len(given)
            text = f"{missing} events were never given to the application; the first is {_words(delivered, len(given))}"
            yield life.violation("S2", _index(life, delivered, len(given)), text)


def _index(life: Incarnation, delivered: list[Given], place: int) -> int:
    """Where the event of this place stands in the log; its end if it has none."""
    records = life.transcript.records
    if place >= len(delivered):
        return len(records) - 1
    return next(index for index, record in enumerate(records) if record is delivered[place])


RULES = {
    "S1": s1_given_is_what_was_delivered,
    "S2": s2_all_that_was_delivered_is_given,
}
