"""What must be true at the end of a run in which the faults have stopped (liveness).

Asked for only when the caller names the processors that are alive and connected at the end. Then each of them must be
in one last regular configuration with the others, its barrier complete if it has the quorum, and everything that was
accepted delivered.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringproto.testing.judge.history import DONE_PLACE, History, Incarnation, Violation
from ringproto.types import Priority

__all__ = ["RULES"]


def _alive(run: History) -> list[Incarnation]:
    """The named processors that have a log with a configuration."""
    named = set(run.complete or ())
    return [life for life in run.lives if (life.node, life.transcript.incarnation) in named and life.stays]


def _end(life: Incarnation) -> int:
    return len(life.transcript.records) - 1


def e2_1_who_stays_does_not_stay_alone(run: History) -> Iterator[Violation]:
    """If p stays in c for ever, so does every member of c. (With B14: a configuration that lost a member is left.)"""
    for life in _alive(run):
        last = life.stays[-1]
        for node in last.configuration.members:
            there = run.rings[last.ring_id].nodes.get(node, [])
            if not any(stay.following is None and stay.life.stop is None for stay in there):
                text = f"stays for ever in {last.ring_id}, of which member {node} is not there"
                yield life.violation("E2.1", _end(life), text)


def b11_everything_accepted_is_sent(run: History) -> Iterator[Violation]:
    """Every HIGH and LOW message that a living processor accepted was sent, if its barrier is complete."""
    for life in _alive(run):
        if not life.stays[-1].dones:
            continue
        for priority in (Priority.HIGH, Priority.LOW):
            accepted = [submit.mid for stay in life.stays for _, submit in stay.submits if submit.priority == priority]
            sent = sum(send.priority == priority for stay in life.stays for _, send in stay.sends)
            if sent < len(accepted):
                text = f"accepted {len(accepted)} {priority.name} messages and sent {sent}; next was {accepted[sent]}"
                yield life.violation("B11", _end(life), text)


def b15_the_connected_end_together(run: History) -> Iterator[Violation]:
    """When faults stop, the living install one regular configuration, reach its DONE, and deliver everything."""
    named = list(run.complete or ())
    alive = _alive(run)
    known = {(life.node, life.transcript.incarnation): life for life in alive}
    for node, incarnation in named:
        if (node, incarnation) not in known:
            yield Violation(
                "B15", "it must be alive at the end; it has no log with a configuration", node, incarnation, 0
            )
    if not alive:
        return
    first = alive[0].stays[-1]
    for life in alive:
        last = life.stays[-1]
        if life.stop is not None:
            yield life.violation("B15", _end(life), f"it must be alive at the end; it stopped: {life.stop.kind}")
        elif last.ring_id != first.ring_id:
            text = f"ends in {last.ring_id} with {last.configuration.members}, {first.life} in {first.ring_id}"
            yield life.violation("B15", _end(life), text)
        elif last.transitional is not None:
            text = f"ends in the transitional configuration of {last.ring_id}"
            yield life.violation("B15", last.transitional_at, text)
        elif len(last.configuration.members) >= run.quorum and not last.dones:
            if any(other.stays[-1].ring_id == last.ring_id and not other.stays[-1].unblocks_sent for other in alive):
                continue  # B17
            unblocked = {getattr(last.stream[index], "node", 0) for index in last.unblocks}
            missing = sorted(set(last.configuration.members) - unblocked)
            text = f"the barrier of {last.ring_id} never completed; no unblock of {missing} was delivered"
            yield life.violation("B15", _end(life), text)
        else:
            lost = sorted(run.rings[last.ring_id].sent.keys() - set(last.places) - {DONE_PLACE})
            if lost:
                sent = run.rings[last.ring_id].sent[lost[0]]
                text = f"in {last.ring_id} {len(lost)} messages were never delivered"
                yield life.violation("B15", _end(life), f"{text}; the first is seq {lost[0]} of {sent.stay.life}")


def b17_the_unblock_always_finds_a_place(run: History) -> Iterator[Violation]:
    """A living processor has sent the unblock of its last configuration: full queues cannot stop it.

    What the processor was asked for is not in the log, so this speaks of configurations with the quorum, whose
    barrier the caller says to be complete.
    """
    for life in _alive(run):
        last = life.stays[-1]
        quorum = len(last.configuration.members) >= run.quorum
        if quorum and not last.dones and not last.unblocks_sent and last.transitional is None and life.stop is None:
            text = f"the barrier of {last.ring_id} never completed; this processor never sent its unblock"
            yield life.violation("B17", _end(life), text)


RULES = {
    "E2.1": e2_1_who_stays_does_not_stay_alone,
    "B11 at the end": b11_everything_accepted_is_sent,
    "B15": b15_the_connected_end_together,
    "B17": b17_the_unblock_always_finds_a_place,
}
