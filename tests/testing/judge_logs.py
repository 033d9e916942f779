"""Makes logs of runs for the tests of the judge: right ones by following the rules, wrong ones by editing those.

A :class:`Script` plays a run without any protocol: a test says who installs, sends, delivers and stops, and the script
writes the records that a right processor writes then. :class:`Logs` are the finished logs, to be edited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Union

from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge import Stretch, Violation, judge
from ringproto.testing.judge.transcript import (
    Abort,
    Delv,
    Free,
    Given,
    Record,
    Send,
    Start,
    Stop,
    Submit,
    TokenRecord,
    Transcript,
    UnbDelv,
    UnbSend,
    Wait,
)
from ringproto.types import Guarantee, Priority, RingId

AGREED, SAFE = Guarantee.AGREED, Guarantee.SAFE
RECOVERY, HIGH, LOW = Priority.RECOVERY, Priority.HIGH, Priority.LOW


class Ring:
    """One ring: what was sent on it, and its token."""

    def __init__(self, ring_id: RingId, members: tuple[int, ...]) -> None:
        self.id = ring_id
        self.members = members
        self.sent: list[tuple[int, Union[Send, UnbSend]]] = []
        self.token_seq = 0
        self.aru = 0
        self.aru_id = 0
        self.last_aru = dict.fromkeys(members, 0)
        self.visited: dict[int, int] = {}
        """The seq at the last visit of each."""


class Node:
    """One incarnation."""

    def __init__(self, node: int, life: int) -> None:
        self.node = node
        self.life = life
        self.log: list[Record] = [Start(node, life)]
        self.ring: Ring
        self.before: tuple[int, ...] = ()
        self.delivered = 0
        self.table: set[int] = set()
        self.done = False
        self.transitional = False
        self.counter = 0


class Script:
    """A run without a protocol. Sequence numbers count from 1 on each ring."""

    def __init__(self, quorum: int = 1) -> None:
        self.quorum = quorum
        self.nodes: dict[int, Node] = {}
        self.finished: list[Node] = []
        self.formations = 0
        self.everybody: list[Node] = []

    def start(self, *nodes: int) -> None:
        """New incarnations, each in its singleton."""
        for node in nodes:
            lives = sum(other.node == node for other in self.everybody)
            new = self.nodes[node] = Node(node, 0x100 * node + lives)
            self.everybody.append(new)
            self._install(new, self._ring((node,)))

    def _ring(self, members: tuple[int, ...]) -> Ring:
        self.formations += 1
        return Ring(RingId(self.formations, members[0], 0xABC000 + self.formations), members)

    def _install(self, node: Node, ring: Ring) -> None:
        members, before = set(ring.members), set(node.before)
        joined, left = tuple(sorted(members - before)), tuple(sorted(before - members))
        primary = len(members) >= self.quorum
        node.log.append(RegularConfiguration(ring.id, ring.members, joined, left, primary))
        node.ring, node.before, node.delivered = ring, ring.members, 0
        node.table, node.done, node.transitional = set(), False, False
        self._wait(node)

    def _wait(self, node: Node) -> None:
        node.log.append(Wait(tuple(sorted(set(node.ring.members) - node.table))))

    def transitional(self, node: int, *members: int) -> None:
        """The transitional configuration at one processor."""
        it = self.nodes[node]
        it.log.append(TransitionalConfiguration(it.ring.id, members))
        it.transitional = True

    def install(self, *members: int, only: tuple[int, ...] = ()) -> Ring:
        """One ring of these members; those who come from one ring are each other's transitional configuration.

        ``only``: the others are members too, but do not install it.
        """
        ring = self._ring(members)
        groups: dict[RingId, list[int]] = {}
        for node in members:
            groups.setdefault(self.nodes[node].ring.id, []).append(node)
        for node in only or members:
            it = self.nodes[node]
            if not it.transitional:
                self.transitional(node, *groups[it.ring.id])
            if not it.done:
                it.log.append(Abort(it.ring.id))
        for node in only or members:
            self._install(self.nodes[node], ring)
        return ring

    def submit(self, node: int, priority: Priority = HIGH, guarantee: Guarantee = AGREED) -> Submit:
        """Accept a message."""
        it = self.nodes[node]
        it.counter += 1
        mid = f"{node}.{it.life}.{it.counter}"
        submit = Submit(mid, priority, guarantee, f"{it.counter:016x}")
        it.log.append(submit)
        return submit

    def send(
        self, node: int, priority: Priority = HIGH, guarantee: Guarantee = AGREED, submit: Submit | None = None
    ) -> int:
        """Send a message, accepted before or now; its seq."""
        it = self.nodes[node]
        mid, priority, guarantee, digest = submit or self.submit(node, priority, guarantee)
        seq = len(it.ring.sent) + 1
        record = Send(mid, priority, guarantee, it.ring.id, seq, digest)
        it.log.append(record)
        it.ring.sent.append((node, record))
        return seq

    def unblock(self, *nodes: int) -> None:
        """Send the unblock of each."""
        for node in nodes:
            it = self.nodes[node]
            record = UnbSend(it.ring.id, len(it.ring.sent) + 1)
            it.log.append(record)
            it.ring.sent.append((node, record))

    def deliver(self, node: int, *seqs: int) -> None:
        """Deliver these, or without any all that was sent."""
        it = self.nodes[node]
        for seq in seqs or range(it.delivered + 1, len(it.ring.sent) + 1):
            sender, record = it.ring.sent[seq - 1]
            it.delivered = seq
            if isinstance(record, Send):
                mid, priority, guarantee, ring_id, _, digest = record
                it.log.append(Delv(mid, sender, priority, guarantee, ring_id, seq, digest))
                continue
            it.log.append(UnbDelv(sender, it.ring.id, seq))
            it.table.add(sender)
            if it.table == set(it.ring.members) and len(it.table) >= self.quorum:
                it.log.append(RecoveryComplete(it.ring.id, seq, it.ring.members))
                it.done = True
            self._wait(it)

    def deliver_all(self, *nodes: int) -> None:
        """Everything that was sent, at each of these."""
        for node in nodes:
            self.deliver(node)

    def recover(self, *nodes: int) -> None:
        """The usual barrier: unblock and deliver at all members."""
        self.unblock(*nodes)
        self.deliver_all(*nodes)

    def rotate(self, ring: Ring, rotations: int = 1, have: dict[int, int] | None = None) -> None:
        """The token goes round. ``have``: up to where members have the packets, if not all."""
        have = have or {}
        for _ in range(rotations):
            for node in ring.members:
                it = self.nodes[node]
                seq = len(ring.sent)
                ring.token_seq += 1
                ring.aru = min(ring.aru, seq)
                sent = seq - ring.visited.get(node, 0)
                ring.visited[node] = seq
                it.log.append(TokenRecord(ring.id, ring.token_seq, seq, ring.aru, sent, 0, 0))
                mine = have.get(node, seq)
                if mine < ring.aru or ring.aru_id in (0, node):
                    ring.aru, ring.aru_id = mine, 0 if mine == seq else node
                stable = min(ring.last_aru[node], ring.aru)
                ring.last_aru[node] = ring.aru
                if stable:
                    it.log.append(Free(ring.id, stable))

    def stop(self, node: int, kind: str = "crash") -> None:
        """The incarnation ends."""
        it = self.nodes.pop(node)
        it.log.append(Stop(kind))

    def logs(self) -> Logs:
        """What was written."""
        return Logs([list(node.log) for node in self.everybody], self)


class Logs:
    """Logs to be edited and judged. A log is named by its node, or by (node, number of its life)."""

    def __init__(self, logs: list[list[Record]], script: Script) -> None:
        self.logs = logs
        self.script = script
        self.streams: list[list[Given]] | None = None
        """What the application of each log was given, if anybody wrote that down."""
        self.ended: set[int] = set()
        """Places of logs whose application read its stream to the end."""

    def with_streams(self) -> Logs:
        """Every application was given all that its processor delivered, and has read no end."""
        self.streams = [Transcript(log).delivered() for log in self.logs]
        return self

    def given(self, who: int | tuple[int, int]) -> list[Given]:
        """The stream of one incarnation, to be edited."""
        assert self.streams is not None
        return self.streams[self._place(who)]

    def end(self, who: int | tuple[int, int]) -> None:
        """Its application has read the end of its stream."""
        self.ended.add(self._place(who))

    def _place(self, who: int | tuple[int, int]) -> int:
        wanted = self.log(who)
        return next(place for place, log in enumerate(self.logs) if log is wanted)

    def log(self, who: int | tuple[int, int]) -> list[Record]:
        """The records of one incarnation, the last one of that node if it is named by the node alone."""
        node, life = (who, -1) if isinstance(who, int) else who
        return [log for log in self.logs if isinstance(log[0], Start) and log[0].node == node][life]

    def at(self, who: int | tuple[int, int], kind: type, number: int = 0, **fields: Any) -> int:
        """The place of a record of this kind with these fields."""
        found = [
            index
            for index, record in enumerate(self.log(who))
            if type(record) is kind and all(getattr(record, name) == value for name, value in fields.items())
        ]
        return found[number]

    def drop(self, who: int | tuple[int, int], kind: type, number: int = 0, **fields: Any) -> Record:
        """Take a record out."""
        return self.log(who).pop(self.at(who, kind, number, **fields))

    def insert(self, who: int | tuple[int, int], index: int, *records: Record) -> None:
        """Put records in before this place; a negative one counts from the end, -1 being the end itself."""
        log = self.log(who)
        index = len(log) + 1 + index if index < 0 else index
        log[index:index] = records

    def change(
        self, who: int | tuple[int, int], kind: type, number: int = 0, /, *, to: dict[str, Any], **fields: Any
    ) -> None:
        """Replace fields of a record."""
        index = self.at(who, kind, number, **fields)
        record: Any = self.log(who)[index]
        self.log(who)[index] = record._replace(**to)

    def swap(self, who: int | tuple[int, int], one: int, other: int) -> None:
        """Exchange two records."""
        log = self.log(who)
        log[one], log[other] = log[other], log[one]

    def cut(self, who: int | tuple[int, int], index: int) -> None:
        """The log ends before this place."""
        del self.log(who)[index:]

    def transcripts(self) -> list[Transcript]:
        streams = self.streams or [None] * len(self.logs)
        return [
            Transcript(log, given, ended=place in self.ended)
            for place, (log, given) in enumerate(zip(self.logs, streams, strict=True))
        ]

    def judge(self, **options: Any) -> list[Violation]:
        """Judge them, with the quorum of the script. An option that is a function is asked with these logs."""
        options = {name: option(self) if callable(option) else option for name, option in options.items()}
        return judge(self.transcripts(), **{"quorum": self.script.quorum, **options})

    def alive(self, *nodes: int) -> list[tuple[int, int]]:
        """The last incarnations of these, as ``complete`` wants them."""
        return [(node, Transcript(self.log(node)).incarnation) for node in nodes]


def ring_id_of(logs: Logs, formation: int) -> RingId:
    """The id of that formation."""
    for log in logs.logs:
        for record in log:
            if isinstance(record, RegularConfiguration) and record.ring_id.sequence == formation:
                return record.ring_id
    raise LookupError(formation)


def stretch(
    *nodes: int,
    formation: int,
    kept: bool | Collection[int],
    changes_max: int,
    left_out_max: int = 0,
    until: int = 0,
) -> Callable[[Logs], list[Stretch]]:
    """From where these installed that formation to the end, or to where they installed the formation ``until``.

    ``kept``: who must not be left out, all (``True``) or nobody.
    """
    hear = frozenset((nodes if kept else ()) if isinstance(kept, bool) else kept)

    def find(logs: Logs) -> list[Stretch]:
        places = {}
        for log in logs.logs:
            installed = {
                record.ring_id.sequence: index
                for index, record in enumerate(log)
                if isinstance(record, RegularConfiguration)
            }
            start = log[0]
            assert isinstance(start, Start)
            if start.node in nodes and formation in installed:
                end = installed[until] if until else len(log)
                places[start.node, start.incarnation] = (installed[formation] + 1, end)
        assert len(places) == len(nodes)
        return [Stretch(places, kept=hear, changes_max=changes_max, what="nothing is wrong", left_out_max=left_out_max)]

    return find


CASES: dict[str, tuple[set[str], Callable[[], Logs], dict[str, Any]]] = {}
"""Wrong logs by name: the rules that they break, what makes them, and how they are judged."""


def breaks(*rules: str, **options: Any) -> Callable[[Callable[[], Logs]], Callable[[], Logs]]:
    """A case: the function makes logs that break exactly these rules."""

    def add(make: Callable[[], Logs]) -> Callable[[], Logs]:
        assert make.__name__ not in CASES
        CASES[make.__name__] = (set(rules), make, options)
        return make

    return add


# Runs that are right


def calm() -> Logs:
    """Three processors form a ring, recover, and send; nothing goes wrong. All are alive at the end.

    On the ring (formation 4): 1 and 2 recovery messages, 3-5 unblocks of 1, 2, 3, then 6 HIGH safe of 1, 7 LOW of 2,
    8 HIGH of 3, 9 HIGH of 1.
    """
    script = Script()
    script.start(1, 2, 3)
    script.recover(1)
    script.send(1)
    script.deliver(1)
    ring = script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.send(2, RECOVERY, SAFE)
    script.recover(1, 2, 3)
    script.rotate(ring, 3)
    script.send(1, HIGH, SAFE)
    script.send(2, LOW)
    script.send(3, HIGH)
    script.send(1, HIGH)
    script.rotate(ring, 1, {2: 6})
    script.rotate(ring, 4)
    script.deliver_all(1, 2, 3)
    return script.logs()


def change() -> Logs:
    """As :func:`calm`; then 3 dies with a message that nobody else has, and 1 and 2 go on; 3 comes back.

    Ring A (formation 4): 1-3 unblocks, 4 HIGH of 1, 5 HIGH of 2, 6 LOW safe of 2; delivered at all. 7 HIGH of 1,
    delivered at 1 and 2; 8 HIGH of 3, lost; 9 HIGH of 2, safe, and 10 HIGH of 1, delivered in the transitional one.
    Ring B (5) of 1 and 2: 1-2 unblocks, 3 HIGH of 1. Ring C (7) with the new 3: 1 recovery message of 1, 2-4 unblocks,
    5 HIGH of 3.
    """
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(1)
    script.send(2)
    script.send(2, LOW, SAFE)
    script.deliver_all(1, 2, 3)
    script.send(1)
    script.send(3)
    script.send(2, HIGH, SAFE)
    script.send(1)
    script.deliver(1, 7)
    script.deliver(2, 7)
    script.stop(3)
    script.transitional(1, 1, 2)
    script.transitional(2, 1, 2)
    script.deliver(1, 9, 10)
    script.deliver(2, 9, 10)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(1)
    script.deliver_all(1, 2)
    script.start(3)
    script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.recover(1, 2, 3)
    script.send(3)
    script.deliver_all(1, 2, 3)
    return script.logs()


def aborted() -> Logs:
    """A round that a change cuts off: 3 is gone before its unblock; messages accepted before wait for the next ring.

    Ring A (4): 1 recovery message of 1, 2 of 3, 3-4 unblocks of 1 and 2, all delivered. A recovery message and HIGH and
    LOW ones are accepted and not sent. Ring B (5) of 1 and 2: 1-2 unblocks, 3 HIGH and 4 LOW of 1.
    """
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.send(3, RECOVERY)
    high, low = script.submit(1, HIGH), script.submit(1, LOW)
    script.unblock(1, 2)
    script.deliver_all(1, 2, 3)
    script.submit(3, RECOVERY)
    script.stop(3)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(1, submit=high)
    script.send(1, submit=low)
    script.deliver_all(1, 2)
    return script.logs()


def completed_in_transition() -> Logs:
    """1 sees the last unblock in ring A (4), sends HIGH (4) and dies; 2 and 3 find both in the transitional one."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(1, 2, 3)
    script.deliver(1)
    script.send(1)
    script.deliver(1)
    script.deliver(2, 1, 2)
    script.deliver(3, 1)
    script.deliver(3, 2)
    script.stop(1)
    for node in (2, 3):
        script.transitional(node, 2, 3)
        script.deliver(node)
    script.install(2, 3)
    script.recover(2, 3)
    return script.logs()


def obligation() -> Logs:
    """Ring A (5) of 1-4: 1-4 unblocks, 5 HIGH of 4 that reaches nobody else, 6 HIGH safe of 1.

    1 goes to N (6) of 1 and 2, and delivers 6 in the transitional configuration of 1 and 2. 2 was counted in that and
    never installed N; it goes with 3 to another ring (7) and still has to deliver 6, beyond the hole.
    """
    script = Script()
    script.start(1, 2, 3, 4)
    script.install(1, 2, 3, 4)
    script.recover(1, 2, 3, 4)
    script.send(4)
    script.send(1, HIGH, SAFE)
    script.stop(4)
    script.transitional(1, 1, 2)
    script.deliver(1, 6)
    script.install(1, 2, only=(1,))
    for node in (2, 3):
        script.transitional(node, 2, 3)
        script.deliver(node, 6)
    script.install(2, 3)
    script.recover(2, 3)
    return script.logs()


def halves() -> Logs:
    """A quorum of 2: ring A (4) of three parts into {1, 2}, which goes on, and {3}, which must not; then all merge (7).

    3 accepts a message in its half and sends it in the merged ring (as 4).
    """
    script = Script(quorum=2)
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(3)
    script.deliver_all(1, 2, 3)
    script.install(1, 2)
    script.install(3)
    script.recover(1, 2)
    script.send(2)
    script.deliver_all(1, 2)
    script.send(3, RECOVERY)
    script.recover(3)
    waiting = script.submit(3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(3, submit=waiting)
    script.deliver_all(1, 2, 3)
    return script.logs()


def large(events: int) -> Logs:
    """Five processors, a change every few thousand messages, until there are so many records in all."""
    script = Script()
    script.start(1, 2, 3, 4, 5)
    everybody = (1, 2, 3, 4, 5)
    formation = 0
    while sum(len(node.log) for node in script.everybody) < events:
        formation += 1
        members = everybody if formation % 2 else everybody[:4]
        if formation % 2 == 0:
            script.send(5)
            script.send(1, LOW)
            for node in members:
                script.transitional(node, *members)
                script.deliver(node, len(script.nodes[node].ring.sent))
            script.stop(5)
        elif formation > 1:
            script.start(5)
        ring = script.install(*members)
        script.send(1, RECOVERY)
        script.recover(*members)
        for burst in range(60):
            for node in members:
                for number in range(10):
                    guarantee = SAFE if (burst + number) % 7 == 0 else AGREED
                    script.send(node, HIGH if number % 2 else LOW, guarantee)
            script.rotate(ring, 1, {2: len(ring.sent) - burst % 3})
            script.deliver_all(*members)
    return script.logs()


RIGHT = {
    "calm": calm,
    "change": change,
    "aborted": aborted,
    "completed_in_transition": completed_in_transition,
    "obligation": obligation,
    "halves": halves,
}
