"""``ringproto node``: one processor for trying it by hand.

Each line of standard input is one message; what the ordered stream brings is printed, as text or as JSON lines. The end
of the input and the signals SIGINT and SIGTERM make the processor leave in an orderly way: after the end of the input
it first waits, within the leave timeout, until its own lines were delivered. The three standard streams are used from
threads, so that a terminal that waits does not hold up the ring. What the ring logs goes to standard error.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import select
import threading
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import trio

from ringproto import (
    Event,
    Message,
    RecoveryComplete,
    RegularConfiguration,
    RingError,
    TransitionalConfiguration,
    open_ring,
)
from ringproto._processes.child import until_left
from ringproto._processes.ending_signals import listen_for_end
from ringproto._processes.failures import RunFailedError, UsageError, printable
from ringproto._processes.transports import open_transport
from ringproto.cli.node.log_lines import LogLines, open_log_lines
from ringproto.cli.node.settings import NodeSettings, add_options, settings_of
from ringproto.cli.streams import write_all
from ringproto.log import BoundedLog

__all__ = ["add_parser", "event_object", "event_text", "run", "split_input", "warn_of_quorum"]

_READ_SIZE = 65536
_LAST_WRITE_S = 1.0
"""How long the last line waits for a reader of what was printed before."""


def add_parser(subparsers: Any) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "node",
        help="one processor to try by hand, on one or several hosts",
        description="Runs one processor: lines of standard input are sent, and the ordered stream of messages and "
        "configurations is printed. The end of the input, Ctrl-C or SIGTERM makes it leave.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    settings = settings_of(args)
    with open_log_lines("ringproto node") as lines:
        warn_of_quorum(settings)
        node = _Node(settings, lines)
        try:
            trio.run(node.run)
        except Exception as error:  # looked into: only what a user can meet becomes a line
            leaf = _leaf(error)
            if isinstance(leaf, RingError):
                raise RunFailedError(f"{type(leaf).__name__}: {leaf}") from None
            raise
    if node.undelivered:
        raise RunFailedError(f"{node.undelivered} lines were sent and not delivered here before this processor left")
    return 0


def warn_of_quorum(settings: NodeSettings) -> None:
    """Log a warning if two parts of the peers could both have the quorum."""
    _warn_of_quorum(settings, len(settings.transport.get("peers", ())))


def _warn_of_quorum(settings: NodeSettings, count: int) -> bool:
    """Whether two parts of so many processors could both have the quorum, which is then logged."""
    quorum = settings.config.quorum
    if count < 2 or 2 * quorum > count:
        return False
    BoundedLog(node=settings.node).warning(
        "quorum",
        f"the quorum of {quorum} is at most half of the {count} processors: both sides of a partition may go on, and "
        f"what one of them did is lost when they merge. A quorum of {count // 2 + 1} prevents that",
    )
    return True


def event_object(event: Event) -> dict[str, Any]:
    """An event as JSON values. A payload that is not UTF-8 is given as ``payload_base64``."""
    fields: dict[str, Any]
    if isinstance(event, Message):
        fields = {
            "event": "message",
            "sender": event.sender,
            "priority": event.priority.name.lower(),
            "guarantee": event.guarantee.name.lower(),
            "seq": event.seq,
            "settled": event.settled,
        }
        try:
            fields["payload"] = event.payload.decode()
        except UnicodeDecodeError:
            fields["payload_base64"] = base64.b64encode(event.payload).decode("ascii")
    elif isinstance(event, RegularConfiguration):
        fields = {"event": "regular_configuration", "members": event.members, "joined": event.joined}
        fields.update(left=event.left, primary=event.primary)
    elif isinstance(event, TransitionalConfiguration):
        fields = {"event": "transitional_configuration", "members": event.members}
    else:
        assert isinstance(event, RecoveryComplete)
        fields = {"event": "recovery_complete", "seq": event.seq, "members": event.members}
    return {**fields, "ring_id": str(event.ring_id)}


def event_text(event: Event) -> str:
    """An event as a line for people. What a terminal would obey in a payload is made harmless."""
    if isinstance(event, Message):
        text = printable(event.payload.decode(errors="backslashreplace"))
        return f"{event.seq:>6} from {event.sender} ({event.priority.name.lower()}): {text}"
    if isinstance(event, RegularConfiguration):
        changes = f", joined {_members(event.joined)}" if event.joined else ""
        changes += f", left {_members(event.left)}" if event.left else ""
        quorum = "" if event.primary else ", without a quorum"
        return f"* configuration {event.ring_id}: members {_members(event.members)}{changes}{quorum}"
    if isinstance(event, TransitionalConfiguration):
        return f"* transitional configuration, {event.ring_id} ends: members {_members(event.members)}"
    return f"* recovery complete at seq {event.seq}: messages flow"


def split_input(chunks: Iterable[bytes], size_max: int) -> Iterable[bytes | None]:
    """Lines from pieces of input; ``None`` stands for a line that is longer than ``size_max`` bytes.

    Nothing longer than that is kept. A last line without a line break is a line.
    """
    splitter = _Splitter(size_max)
    for chunk in chunks:
        yield from splitter.feed(chunk)
    yield from splitter.end()


class _Splitter:
    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._begun = bytearray()
        self._too_long = False

    def feed(self, chunk: bytes) -> list[bytes | None]:
        lines: list[bytes | None] = []
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            self._add(piece)
            lines.append(self._take())
        self._add(rest)
        return lines

    def end(self) -> list[bytes | None]:
        return [self._take()] if self._begun or self._too_long else []

    def _add(self, piece: bytes) -> None:
        # One byte more, for the carriage return that is taken off at the end.
        if self._too_long or len(self._begun) + len(piece) > self._size_max + 1:
            self._too_long = True
            self._begun.clear()
        else:
            self._begun += piece

    def _take(self) -> bytes | None:
        line = None if self._too_long else bytes(self._begun).removesuffix(b"\r")
        self._begun.clear()
        self._too_long = False
        return None if line is None or len(line) > self._size_max else line


class _Printer:
    """Standard output, written from a thread. One text at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What was given up before a thread took it; which call of print() is the last, and whose text a thread took
        # last; and whether it is writing.
        self._rest = ""
        self._call = 0
        self._taken = 0
        self._writing = False

    async def print(self, text: str) -> None:
        """Write what was given up before, and this.

        Cancellation: given up when nobody reads what is printed. A text that no thread has begun to write is written
        first of all by the next call; one that a thread has begun may be written to its end meanwhile.
        """
        while self._writing:
            await trio.sleep(0.005)
        text = self._rest + text
        self._call = call = self._call + 1
        try:
            await trio.to_thread.run_sync(self._write, text, call, abandon_on_cancel=True)
        except trio.Cancelled:
            with self._lock:
                self._call += 1
                self._rest = "" if self._taken == call else text
            raise
        self._rest = ""

    def _write(self, text: str, call: int) -> None:
        with self._lock:
            if call != self._call:
                return  # it was given up
            self._taken = call
            self._writing = True
        try:
            write_all(text.encode(errors="backslashreplace"))
        finally:
            self._writing = False


class _Node:
    def __init__(self, settings: NodeSettings, lines: LogLines) -> None:
        self._settings = settings
        self._lines = lines
        self._sent = 0
        self._delivered = 0
        self._own = trio.Event()
        self._warned = False
        self._printer = _Printer()

    @property
    def undelivered(self) -> int:
        """How many of the own lines did not come back."""
        return self._sent - self._delivered

    async def run(self) -> None:
        settings = self._settings
        try:
            transport = await open_transport(settings.node, settings.transport)
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(str(error.strerror or error if isinstance(error, OSError) else error)) from error
        async with open_ring(transport, config=settings.config) as ring, trio.open_nursery() as tasks:
            tasks.start_soon(listen_for_end, lambda _: tasks.cancel_scope.cancel())
            tasks.start_soon(until_left, tasks.cancel_scope, partial(self._print_events, ring.events))
            sender = ring.sender(settings.priority, settings.guarantee)
            await until_left(tasks.cancel_scope, partial(self._send_lines, sender))
            with trio.move_on_after(settings.config.leave_timeout_s):
                await self._all_own_delivered()
            tasks.cancel_scope.cancel()
        with trio.move_on_after(_LAST_WRITE_S):
            await self._printer.print(self._left())

    async def _send_lines(self, sender: Any) -> None:
        size_max = self._settings.config.message_size_max
        async for line in _input_lines(size_max):
            if line is None:
                self._lines.say(f"a line of more than {size_max} bytes was not sent")
                continue
            self._sent += 1
            await sender.send(line)

    async def _all_own_delivered(self) -> None:
        while self._delivered < self._sent:
            await self._own.wait()

    async def _print_events(self, events: Any) -> None:
        show = _event_json if self._settings.json else event_text
        while True:
            batch = await events.receive_batch()
            self._delivered += sum(isinstance(e, Message) and e.sender == self._settings.node for e in batch)
            for event in batch:
                if isinstance(event, RegularConfiguration):
                    self._look_at_quorum(len(event.members))
            await self._printer.print("".join(f"{show(event)}\n" for event in batch))
            own, self._own = self._own, trio.Event()
            own.set()

    def _look_at_quorum(self, count: int) -> None:
        """Warn once of the quorum where no table of peers says how many processors there are."""
        if not self._warned and "peers" not in self._settings.transport:
            self._warned = _warn_of_quorum(self._settings, count)

    def _left(self) -> str:
        if self._settings.json:
            return json.dumps({"event": "left", "sent": self._sent, "delivered": self._delivered}) + "\n"
        return f"* left the ring; {self._sent} lines sent, {self._delivered} of them delivered here\n"


async def _input_lines(size_max: int) -> AsyncIterator[bytes | None]:
    splitter = _Splitter(size_max)
    # os.read and not sys.stdin: a thread that is abandoned in a buffered read holds a lock that the interpreter wants
    # when it ends.
    while data := await trio.to_thread.run_sync(_read_input, abandon_on_cancel=True):
        for line in splitter.feed(data):
            yield line
    for line in splitter.end():
        yield line


def _read_input() -> bytes:
    while True:
        try:
            return os.read(0, _READ_SIZE)
        except BlockingIOError:  # whoever started the command left it in this mode
            select.select([0], [], [])
        except OSError as error:
            raise RunFailedError(f"cannot read standard input: {error.strerror or error}") from error


def _event_json(event: Event) -> str:
    return json.dumps(event_object(event))


def _members(members: tuple[int, ...]) -> str:
    return " ".join(map(str, members)) or "-"


def _leaf(error: BaseException) -> BaseException:
    inner = getattr(error, "exceptions", None)
    return _leaf(inner[0]) if inner else error
