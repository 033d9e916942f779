"""The rules of order and delivery (E and T in docs/testing.md), each a function of its own.

What is delivered in com(c) is compared by its places on the ring (seq); that a place and a message are one to one is
E1.4. So each rule is a statement about numbers, and each looks at every delivery at most once. The rules about cycles
are in ``causality``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Union

from ringproto.testing.judge.history import DONE_PLACE, History, RingLog, Stay, Violation
from ringproto.testing.judge.transcript import Abort, Delv, Send, Start, Stop, UnbDelv, UnbSend, Wait, describe
from ringproto.types import RingId

__all__ = ["RULES"]


def _name(seq: int, record: Union[Delv, Send, UnbDelv, UnbSend, None]) -> str:
    """How a text calls what has this place."""
    if isinstance(record, UnbDelv):
        return f"the unblock of node {record.node} (seq {seq})"
    if isinstance(record, UnbSend):
        return f"the unblock (seq {seq})"
    return f"message {record.mid} (seq {seq})" if record is not None else f"seq {seq}"


def _few(values: Iterable[object]) -> str:
    """Some of them, for a text."""
    listed = list(values)
    more = f" and {len(listed) - 6} more" if len(listed) > 6 else ""
    return ", ".join(map(str, listed[:6])) + more


def e1_2_one_process_is_one_sequence(run: History) -> Iterator[Violation]:
    """A log begins with its only START, ends with its only STOP, and no other log is of the same incarnation."""
    seen: set[tuple[int, int]] = set()
    for life in run.lives:
        records = life.transcript.records
        if not records:
            if not run.truncated:
                yield life.violation("E1.2", 0, "the log is empty; it must begin with START")
            continue
        if not isinstance(records[0], Start):
            yield life.violation("E1.2", 0, f"the log begins with {describe(records[0])}; it must begin with START")
        key = (life.node, life.transcript.incarnation)
        if key in seen:
            yield life.violation("E1.2", 0, "two logs are of this one incarnation")
        seen.add(key)
        kinds = list(map(type, records))
        if kinds.count(Start) > 1:
            at = kinds.index(Start, 1)
            yield life.violation("E1.2", at, "a second START; every incarnation has a log of its own")
        if Stop in kinds:
            stopped = kinds.index(Stop)
            for at in range(stopped + 1, len(kinds)):
                if kinds[at] is not Wait:
                    yield life.violation("E1.2", at, f"{describe(records[at])} after STOP; nothing may follow it")
                    break


def e1_3_every_delivery_has_one_earlier_send(run: History) -> Iterator[Violation]:
    """Every message delivered in com(c) was sent before, in c, by the processor that it names."""
    for ring in run.rings.values():
        sent = ring.sent
        for stay in ring.stays:
            unsent = set(stay.places).difference(sent)
            unsent.discard(DONE_PLACE)
            if not unsent:
                continue
            for at, record in zip(stay.stream_at, stay.stream, strict=True):
                if isinstance(record, Delv) and record.seq in unsent and not run.tail_lost(record.sender, ring.ring_id):
                    text = f"{_name(record.seq, record)} of node {record.sender} was delivered; nobody sent it there"
                    yield stay.violation("E1.3", at, text)
    for stay, at, seen, expected, source in run.mismatches:
        if isinstance(seen, Delv) and isinstance(expected, Delv) and _only_the_sender_differs(seen, expected):
            text = f"{_name(seen.seq, seen)} names node {seen.sender} as its sender; it was {expected.sender}"
            yield stay.violation("E1.3", at, f"{text} ({source.life})")
    for stay in run.stays():
        yield from _delivered_before_own_send(stay)


def _delivered_before_own_send(stay: Stay) -> Iterator[Violation]:
    """A processor cannot have delivered what it has still to send. (Before others' sends: E1.1.)"""
    if not stay.sends:
        return
    early: set[int] = set()
    delivered: set[int] = set()
    mine = {send.seq for _, send in stay.sends}
    for place in stay.order:
        if place >= 0:
            if place in mine:
                delivered.add(place)
        elif ~place in delivered:
            early.add(~place)
    for at, send in stay.sends:
        if send.seq in early:
            yield stay.violation("E1.3", at, f"{_name(send.seq, send)} was sent after it had been delivered")


def e1_4_places_and_messages_are_one_to_one(run: History) -> Iterator[Violation]:
    """A message is sent once and delivered at most once, has one place on one ring, and is the same everywhere."""
    yield from _sent_once(run)
    for stay, at, seen, expected, source in run.mismatches:
        if isinstance(seen, UnbDelv) and isinstance(expected, UnbDelv):
            continue  # B8
        here = f"{describe(seen)} at seq {seen.seq}"
        if isinstance(seen, Delv) and isinstance(expected, Delv):
            if _only_the_sender_differs(seen, expected):
                continue  # E1.3
            names = [
                name
                for name in ("mid", "sender", "priority", "guarantee", "digest")
                if getattr(seen, name) != getattr(expected, name)
            ]
            here = f"the {' and '.join(names)} of {_name(seen.seq, seen)} differ"
        yield stay.violation("E1.4", at, f"{here}; {source.life} has {describe(expected)} there")
    for life in run.lives:
        mids = [record.mid for stay in life.stays for record in stay.stream if isinstance(record, Delv) and record.mid]
        if len(set(mids)) == len(mids):
            continue
        twice = {mid for mid, count in Counter(mids).items() if count > 1}
        first: dict[str, Stay] = {}
        for stay in life.stays:
            for at, record in zip(stay.stream_at, stay.stream, strict=True):
                if isinstance(record, Delv) and record.mid in twice:
                    if record.mid in first:
                        text = f"{_name(record.seq, record)} is delivered again, first in {first[record.mid].ring_id}"
                        yield stay.violation("E1.4", at, text)
                    first.setdefault(record.mid, stay)


def _only_the_sender_differs(seen: Delv, expected: Delv) -> bool:
    return seen._replace(sender=expected.sender, ring_id=expected.ring_id) == expected


def _sent_once(run: History) -> Iterator[Violation]:
    for ring in run.rings.values():
        for first, second in ring.sent_twice:
            text = (
                f"{_name(second.record.seq, second.record)} takes the place of {_name(first.record.seq, first.record)}"
            )
            yield second.stay.violation("E1.4", second.at, f"{text}, which {first.stay.life} sent there")
    seen: dict[str, Stay] = {}
    for stay in run.stays():
        for at, send in stay.sends:
            first_stay = seen.setdefault(send.mid, stay) if send.mid else stay
            if first_stay is not stay:
                text = f"{_name(send.seq, send)} is sent again; {first_stay.life} sent it in {first_stay.ring_id}"
                yield stay.violation("E1.4", at, text)
        if len({send.mid for _, send in stay.sends}) != len(stay.sends):
            mids = Counter(send.mid for _, send in stay.sends if send.mid)
            for mid, count in mids.items():
                if count > 1:
                    at = max(at for at, send in stay.sends if send.mid == mid)
                    yield stay.violation("E1.4", at, f"message {mid} is sent {count} times")


def e2_2_events_stay_in_their_configuration(run: History) -> Iterator[Violation]:
    """What is sent or delivered in c stands between the CONF of c and the next; nothing is sent in a transitional one.

    Unblocks and completions of other rings are judged by B10, B16 and B19.
    """
    for life in run.lives:
        for at, record in life.lost:
            if not isinstance(record, Abort):
                yield life.violation("E2.2", at, f"{describe(record)} before the first configuration")
    for stay in run.stays():
        for at, record in stay.misplaced:
            if isinstance(record, (Send, Delv)) and record.ring_id != stay.ring_id:
                yield stay.violation("E2.2", at, f"{describe(record)} belongs to another ring")
            elif isinstance(record, Send):
                yield stay.violation("E2.2", at, f"{describe(record)} is sent in the transitional configuration")


def e3_self_delivery(run: History) -> Iterator[Violation]:
    """What a processor sends in c and does not fail, it delivers in com(c)."""
    for stay in run.stays():
        if stay.following is None or not (stay.sends or stay.unblocks_sent):
            continue
        delivered = set(stay.places)
        for at, record in stay.all_sent:
            if record.seq not in delivered:
                text = f"{_name(record.seq, record)} was sent and never delivered to its sender"
                yield stay.violation("E3", at, f"{text}, which went on to {stay.following.ring_id}")


def e4_failure_atomicity(run: History) -> Iterator[Violation]:
    """Processors that go from one configuration directly to the same next one delivered the same sequence in it."""
    together: dict[tuple[RingId, RingId], list[Stay]] = defaultdict(list)
    for stay in run.stays():
        if stay.following is not None:
            together[stay.ring_id, stay.following.ring_id].append(stay)
    for (_, following), stays in together.items():
        first = stays[0]
        for stay in stays[1:]:
            where = f"both went on to {following}"
            for start, end, other_start, other_end, which in (
                (0, stay.regular_length, 0, first.regular_length, "the regular"),
                (stay.regular_length, None, first.regular_length, None, "the transitional"),
            ):
                mine, theirs = stay.places[start:end], first.places[other_start:other_end]
                if mine != theirs:
                    place = _first_difference(mine, theirs)
                    here, there = _at(stay, start, mine, place), _at(first, other_start, theirs, place)
                    text = f"its delivery {place + 1} in {which} configuration is {here}, at {first.life} it is {there}"
                    index = start + place
                    at = stay.stream_at[index] if place < len(mine) else (stay.stream_at or [stay.configuration_at])[-1]
                    yield stay.violation("E4", at, f"{text}; {where}")
                    break


def _first_difference(mine: list[int], theirs: list[int]) -> int:
    for place, (here, there) in enumerate(zip(mine, theirs, strict=False)):
        if here != there:
            return place
    return min(len(mine), len(theirs))


def _at(stay: Stay, start: int, places: list[int], place: int) -> str:
    if place >= len(places):
        return "nothing"
    return describe(stay.stream[start + place])


def e5_causal_order(run: History) -> Iterator[Violation]:
    """What was sent or delivered by a processor before it sent m is delivered before m, in c by everyone.

    Beyond a hole in a transitional configuration this speaks of that configuration's own members; T3 of the others.
    """
    for stay in run.stays():
        last: Union[Send, UnbSend, None] = None
        for at, record in stay.all_sent:
            if last is not None and record.seq < last.seq:
                text = f"{_name(record.seq, record)} was sent after {_name(last.seq, last)}"
                yield stay.violation("E5", at, f"{text} and has an earlier place")
            last = record
            high = stay.high_at_send[record.seq]
            if high > record.seq:
                text = f"{_name(record.seq, record)} was sent when seq {high} had been delivered"
                yield stay.violation("E5", at, f"{text} and has an earlier place")
    for ring in run.rings.values():
        for stay in ring.stays:
            for index, text in _causal_gaps(ring, stay):
                if index < stay.regular_length or _goes_along(stay, ring, index):
                    yield stay.violation("E5", stay.stream_at[index], text)


def t3_after_a_hole_only_what_misses_nothing(run: History) -> Iterator[Violation]:
    """After the first hole in a transitional configuration a message of a sender outside it is delivered only if no
    earlier one of that sender and nothing that causally precedes it is missing."""
    for ring in run.rings.values():
        for stay in ring.stays:
            for index, text in _causal_gaps(ring, stay):
                if index >= stay.regular_length and not _goes_along(stay, ring, index):
                    yield stay.violation("T3", stay.stream_at[index], text)


def _goes_along(stay: Stay, ring: RingLog, index: int) -> bool:
    """Whether who sent this is in the transitional configuration too."""
    sent = ring.sent.get(stay.places[index])
    return sent is not None and stay.transitional is not None and sent.stay.life.node in stay.transitional.members


def _causal_gaps(ring: RingLog, stay: Stay) -> Iterator[tuple[int, str]]:
    """Deliveries beyond the first hole of which something that precedes them is missing.

    When m was sent, its sender had delivered all of the ring from 1 to some place h without a gap (T2), and had sent
    some messages itself. These are all that precedes m.
    """
    if stay.straight:
        return
    prefix = stay.prefix
    before: set[int] = set()
    by_sender: dict[int, list[int]] = defaultdict(list)
    for seq, sent in ring.sent.items():
        by_sender[sent.stay.life.node].append(seq)
    for seqs in by_sender.values():
        seqs.sort()
    checked: dict[int, int] = defaultdict(int)
    for index, seq in enumerate(stay.places):
        if seq == DONE_PLACE:
            continue
        source = ring.sent.get(seq)
        before.add(seq)
        if seq <= prefix or source is None:
            continue
        name = describe(stay.stream[index])
        if min(source.stay.high_at_send[seq], seq) > prefix:
            text = f"its sender had delivered seq {prefix + 1} before it sent this, and that is missing here"
            yield index, f"{name}: {text}"
            continue
        mine = by_sender[source.stay.life.node]
        position = checked[source.stay.life.node]
        while position < len(mine) and mine[position] < seq and mine[position] in before:
            position += 1
        checked[source.stay.life.node] = position
        if position < len(mine) and mine[position] < seq:
            yield index, f"{name}: its sender had sent seq {mine[position]} before it, and that is missing here"


def e6_3_holes_only_of_senders_left_behind(run: History) -> Iterator[Violation]:
    """What a transitional configuration's member sent before the last thing delivered in it is not missing there.

    Holes in the regular configuration: T2.
    """
    for ring in run.rings.values():
        for stay in ring.stays:
            if stay.transitional is None or stay.straight:
                continue
            delivered = set(stay.places)
            last = max(delivered)
            for seq, sent in sorted(ring.sent.items()):
                if seq < last and seq not in delivered and sent.stay.life.node in stay.transitional.members:
                    text = f"{_name(seq, sent.record)} of {sent.stay.life} is missing before seq {last}"
                    text = f"{text}, although its sender is in the transitional configuration"
                    yield stay.violation("E6.3", stay.transitional_at, text)


def e7_1_safe_messages_reach_all(run: History) -> Iterator[Violation]:
    """A safe message delivered by p in C is delivered by every member of C in com(reg(C)), unless that fails there.

    To leave is not to fail: who leaves has acknowledged what others deliver for that, and must deliver it before it
    goes. Its application may be the one that brings the message into a later configuration.
    """
    for ring in run.rings.values():
        regular: dict[int, Stay] = {}
        for stay in ring.stays:
            for index in stay.safe:
                if index < stay.regular_length:
                    regular.setdefault(stay.places[index], stay)
        going_on = [stay for stay in ring.stays if stay.following is not None or _leaves(stay)]
        highest = max(regular, default=0)
        for stay in going_on:
            if stay.prefix < highest:
                for seq in sorted(regular.keys() - set(stay.places)):
                    yield _unsafe(ring, stay, seq, regular[seq], "regular")
        for stay in ring.stays:
            if stay.transitional is None or not any(index >= stay.regular_length for index in stay.safe):
                continue
            safe = {stay.places[index] for index in stay.safe if index >= stay.regular_length}
            for other in going_on:
                if other.life.node in stay.transitional.members and other is not stay:
                    for seq in sorted(safe.difference(other.places)):
                        if seq not in regular:
                            yield _unsafe(ring, other, seq, stay, "transitional")


def _leaves(stay: Stay) -> bool:
    """Whether its processor left the ring in this configuration, and did not crash there."""
    stop = stay.life.stop
    return stay.following is None and stop is not None and stop.kind != "crash"


def _unsafe(ring: RingLog, stay: Stay, seq: int, by: Stay, which: str) -> Violation:
    record = by.stream[by.places.index(seq)]
    assert isinstance(record, Delv)
    text = f"safe {_name(seq, record)} was delivered by {by.life} in the {which} configuration"
    if stay.following is None:
        at = len(stay.life.transcript.records) - 1
        return stay.violation("E7.1", at, f"{text}; this member left without it")
    at = stay.following.configuration_at
    return stay.violation("E7.1", at, f"{text}; this member went on to {stay.following.ring_id} without it")


def e7_2_safe_in_regular_means_installed_by_all(run: History) -> Iterator[Violation]:
    """A safe message delivered in the regular c means that every member installed c."""
    for ring in run.rings.values():
        for stay in ring.stays:
            if not stay.safe or stay.safe[0] >= stay.regular_length:
                continue
            for node in stay.configuration.members:
                if node not in ring.nodes and not run.tail_lost(node, ring.ring_id):
                    seq = stay.places[stay.safe[0]]
                    text = f"safe seq {seq} was delivered in the regular configuration, which node {node}"
                    text = f"{text} never installed" + ("" if node in run.nodes else " (there is no log of that node)")
                    yield stay.violation("E7.2", stay.stream_at[stay.safe[0]], text)
            break


def t1_places_rise(run: History) -> Iterator[Violation]:
    """seq strictly rises in com(c)."""
    for stay in run.stays():
        if stay.straight:
            continue
        last = run.origin
        for index, seq in enumerate(stay.places):
            if seq == DONE_PLACE:
                continue
            if seq <= last:
                text = f"{describe(stay.stream[index])} comes after seq {last}; places must rise strictly"
                yield stay.violation("T1", stay.stream_at[index], text)
            last = seq


def t2_no_gap_in_a_regular_configuration(run: History) -> Iterator[Violation]:
    """In a regular configuration messages and unblocks together are 1, 2, 3, ... (from the origin) without gap."""
    origin = run.origin
    for stay in run.stays():
        if stay.straight:
            continue
        got = set(stay.places[: stay.regular_length])
        got.discard(DONE_PLACE)
        highest = max(got, default=origin)
        if len(got) < highest - origin:
            lacking = [seq for seq in range(origin + 1, min(highest, origin + len(got) + 10)) if seq not in got]
            index = next(index for index, seq in enumerate(stay.places) if seq > lacking[0])
            text = f"seq {_few(lacking)} missing, and {describe(stay.stream[index])} was delivered in the regular one"
            yield stay.violation("T2", stay.stream_at[index], text)


RULES = {
    "E1.2": e1_2_one_process_is_one_sequence,
    "E1.3": e1_3_every_delivery_has_one_earlier_send,
    "E1.4": e1_4_places_and_messages_are_one_to_one,
    "E2.2": e2_2_events_stay_in_their_configuration,
    "E3": e3_self_delivery,
    "E4": e4_failure_atomicity,
    "E5": e5_causal_order,
    "E6.3": e6_3_holes_only_of_senders_left_behind,
    "E7.1": e7_1_safe_messages_reach_all,
    "E7.2": e7_2_safe_in_regular_means_installed_by_all,
    "T1": t1_places_rise,
    "T2": t2_no_gap_in_a_regular_configuration,
    "T3": t3_after_a_hole_only_what_misses_nothing,
}
