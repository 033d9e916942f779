"""The rules of the recovery barrier (B in docs/testing.md), c being always a regular configuration.

A stay holds com(c) at one processor, so «in c» means the regular configuration and the transitional one that follows it
there: completion may come in either, at the same place of the order. What is judged at the end of a run only (B15 and
the living halves of B11, B14 and B17) is in ``liveness``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ringproto.events import RecoveryComplete
from ringproto.testing.judge.history import History, Incarnation, Stay, Violation
from ringproto.testing.judge.transcript import (
    Abort,
    Delv,
    Free,
    Send,
    Submit,
    TokenRecord,
    UnbDelv,
    UnbSend,
    Wait,
    describe,
)
from ringproto.types import Priority, RingId

__all__ = ["RULES"]

_APPLICATION = (Priority.HIGH, Priority.LOW)


def b1_nothing_delivered_before_completion(run: History) -> Iterator[Violation]:
    """No HIGH or LOW message of c is delivered before DONE(c) in the same log."""
    for stay in run.stays():
        end = stay.dones[0] if stay.dones else len(stay.stream)
        for index, record in enumerate(stay.stream[:end]):
            if type(record) is Delv and record.priority != Priority.RECOVERY:
                text = f"{describe(record)} before the completion of the barrier"
                yield stay.violation("B1", stay.stream_at[index], text)


def b2_nothing_sent_before_completion(run: History) -> Iterator[Violation]:
    """No HIGH or LOW message is sent in c before DONE(c) in the same log."""
    for stay in run.stays():
        done_at = stay.done_at
        for at, send in stay.sends:
            if send.priority != Priority.RECOVERY and (done_at is None or at < done_at):
                yield stay.violation("B2", at, f"{describe(send)} before the completion of the barrier")


def b3_completion_has_one_place(run: History) -> Iterator[Violation]:
    """DONE(c) is where the last unblock is, the same at all, with the same recovery messages before it."""
    for ring in run.rings.values():
        first: tuple[Stay, RecoveryComplete, list[int]] | None = None
        for stay in ring.stays:
            if not stay.dones:
                continue
            index = stay.dones[0]
            done = stay.stream[index]
            assert isinstance(done, RecoveryComplete)
            at = stay.stream_at[index]
            unblocked = [stay.places[place] for place in stay.unblocks if place < index]
            recovery = [
                record.seq
                for record in stay.stream[:index]
                if type(record) is Delv and record.priority == Priority.RECOVERY
            ]
            if unblocked and done.seq != max(unblocked):
                text = f"the barrier completes at seq {done.seq}; the last unblock is seq {max(unblocked)}"
                yield stay.violation("B3", at, text)
            elif first is None:
                first = (stay, done, recovery)
            elif done.seq != first[1].seq:
                text = f"the barrier completes at seq {done.seq}, at {first[0].life} at seq {first[1].seq}"
                yield stay.violation("B3", at, text)
            elif recovery != first[2]:
                odd = sorted(set(recovery).symmetric_difference(first[2])) or recovery
                text = f"other recovery messages stand before the completion than at {first[0].life}: seq {odd[:6]}"
                yield stay.violation("B3", at, text)


def b4_completion_needs_every_member_and_the_quorum(run: History) -> Iterator[Violation]:
    """DONE(c) comes only after an unblock of every member was delivered, and only if c has the quorum; ``primary``
    says whether it has."""
    for stay in run.stays():
        members = stay.configuration.members
        primary = len(members) >= run.quorum
        if stay.configuration.primary != primary:
            text = f"primary is {stay.configuration.primary} with {len(members)} members and a quorum of {run.quorum}"
            yield stay.violation("B4", stay.configuration_at, text)
        for index in stay.dones[:1]:
            at = stay.stream_at[index]
            if not primary:
                text = f"the barrier completes with {len(members)} members; the quorum is {run.quorum}"
                yield stay.violation("B4", at, text)
            lacking = set(members).difference(_table(stay, index))
            if lacking and members != (stay.life.node,):
                text = f"the barrier completes without an unblock of {sorted(lacking)}"
                yield stay.violation("B4", at, text)


def _table(stay: Stay, length: int) -> set[int]:
    """Who has unblocked, by the first so many of the stream."""
    table = set()
    for index in stay.unblocks:
        if index >= length:
            break
        record = stay.stream[index]
        assert isinstance(record, UnbDelv)
        if record.ring_id == stay.ring_id:
            table.add(record.node)
    return table


def b5_recovery_messages_precede_the_unblock(run: History) -> Iterator[Violation]:
    """A member's recovery messages in c all come before its unblock, as they are sent and as they are delivered."""
    for stay in run.stays():
        if stay.unblocks_sent:
            unblocked_at = stay.unblocks_sent[0][0]
            for at, send in stay.sends:
                if send.priority == Priority.RECOVERY and at > unblocked_at:
                    yield stay.violation("B5", at, f"{describe(send)} after the unblock of this processor")
        if not stay.unblocks:
            continue
        unblocked: set[int] = set()
        for index, record in enumerate(stay.stream):
            if type(record) is UnbDelv:
                unblocked.add(record.node)
            elif type(record) is Delv and record.priority == Priority.RECOVERY and record.sender in unblocked:
                text = f"{describe(record)} after the unblock of its sender"
                yield stay.violation("B5", stay.stream_at[index], text)


def b6_one_unblock_each(run: History) -> Iterator[Violation]:
    """There is at most one unblock for each member, incarnation and c."""
    for stay in run.stays():
        for at, unblock in stay.unblocks_sent[1:]:
            yield stay.violation("B6", at, f"the unblock is sent again, as seq {unblock.seq}")
        seen: set[int] = set()
        for index in stay.unblocks:
            record = stay.stream[index]
            assert isinstance(record, UnbDelv)
            if record.node in seen:
                text = f"a second unblock of node {record.node} is delivered, seq {record.seq}"
                yield stay.violation("B6", stay.stream_at[index], text)
            seen.add(record.node)


def b7_the_table_is_the_unblocks_delivered(run: History) -> Iterator[Violation]:
    """The table is exactly the unblocks delivered so far: with the last one, and not later, the barrier is complete,
    and its members are those of c."""
    for stay in run.stays():
        members = set(stay.configuration.members)
        for index in stay.dones:
            done = stay.stream[index]
            assert isinstance(done, RecoveryComplete)
            if done.members != stay.configuration.members:
                text = f"the completion names the members {done.members}, not {stay.configuration.members}"
                yield stay.violation("B7", stay.stream_at[index], text)
        if len(members) < run.quorum or len(stay.unblocks) < len(members):
            continue
        table: set[int] = set()
        for index in stay.unblocks:
            record = stay.stream[index]
            assert isinstance(record, UnbDelv)
            if record.ring_id == stay.ring_id:
                table.add(record.node)
            if table >= members:
                break
        else:
            continue
        over = stay.following is not None or index + 1 < len(stay.stream) or stay.transitional is not None
        if over and (index + 1 not in stay.dones or index + 1 == stay.split):
            text = f"{describe(stay.stream[index])} is the last unblock; the completion must follow it at once"
            yield stay.violation("B7", stay.stream_at[index], text)


def b8_equal_prefix_equal_table(run: History) -> Iterator[Violation]:
    """Who delivered the same prefix of the order has the same table."""
    for stay, at, seen, expected, source in run.mismatches:
        if isinstance(seen, UnbDelv) and isinstance(expected, UnbDelv) and seen.node != expected.node:
            text = (
                f"seq {seen.seq} is the unblock of node {seen.node} here and of node {expected.node} at {source.life}"
            )
            yield stay.violation("B8", at, text)


def b9_an_unfinished_round_is_aborted_once(run: History) -> Iterator[Violation]:
    """A change before DONE(c) gives exactly one ABORT(c), and no DONE(c) after it; else there is no ABORT(c)."""
    for life in run.lives:
        for at, record in life.lost:
            if isinstance(record, Abort):
                yield life.violation("B9", at, f"{describe(record)} before the first configuration")
        aborts: dict[RingId, list[int]] = defaultdict(list)
        for stay in life.stays:
            for at, abort in stay.aborts:
                before = stay.previous
                late = before is not None and abort.ring_id == before.ring_id and _directly_after(stay, at)
                if late or abort.ring_id == stay.ring_id:
                    aborts[abort.ring_id].append(at)
                else:
                    yield stay.violation("B9", at, f"ring {abort.ring_id} is aborted, whose round is not on")
        for stay in life.stays:
            ats = aborts[stay.ring_id]
            if stay.dones:
                for at in ats[:1]:
                    order = "and completed later" if at < (stay.done_at or 0) else "after it was complete"
                    yield stay.violation("B9", at, f"the round is aborted {order}")
            elif stay.following is not None and not ats:
                text = f"the round was not complete when {stay.following.ring_id} was installed, and not aborted"
                yield stay.violation("B9", stay.following.configuration_at, text)
            for at in ats[1:]:
                yield stay.violation("B9", at, "the round is aborted a second time")


def _directly_after(stay: Stay, at: int) -> bool:
    """Whether nothing of the ordered stream stands between the CONF of this stay and this place."""
    between = stay.life.transcript.records[stay.configuration_at + 1 : at]
    return all(isinstance(record, (Submit, TokenRecord, Free, Wait)) for record in between)


def b10_at_most_one_completion(run: History) -> Iterator[Violation]:
    """There is at most one DONE(c), between CONF(c) and the next regular configuration."""
    for stay in run.stays():
        for index in stay.dones[1:]:
            yield stay.violation("B10", stay.stream_at[index], "the barrier completes a second time")
        for at, record in stay.misplaced:
            if isinstance(record, RecoveryComplete):
                yield stay.violation("B10", at, f"the barrier of another ring, {record.ring_id}, completes here")


def b11_sent_once_in_order(run: History) -> Iterator[Violation]:
    """Accepted messages are sent first in, first out, per sender and priority; none is left out and none invented.

    HIGH and LOW stay queued over changes; the recovery messages of a round are dropped with it. (Sent twice: E1.4;
    before the completion: B2; recovery messages of another round: B18.)
    """
    for life in run.lives:
        for priority in _APPLICATION:
            accepted = [submit.mid for stay in life.stays for _, submit in stay.submits if submit.priority == priority]
            sends = [(stay, at, send) for stay in life.stays for at, send in stay.sends if send.priority == priority]
            yield from _in_order(accepted, _without_repeats(sends))
        for stay in life.stays:
            accepted = [submit.mid for _, submit in stay.submits if submit.priority == Priority.RECOVERY]
            here = set(accepted)
            sends = [
                (stay, at, send) for at, send in stay.sends if send.priority == Priority.RECOVERY and send.mid in here
            ]
            yield from _in_order(accepted, _without_repeats(sends))


def _without_repeats(sends: list[tuple[Stay, int, Send]]) -> list[tuple[Stay, int, Send]]:
    """A second sending is judged by E1.4. The empty mid is no identity."""
    if len({send.mid for _, _, send in sends}) == len(sends):
        return sends
    seen: set[str] = set()
    first: list[tuple[Stay, int, Send]] = []
    for entry in sends:
        mid = entry[2].mid
        if mid not in seen:
            first.append(entry)
            if mid:
                seen.add(mid)
    return first


def _in_order(accepted: list[str], sends: list[tuple[Stay, int, Send]]) -> Iterator[Violation]:
    for number, (stay, at, send) in enumerate(sends):
        due = accepted[number] if number < len(accepted) else None
        if send.mid != due:
            said = f"message {due}" if due is not None else "nothing that was accepted"
            yield stay.violation("B11", at, f"{describe(send)}; {said} was next in this queue")
            return


def b12_fragments_never_mix(run: History) -> Iterator[Violation]:
    """What is sent is what was accepted, whole: a message cut by a change is begun again from its first byte."""
    for life in run.lives:
        accepted: dict[str, Submit] = {}
        for stay in life.stays:
            for _, submit in stay.submits:
                accepted[submit.mid] = submit
        for stay in life.stays:
            for at, send in stay.sends:
                submit_ = accepted.get(send.mid)
                if submit_ is None or not send.mid:
                    continue
                if (send.digest, send.guarantee) != (submit_.digest, submit_.guarantee):
                    text = f"{describe(send)} is not what was accepted: digest {send.digest}, {send.guarantee.name}"
                    text = f"{text}; accepted {submit_.digest}, {submit_.guarantee.name}"
                    yield stay.violation("B12", at, text)


def b13_a_singleton_takes_the_same_path(run: History) -> Iterator[Violation]:
    """A configuration of one completes only after its one member sent its unblock and delivered it."""
    for stay in run.stays():
        if stay.configuration.members != (stay.life.node,):
            continue
        sent_at = stay.unblocks_sent[0][0] if stay.unblocks_sent else None
        delivered_at = next((stay.stream_at[index] for index in stay.unblocks), None)
        if delivered_at is not None and (sent_at is None or sent_at > delivered_at):
            yield stay.violation("B13", delivered_at, "the unblock of the singleton was delivered before it was sent")
        done_at = stay.done_at
        if done_at is not None and (delivered_at is None or delivered_at > done_at):
            yield stay.violation("B13", done_at, "the singleton completes before its unblock was delivered")


def b14_no_completion_without_a_member(run: History) -> Iterator[Violation]:
    """A member that stops before its unblock: no unblock of it is delivered, and the barrier completes nowhere."""
    for ring in run.rings.values():
        silent: dict[int, Incarnation] = {
            node: stays[0].life
            for node, stays in ring.nodes.items()
            if not any(stay.unblocks_sent for stay in stays) and not run.tail_lost(node, ring.ring_id)
        }
        if not silent:
            continue
        for stay in ring.stays:
            if stay.configuration.members == (stay.life.node,):
                continue  # B13
            for index in stay.unblocks:
                record = stay.stream[index]
                assert isinstance(record, UnbDelv)
                if record.node in silent and record.ring_id == stay.ring_id:
                    text = f"{describe(record)}, but {silent[record.node]} never sent an unblock there"
                    yield stay.violation("B14", stay.stream_at[index], text)


def b16_only_unblocks_of_this_incarnation_count(run: History) -> Iterator[Violation]:
    """An unblock that is delivered was sent in this ring by the incarnation that installed it."""
    for stay in run.stays():
        ring = run.rings[stay.ring_id]
        for index in stay.unblocks:
            record = stay.stream[index]
            assert isinstance(record, UnbDelv)
            at = stay.stream_at[index]
            if record.ring_id != stay.ring_id:
                yield stay.violation("B16", at, f"{describe(record)} is of another ring")
            elif record.node not in ring.nodes:
                if not run.tail_lost(record.node, ring.ring_id):
                    text = f"{describe(record)}, but no incarnation of that node installed this ring"
                    yield stay.violation("B16", at, text)
            elif record.seq not in ring.sent and any(other.unblocks_sent for other in ring.nodes[record.node]):
                seqs = [unblock.seq for other in ring.nodes[record.node] for _, unblock in other.unblocks_sent]
                text = f"{describe(record)}, but that node sent its unblock as seq {seqs}"
                yield stay.violation("B16", at, text)


def b18_recovery_messages_belong_to_their_round(run: History) -> Iterator[Violation]:
    """A recovery message is sent only in the regular configuration in which it was accepted."""
    for life in run.lives:
        submitted: dict[str, Stay] = {}
        for stay in life.stays:
            for _, submit in stay.submits:
                if submit.priority == Priority.RECOVERY:
                    submitted[submit.mid] = stay
        for stay in life.stays:
            for at, send in stay.sends:
                if send.priority != Priority.RECOVERY or not send.mid:
                    continue
                origin = submitted.get(send.mid)
                if origin is None:
                    yield stay.violation("B18", at, f"{describe(send)} was never accepted")
                elif origin is not stay:
                    text = f"{describe(send)} was accepted in ring {origin.ring_id}, whose round is over"
                    yield stay.violation("B18", at, text)


def b19_unsent_unblocks_are_dropped(run: History) -> Iterator[Violation]:
    """An unblock is sent only in the ring of the regular configuration that is installed; else it was to be dropped."""
    for stay in run.stays():
        for at, record in stay.misplaced:
            if isinstance(record, UnbSend):
                where = "its transitional configuration" if record.ring_id == stay.ring_id else f"ring {record.ring_id}"
                yield stay.violation("B19", at, f"an unblock is sent in {where}, seq {record.seq}")


def b20_waiting_for_is_true(run: History) -> Iterator[Violation]:
    """waiting_for is at all times the members of c minus the table."""
    for life in run.lives:
        last: tuple[int, Wait] | None = None
        for stay in life.stays:
            members = set(stay.configuration.members)
            for at, wait, length in stay.waits:
                expected = tuple(sorted(members - _table(stay, length)))
                if wait.members != expected:
                    text = f"waiting_for is {wait.members}; by the unblocks delivered it is {expected}"
                    yield stay.violation("B20", at, text)
                last = (at, wait)
        if last is not None and life.stop is None and not run.truncated:
            # The driver samples after every step, so what it saw last still holds.
            stay = life.stays[-1]
            expected = tuple(sorted(set(stay.configuration.members) - _table(stay, len(stay.stream))))
            if last[1].members != expected and last[0] < max(stay.stream_at, default=stay.configuration_at):
                text = f"waiting_for was last {last[1].members}; by the unblocks delivered at the end it is {expected}"
                yield stay.violation("B20", last[0], text)


RULES = {
    "B1": b1_nothing_delivered_before_completion,
    "B2": b2_nothing_sent_before_completion,
    "B3": b3_completion_has_one_place,
    "B4": b4_completion_needs_every_member_and_the_quorum,
    "B5": b5_recovery_messages_precede_the_unblock,
    "B6": b6_one_unblock_each,
    "B7": b7_the_table_is_the_unblocks_delivered,
    "B8": b8_equal_prefix_equal_table,
    "B9": b9_an_unfinished_round_is_aborted_once,
    "B10": b10_at_most_one_completion,
    "B11": b11_sent_once_in_order,
    "B12": b12_fragments_never_mix,
    "B13": b13_a_singleton_takes_the_same_path,
    "B14": b14_no_completion_without_a_member,
    "B16": b16_only_unblocks_of_this_incarnation_count,
    "B18": b18_recovery_messages_belong_to_their_round,
    "B19": b19_unsent_unblocks_are_dropped,
    "B20": b20_waiting_for_is_true,
}
