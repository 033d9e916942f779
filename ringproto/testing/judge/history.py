"""A run, indexed once for all the rules of the judge.

An :class:`Incarnation` is one transcript. It is a row of :class:`Stay`: one regular configuration at one incarnation,
with the transitional configuration that follows it there, so a stay is the papers' com(c). A record belongs to the stay
in which it stands in the log; one that names another ring is kept as misplaced as well, and the rule that it breaks
says so.
A :class:`RingLog` gathers what all lives say about one ring. Nothing here judges.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Union

from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import (
    Abort,
    Delv,
    Free,
    Record,
    Send,
    Stop,
    Submit,
    TokenRecord,
    Transcript,
    UnbDelv,
    UnbSend,
    Wait,
)
from ringproto.types import Guarantee, RingId

__all__ = ["DONE_PLACE", "History", "Incarnation", "RingLog", "Sent", "Stay", "Stretch", "TokenHop", "Violation"]

DONE_PLACE = 0
"""Stands for the completion in ``Stay.places``; messages and unblocks count from 1."""


@dataclasses.dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a run breaks, and where."""

    rule: str
    """Its name in the design, for instance ``E4`` or ``B3``."""
    text: str
    """What was seen, and what had to be."""
    node: int
    incarnation: int
    index: int
    """Of the record in the transcript of that incarnation."""

    def __str__(self) -> str:
        return f"{self.rule}: {self.text} [node {self.node}, incarnation {self.incarnation:x}, record {self.index}]"


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """Some time in which nothing is wrong but a loss that the caller knows: its members live, are scheduled, and hear
    each other as far as that loss permits."""

    places: Mapping[tuple[int, int], tuple[int, int]]
    """Of each member (node, incarnation), the part of its log: the first record of the stretch, and the first one after
    it."""
    kept: frozenset[int]
    """The nodes that hear each other well enough for none of them to be left out by another."""
    changes_max: int
    """How many regular configurations each member may install."""
    what: str
    """The loss and how long it lasted, in words."""
    left_out_max: int = 0
    """In how many of its regular configurations, and of its transitional ones, each of ``kept`` may lack another."""


class Incarnation:
    """One incarnation of a processor."""

    __slots__ = ("configurations", "frees", "lost", "node", "stays", "stop", "tokens", "transcript")

    def __init__(self, transcript: Transcript) -> None:
        self.transcript = transcript
        self.node = transcript.node
        self.stays: list[Stay] = []
        self.configurations: list[tuple[int, RegularConfiguration | TransitionalConfiguration]] = []
        """Every one, with its place in the log."""
        self.lost: list[tuple[int, Record]] = []
        """Records of a ring before the first configuration."""
        self.tokens: dict[RingId, list[tuple[int, TokenRecord]]] = defaultdict(list)
        self.frees: list[tuple[int, Free, int]] = []
        """With the token_seq that this life had last accepted on that ring (-1: none)."""
        self.stop: Stop | None = None

    def __str__(self) -> str:
        return f"{self.node}.{self.transcript.incarnation:x}"

    def violation(self, rule: str, index: int, text: str) -> Violation:
        """A violation seen at this place of this life's log."""
        return Violation(rule, f"{self}: {text}", self.node, self.transcript.incarnation, index)


class Stay:
    """A regular configuration c at one life, up to the next one: com(c)."""

    __slots__ = (
        "aborts",
        "configuration",
        "configuration_at",
        "dones",
        "following",
        "high_at_send",
        "life",
        "misplaced",
        "order",
        "places",
        "prefix",
        "previous",
        "ring_id",
        "safe",
        "sends",
        "split",
        "straight",
        "stream",
        "stream_at",
        "submits",
        "transitional",
        "transitional_at",
        "unblocks",
        "unblocks_sent",
        "waits",
    )

    def __init__(self, life: Incarnation, at: int, configuration: RegularConfiguration, previous: Stay | None) -> None:
        self.life = life
        self.ring_id = configuration.ring_id
        self.configuration = configuration
        self.configuration_at = at
        self.previous = previous
        self.following: Stay | None = None
        self.transitional: TransitionalConfiguration | None = None
        self.transitional_at = -1
        self.stream: list[Union[Delv, UnbDelv, RecoveryComplete]] = []
        """What was delivered, in order, with the completion."""
        self.stream_at: list[int] = []
        """Where each of the stream stands in the log."""
        self.split = -1
        """How many of the stream came before the transitional configuration; -1 while there is none."""
        self.places: list[int] = []
        """The seq of each of the stream; ``DONE_PLACE`` for the completion."""
        self.safe: list[int] = []
        """Which of the stream are safe messages."""
        self.unblocks: list[int] = []
        """Which of the stream are unblocks."""
        self.dones: list[int] = []
        """Which of the stream are completions."""
        self.sends: list[tuple[int, Send]] = []
        self.unblocks_sent: list[tuple[int, UnbSend]] = []
        self.high_at_send: dict[int, int] = {}
        """The highest seq that had been delivered here when this seq was sent."""
        self.order: list[int] = []
        """Deliveries (seq) and sends (~seq) as they stand in the log."""
        self.submits: list[tuple[int, Submit]] = []
        self.aborts: list[tuple[int, Abort]] = []
        self.waits: list[tuple[int, Wait, int]] = []
        """With the length of the stream at that place."""
        self.misplaced: list[tuple[int, Record]] = []
        self.prefix = 0
        """Everything from the first to here was delivered in com(c): the hole, if there is one, is the next."""
        self.straight = True
        """Whether exactly the first, the second, the third and so on was delivered in com(c)."""

    @property
    def regular_length(self) -> int:
        """How many of the stream were delivered in the regular configuration."""
        return len(self.stream) if self.split < 0 else self.split

    @property
    def all_sent(self) -> list[tuple[int, Union[Send, UnbSend]]]:
        """Messages and unblocks that were sent here, as they stand in the log."""
        both: list[tuple[int, Union[Send, UnbSend]]] = [*self.sends, *self.unblocks_sent]
        return sorted(both, key=lambda entry: entry[0])

    def measure(self, origin: int) -> None:
        """Find the first hole, when all of the stay was read; the first number is ``origin + 1``."""
        self.prefix = origin
        seqs = [seq for seq in self.places if seq != DONE_PLACE] if self.dones else self.places
        count = len(seqs)
        self.straight = seqs == list(range(origin + 1, origin + count + 1))
        if self.straight:
            self.prefix += count
            return
        got = set(seqs)
        while self.prefix + 1 in got:
            self.prefix += 1

    @property
    def done_at(self) -> int | None:
        """Where the first completion stands in the log."""
        return self.stream_at[self.dones[0]] if self.dones else None

    def violation(self, rule: str, index: int, text: str) -> Violation:
        """A violation in this configuration at this place of the log."""
        return self.life.violation(rule, index, f"in {self.ring_id}: {text}")


class Sent(NamedTuple):
    """Who sent what has this place on a ring."""

    stay: Stay
    at: int
    record: Union[Send, UnbSend]


class RingLog:
    """What all lives say about one ring."""

    __slots__ = ("members", "nodes", "ring_id", "sent", "sent_twice", "stays")

    def __init__(self, ring_id: RingId, members: tuple[int, ...]) -> None:
        self.ring_id = ring_id
        self.members = members
        """As the first life says that installed it."""
        self.stays: list[Stay] = []
        self.nodes: dict[int, list[Stay]] = defaultdict(list)
        self.sent: dict[int, Sent] = {}
        self.sent_twice: list[tuple[Sent, Sent]] = []
        """Two that were given one place."""


class TokenHop(NamedTuple):
    """One accepted token in the chain of all that were accepted on a ring."""

    token: TokenRecord
    at: int
    life: Incarnation


class Mismatch(NamedTuple):
    """A delivery that differs from what was sent, or first delivered, with its place on the ring."""

    stay: Stay
    at: int
    seen: Union[Delv, UnbDelv]
    expected: Union[Delv, UnbDelv]
    source: Stay


class History:
    """The lives of a run and what they say about each ring."""

    __slots__ = (
        "chains",
        "complete",
        "lives",
        "mismatches",
        "nodes",
        "origin",
        "quorum",
        "retransmits_max",
        "rings",
        "storage_survives",
        "stretches",
        "truncated",
        "window_size",
    )

    def __init__(
        self,
        transcripts: Sequence[Transcript],
        *,
        quorum: int,
        complete: Sequence[tuple[int, int]] | None,
        truncated: bool,
        storage_survives: bool,
        window_size: int | None,
        retransmits_max: int,
        origin: int = 0,
        stretches: Sequence[Stretch] = (),
    ) -> None:
        self.quorum = quorum
        self.complete = complete
        self.truncated = truncated
        self.storage_survives = storage_survives
        self.window_size = window_size
        self.retransmits_max = retransmits_max
        self.origin = origin
        self.stretches = stretches
        self.lives = [_read(transcript) for transcript in transcripts]
        self.nodes: dict[int, list[Incarnation]] = defaultdict(list)
        self.rings: dict[RingId, RingLog] = {}
        for life in self.lives:
            self.nodes[life.node].append(life)
            for stay in life.stays:
                ring = self.rings.get(stay.ring_id)
                if ring is None:
                    ring = self.rings[stay.ring_id] = RingLog(stay.ring_id, stay.configuration.members)
                stay.measure(origin)
                _gather(ring, stay)
        self.mismatches = [mismatch for ring in self.rings.values() for mismatch in _compare(ring)]
        self.chains: dict[RingId, list[TokenHop]] = _chains(self.lives)
        """The tokens that all lives accepted on each ring, by their token_seq."""

    def stays(self) -> Iterator[Stay]:
        """All stays of all lives."""
        for life in self.lives:
            yield from life.stays

    def tail_lost(self, node: int, ring_id: RingId) -> bool:
        """Whether a log of this node may lack what the processor did in this ring, because the process was killed."""
        if not self.truncated:
            return False
        lives = self.nodes.get(node)
        if not lives:
            return True
        return any(
            (life.stop is None or life.stop.kind == "crash") and (not life.stays or life.stays[-1].ring_id <= ring_id)
            for life in lives
        )


def _chains(lives: Sequence[Incarnation]) -> dict[RingId, list[TokenHop]]:
    chains: dict[RingId, list[TokenHop]] = defaultdict(list)
    for life in lives:
        for ring_id, tokens in life.tokens.items():
            chains[ring_id] += [TokenHop(token, at, life) for at, token in tokens]
    for links in chains.values():
        links.sort(key=lambda link: link.token.token_seq)
    return dict(chains)


def _read(transcript: Transcript) -> Incarnation:
    """One pass over one log. Deliveries are the bulk of it, so they come first."""
    life = Incarnation(transcript)
    stay: Stay | None = None
    ring_id: RingId | None = None
    high = 0
    record: Any
    for at, record in enumerate(transcript.records):
        kind = type(record)
        if kind is Delv or kind is UnbDelv or kind is RecoveryComplete:
            if stay is None:
                life.lost.append((at, record))
                continue
            if record.ring_id != ring_id:
                stay.misplaced.append((at, record))
            stream = stay.stream
            if kind is RecoveryComplete:
                stay.dones.append(len(stream))
                stay.places.append(DONE_PLACE)
            else:
                seq = record.seq
                stay.places.append(seq)
                stay.order.append(seq)
                if seq > high:
                    high = seq
                if kind is UnbDelv:
                    stay.unblocks.append(len(stream))
                elif record.guarantee == Guarantee.SAFE:
                    stay.safe.append(len(stream))
            stream.append(record)
            stay.stream_at.append(at)
        elif kind is Send or kind is UnbSend:
            if stay is None:
                life.lost.append((at, record))
                continue
            if record.ring_id != ring_id or stay.transitional is not None:
                stay.misplaced.append((at, record))
            if kind is Send:
                stay.sends.append((at, record))
            else:
                stay.unblocks_sent.append((at, record))
            stay.high_at_send.setdefault(record.seq, high)
            stay.order.append(~record.seq)
        elif kind is Submit:
            if stay is None:
                life.lost.append((at, record))
            else:
                stay.submits.append((at, record))
        elif kind is TokenRecord:
            life.tokens[record.ring_id].append((at, record))
        elif kind is Free:
            tokens = life.tokens.get(record.ring_id)
            life.frees.append((at, record, tokens[-1][1].token_seq if tokens else -1))
        elif kind is Wait:
            if stay is not None and life.stop is None:
                stay.waits.append((at, record, len(stay.stream)))
        elif kind is RegularConfiguration:
            life.configurations.append((at, record))
            following = Stay(life, at, record, stay)
            if stay is not None:
                stay.following = following
            stay, ring_id, high = following, record.ring_id, 0
            life.stays.append(stay)
        elif kind is TransitionalConfiguration:
            life.configurations.append((at, record))
            if stay is not None and stay.transitional is None:
                stay.transitional, stay.transitional_at, stay.split = record, at, len(stay.stream)
        elif kind is Abort:
            if stay is None:
                life.lost.append((at, record))
            else:
                stay.aborts.append((at, record))
        elif kind is Stop:
            life.stop = record
    return life


def _gather(ring: RingLog, stay: Stay) -> None:
    ring.stays.append(stay)
    ring.nodes[stay.life.node].append(stay)
    for at, record in stay.all_sent:
        sent = Sent(stay, at, record)
        first = ring.sent.setdefault(sent.record.seq, sent)
        if first is not sent:
            ring.sent_twice.append((first, sent))


def _compare(ring: RingLog) -> Iterator[Mismatch]:
    """Hold every delivery against what was sent at its place, or if that is not known, against the first delivery."""
    expected: dict[int, tuple[Union[Delv, UnbDelv], Stay]] = {}
    for seq, (stay, _, record) in ring.sent.items():
        if isinstance(record, Send):
            mid, priority, guarantee, _, _, digest = record
            made: Union[Delv, UnbDelv] = Delv(mid, stay.life.node, priority, guarantee, ring.ring_id, seq, digest)
        else:
            made = UnbDelv(stay.life.node, ring.ring_id, seq)
        expected[seq] = (made, stay)
    for stay in ring.stays:
        for at, seen in zip(stay.stream_at, stay.stream, strict=True):
            if isinstance(seen, RecoveryComplete):
                continue
            entry = expected.get(seen.seq)
            if entry is None:
                expected[seen.seq] = (seen, stay)
            elif seen != entry[0] and seen._replace(ring_id=ring.ring_id) != entry[0]:
                yield Mismatch(stay, at, seen, entry[0], entry[1])
