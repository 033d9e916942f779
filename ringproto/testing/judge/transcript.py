"""What one incarnation of a processor did, as typed records that can be judged, hashed, written and read.

A processor with an audit list appends plain tuples to it in true order. Here they become records: small immutable
tuples without payloads. A message is known by its ``mid``, the part of its payload before the first ``|`` (workloads
make payloads like ``b"<node>.<incarnation>.<counter>|filler"``, each unique for ever), and by a digest of the whole
payload, so that a wrong byte anywhere is seen. A payload without ``|`` near its start is known by its digest alone;
the empty payload has the empty mid, which stands for no identity.

One transcript is one incarnation; a run is a list of them, those of one node in the order of its lives. On disk a
transcript is one JSON array per line. The log of a killed process is a prefix of the truth: its last line may be torn.

The records are what the processor says of itself. Beside them a transcript may have what the application of that
processor was really given, as records of the same kinds, for the judge to hold one against the other.
"""

from __future__ import annotations

import contextlib
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, Union

from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority, RingId

__all__ = [
    "Abort",
    "Delv",
    "Free",
    "Given",
    "Record",
    "Send",
    "Start",
    "Stop",
    "Submit",
    "TokenRecord",
    "Transcript",
    "UnbDelv",
    "UnbSend",
    "Wait",
    "describe",
    "identify",
    "record_from_audit",
    "record_from_event",
    "record_from_line",
    "record_to_line",
    "uncollected",
]

_MID_BYTES_MAX = 64
_PRIORITIES = {int(priority): priority for priority in Priority}
_GUARANTEES = {int(guarantee): guarantee for guarantee in Guarantee}


class Start(NamedTuple):
    """The incarnation begins; the first record of every transcript."""

    node: int
    incarnation: int


class Submit(NamedTuple):
    """The processor accepted a message."""

    mid: str
    priority: Priority
    guarantee: Guarantee
    digest: str


class Send(NamedTuple):
    """The last fragment of a message was put into a packet of the ring."""

    mid: str
    priority: Priority
    guarantee: Guarantee
    ring_id: RingId
    seq: int
    digest: str


class Delv(NamedTuple):
    """A message was delivered."""

    mid: str
    sender: int
    priority: Priority
    guarantee: Guarantee
    ring_id: RingId
    seq: int
    digest: str


class UnbSend(NamedTuple):
    """The processor put its unblock into a packet of the ring."""

    ring_id: RingId
    seq: int


class UnbDelv(NamedTuple):
    """The unblock of ``node`` was delivered."""

    node: int
    ring_id: RingId
    seq: int


class Abort(NamedTuple):
    """The round of recovery of this ring was given up."""

    ring_id: RingId


class TokenRecord(NamedTuple):
    """A regular token was accepted; the values are those received. ``seq`` and ``aru`` count packets."""

    ring_id: RingId
    token_seq: int
    seq: int
    aru: int
    fcc: int
    backlog: int
    retransmission_requests: int


class Free(NamedTuple):
    """The packets of the ring up to and including ``seq`` were freed."""

    ring_id: RingId
    seq: int


class Stop(NamedTuple):
    """The end: ``clean``, ``refused``, ``slow consumer``, or ``crash`` (said by the driver)."""

    kind: str


class Wait(NamedTuple):
    """``waiting_for`` as the driver saw it after it had changed; node ids, sorted."""

    members: tuple[int, ...]


Record = Union[
    Start,
    RegularConfiguration,
    TransitionalConfiguration,
    Submit,
    Send,
    Delv,
    UnbSend,
    UnbDelv,
    RecoveryComplete,
    Abort,
    TokenRecord,
    Free,
    Stop,
    Wait,
]

Given = Union[RegularConfiguration, TransitionalConfiguration, Delv, RecoveryComplete]
"""What an application is given, as a record."""
_GIVEN = frozenset((Delv, RegularConfiguration, TransitionalConfiguration, RecoveryComplete))
_GIVEN_TAGS = frozenset(("DELV", "CONF", "DONE"))


def identify(payload: bytes) -> tuple[str, str]:
    """The mid and the digest of a payload (8 bytes of BLAKE2b, in hexadecimal)."""
    digest = blake2b(payload, digest_size=8).hexdigest()
    end = payload.find(b"|", 0, _MID_BYTES_MAX)
    if end < 0:
        return ("#" + digest if payload else ""), digest
    return payload[:end].decode("ascii", "backslashreplace"), digest


def _submit(entry: tuple[Any, ...]) -> Record:
    mid, digest = identify(entry[3])
    return Submit(mid, entry[1], entry[2], digest)


def _send(entry: tuple[Any, ...]) -> Record:
    mid, digest = identify(entry[5])
    return Send(mid, entry[1], entry[2], entry[3], entry[4], digest)


def _delv(entry: tuple[Any, ...]) -> Delv:
    message: Message = entry[1]
    mid, digest = identify(message.payload)
    return Delv(mid, message.sender, message.priority, message.guarantee, message.ring_id, message.seq, digest)


def _event(entry: tuple[Any, ...]) -> Record:
    event = entry[1]
    if not isinstance(event, RegularConfiguration | TransitionalConfiguration | RecoveryComplete):
        raise ValueError(f"the audit entry {entry[0]} must hold an event, not {event!r}")
    return event


_FROM_AUDIT: dict[str, Callable[[tuple[Any, ...]], Record]] = {
    "START": lambda entry: Start(*entry[1:]),
    "CONF": _event,
    "SUBMIT": _submit,
    "SEND": _send,
    "DELV": _delv,
    "UNB_SEND": lambda entry: UnbSend(*entry[1:]),
    "UNB_DELV": lambda entry: UnbDelv(*entry[1:]),
    "DONE": _event,
    "ABORT": lambda entry: Abort(*entry[1:]),
    "TOKEN": lambda entry: TokenRecord(*entry[1:]),
    "FREE": lambda entry: Free(*entry[1:]),
    "STOP": lambda entry: Stop(*entry[1:]),
    "WAIT": lambda entry: Wait(tuple(sorted(entry[1]))),
}


def record_from_audit(entry: tuple[Any, ...]) -> Record:
    """The record of one audit tuple. Raises :class:`ValueError` for a tuple that no processor writes."""
    make = _FROM_AUDIT.get(entry[0]) if entry else None
    if make is None:
        raise ValueError(f"an audit entry begins with one of {', '.join(_FROM_AUDIT)}, not {entry[:1]!r}")
    return make(entry)


def record_from_event(event: Event) -> Given:
    """The record of an event as an application was given it."""
    return _delv(("DELV", event)) if isinstance(event, Message) else event


_TAGS: dict[type, str] = {
    Start: "START",
    RegularConfiguration: "REG_CONF",
    TransitionalConfiguration: "TRANS_CONF",
    Submit: "SUBMIT",
    Send: "SEND",
    Delv: "DELV",
    UnbSend: "UNB_SEND",
    UnbDelv: "UNB_DELV",
    RecoveryComplete: "DONE",
    Abort: "ABORT",
    TokenRecord: "TOKEN",
    Free: "FREE",
    Stop: "STOP",
    Wait: "WAIT",
}


def record_to_line(record: Record) -> str:
    """One JSON array without the line's end; the same record gives the same text for ever."""
    return json.dumps([_TAGS[type(record)], *record], separators=(",", ":"))


def _ring(value: Any) -> RingId:
    sequence, representative, nonce = map(int, value)
    return RingId(sequence, representative, nonce)


def _nodes(value: Any) -> tuple[int, ...]:
    return tuple(map(int, value))


# How to read each field of a record; a field without a reader here is a whole number.
_READERS: dict[str, Callable[[Any], Any]] = {
    "ring_id": _ring,
    "members": _nodes,
    "joined": _nodes,
    "left": _nodes,
    "primary": bool,
    "priority": lambda value: _PRIORITIES[value],
    "guarantee": lambda value: _GUARANTEES[value],
    "mid": str,
    "digest": str,
    "kind": str,
}
_FROM_TAG: dict[str, tuple[Any, list[Callable[[Any], Any]]]] = {
    tag: (kind, [_READERS.get(field, int) for field in getattr(kind, "_fields")])  # noqa: B009
    for kind, tag in _TAGS.items()
}


def record_from_line(line: str) -> Record:
    """The record that :func:`record_to_line` wrote. Raises :class:`ValueError` for any other text."""
    try:
        tag, *values = json.loads(line)
        kind, readers = _FROM_TAG[tag]
        record: Record = kind(*[read(value) for read, value in zip(readers, values, strict=True)])
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        raise ValueError(f"not a line of a transcript: {line[:120]!r}") from error
    return record


def describe(record: Record) -> str:
    """One readable line: the tag and ``name=value`` for each field."""
    fields = []
    for name, value in zip(record._fields, record, strict=True):
        if isinstance(value, Priority | Guarantee):
            fields.append(value.name)
        elif isinstance(value, tuple) and not isinstance(value, RingId):
            fields.append(f"{name}={','.join(map(str, value)) or '-'}")
        elif name not in ("digest", "guarantee"):
            fields.append(f"{name}={value}")
    return f"{_TAGS[type(record)]} {' '.join(fields)}"


class Transcript:
    """The records of one incarnation, in the order in which they happened.

    ``node`` and ``incarnation`` come from its first record; they are 0 if a torn log lost even that. ``given`` is what
    its application was given, in that order, or ``None`` if nobody wrote that down. ``ended`` says that the application
    read its stream up to the end, after which nothing comes.
    """

    __slots__ = ("ended", "given", "incarnation", "node", "records")

    def __init__(self, records: Iterable[Record], given: Iterable[Given] | None = None, *, ended: bool = False) -> None:
        self.records: list[Record] = list(records)
        self.given: list[Given] | None = None if given is None else list(given)
        self.ended = ended
        first = self.records[0] if self.records else None
        self.node, self.incarnation = first if isinstance(first, Start) else (0, 0)

    @classmethod
    def from_audit(
        cls, audit: Sequence[tuple[Any, ...]], events: Sequence[Event] | None = None, *, ended: bool = False
    ) -> Transcript:
        """From the audit list of a processor, and the events that its application was given, if they are known.

        Raises :class:`ValueError` for a tuple that no processor writes.
        """
        with uncollected():
            transcript = cls(map(record_from_audit, audit), ended=ended)
            if events is not None:
                transcript.given = transcript._given(audit, events)
            return transcript

    def _given(self, audit: Sequence[tuple[Any, ...]], events: Sequence[Event]) -> list[Given]:
        """The records of these events. An event that is the very object of the audit has its record already."""
        said = [entry[1] for entry in audit if entry[0] in _GIVEN_TAGS]
        records = self.delivered()
        return [
            records[place] if place < len(said) and event is said[place] else record_from_event(event)
            for place, event in enumerate(events)
        ]

    def delivered(self) -> list[Given]:
        """Those of the records that say what goes to the application."""
        return [record for record in self.records if type(record) in _GIVEN]  # type: ignore[misc]

    @classmethod
    def from_lines(cls, lines: Sequence[str]) -> Transcript:
        """From the lines of a file, with or without their ends.

        A last line that is no record is the tear of a killed process and is left out; anywhere else it raises
        :class:`ValueError` that names the line.
        """
        records: list[Record] = []
        with uncollected():
            for number, line in enumerate(lines, 1):
                try:
                    records.append(record_from_line(line))
                except ValueError as error:
                    if number == len(lines):
                        break
                    raise ValueError(f"line {number}: {error}") from error
        return cls(records)

    def lines(self) -> Iterator[str]:
        """The lines of its file, without their ends."""
        return map(record_to_line, self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transcript) and self.records == other.records

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Transcript of {self.node}.{self.incarnation:x}, {len(self.records)} records>"


# No search for garbage where much is made that stays and hardly anything refers to itself.
@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within it the collector of cyclic garbage rests: each time it would walk over all that was made so far."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
