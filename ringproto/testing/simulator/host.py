"""The machine on which the incarnations of one processor run: its clock, its socket, its scheduler, its storage.

A host takes time for every datagram. Those that arrive meanwhile wait in a bounded queue, as in a socket's buffer, and
are handled together, so batches arise as they do in reality. A paused host is one that is busy for long. Its clock may
run fast or slow and may jump forward. Timers are lazy: an entry of the timeline that finds its deadline moved is put
off, and a deadline has no entry of its own while there is an earlier one, so that a processor that moves its deadlines
with every token costs nothing.
"""

from __future__ import annotations

import math
import random as random_module
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ringproto._core import Notice, Processor
from ringproto.config import Config
from ringproto.events import Event, Message
from ringproto.testing.simulator.application import Application, Habits, SimulationError
from ringproto.testing.simulator.network import SimulatedNetwork, kind_of
from ringproto.testing.simulator.observer import Watch
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.types import Priority

__all__ = ["PATIENCE_MAX", "Audit", "Host", "SimulationError", "Trace", "Trap"]

Audit = list[tuple[Any, ...]]
Stream = tuple[list[Event], bool]
"""What an application was given, and whether it read its stream up to the end."""
Trap = Callable[["Host", "list[tuple[int, bytes]]"], bool]
"""Asked after every step with what is to be transmitted; True: crash here, in the middle of transmitting it."""
Trace = Callable[[str], None]

SPINS_MAX = 1000
PATIENCE_MAX = 64
"""The token is waited for at most so many token timeouts (departure 22 in docs/protocol.md)."""
ROUNDS = 3
"""The application reads of a round later than the processor begins it, so standstills may count for the one before."""
READS_MAX = 256
"""So many events the application takes at once."""
NOTICES_MAX = 64
"""So many notices are kept of an incarnation."""


class Host:
    """One node id and the processors that run under it, one after another."""

    __slots__ = (
        "application",
        "audit",
        "batch_max",
        "buried_at",
        "busy_until",
        "clock_offset_s",
        "clock_rate",
        "config",
        "datagram_size",
        "early_timers",
        "events_waiting",
        "finished",
        "finished_streams",
        "habits",
        "impatient",
        "last_now",
        "leave_due",
        "lives",
        "network",
        "node",
        "notices",
        "on_crash",
        "on_failure",
        "origin",
        "overflowed",
        "processor",
        "queue",
        "random",
        "receive_max",
        "rounds_s",
        "sequence_at_start",
        "service_s",
        "silent_until",
        "spins",
        "stands_since",
        "stood_before_s",
        "stood_s",
        "stored_sequence",
        "system_calls",
        "ticks",
        "timeline",
        "timers_first",
        "trace",
        "traced",
        "trap",
        "waiting_for",
        "wake_pending",
        "watch",
    )

    def __init__(
        self,
        node: int,
        network: SimulatedNetwork,
        random: random_module.Random,
        *,
        config: Config,
        datagram_size: int,
        trace: Trace | None = None,
    ) -> None:
        self.node = node
        self.network = network
        self.timeline = network.timeline
        self.random = random
        self.config = config
        self.datagram_size = datagram_size
        self.trace = trace
        self.habits = Habits()
        self.processor: Processor | None = None
        self.application: Application | None = None
        self.audit: Audit = []
        self.finished: list[Audit] = []
        self.finished_streams: list[Stream] = []
        """For each of ``finished``."""
        self.lives = 0
        self.origin = 0
        self.clock_rate = 1.0
        self.clock_offset_s = random.uniform(0.0, 10_000.0)
        self.service_s = 0.000_005
        self.batch_max = 64
        self.receive_max = 1000
        self.early_timers = 0.0
        """How probable it is that the timeout is handled although it is not due, after any step."""
        self.timers_first = 0.0
        """How probable it is that timers that became due while it was busy go before datagrams."""
        self.overflowed = 0
        self.system_calls: SystemCalls | None = None
        """What is wrong with its system calls; ``None``: nothing."""
        self.watch: Watch | None = None
        self.stored_sequence = 0
        self.sequence_at_start = 0
        self.trap: Trap | None = None
        self.on_crash: Callable[[Host], None] | None = None
        self.on_failure: Callable[[Host], None] | None = None
        self.impatient = False
        self.last_now = -math.inf
        self.leave_due = -math.inf
        """When a processor that was told to leave has to be out, by its own clock."""
        self.traced = 0
        self.stood_s = 0.0
        """The longest time that its processor did not run between a configuration and its completion, in this round."""
        self.rounds_s: deque[float] = deque((0.0,), ROUNDS)
        """The same of the last rounds in which it unblocked or stood still: what it asks for follows from one of them
        (departure 22 in docs/protocol.md)."""
        self.stood_before_s = 0.0
        """The same of lives that ended so lately that a ring may still wait for them."""
        self.buried_at = -math.inf
        self._reset()
        network.attach(node, self._arrive)

    def _reset(self) -> None:
        self.queue: deque[bytes] = deque()
        self.busy_until = 0.0
        self.silent_until = 0.0
        self.ticks: list[float] = []  # when it is looked at the timers, the next time last
        self.wake_pending = False
        self.notices: deque[Notice] = deque(maxlen=NOTICES_MAX)
        """What this incarnation has noticed, the last ones; see :meth:`take_notices`."""
        self.events_waiting = 0
        """How many events the application has not taken, as the last turn said."""
        self.waiting_for: frozenset[int] | None = None
        self.spins = 0
        self.trap = None
        self.impatient = False
        self.leave_due = -math.inf
        self.stands_since: float | None = None
        """Since when its processor has not run although it recovers."""

    # Life and death

    @property
    def alive(self) -> bool:
        """Whether a processor runs here."""
        return self.processor is not None

    def start(self, ring_sequence: int) -> None:
        """Start a new incarnation, with ``ring_sequence`` in its stable storage.

        Raises:
            ValueError: one runs here already.
        """
        if self.processor is not None:
            raise ValueError(f"node {self.node} runs already; crash it or let it leave before it is started again")
        self._reset()
        self.lives += 1
        self.audit = []
        self.traced = 0
        self.sequence_at_start = ring_sequence
        seed = self.random.randbytes(16)
        self.processor = Processor(
            self.node,
            self.config,
            datagram_size=self.datagram_size,
            seed=seed,
            now=self._now(),
            ring_sequence=ring_sequence,
            audit=self.audit,
            origin=self.origin,
        )
        self.application = Application(self, self.random, self.lives)
        if self.watch is not None:
            self.watch.started(self)
        self.flush()

    def crash(self) -> None:
        """The process is gone, with all that it did not store."""
        if self.processor is None:
            return
        if not self.processor.left:  # otherwise it has stopped already, and only its events were still to be read
            self.audit.append(("STOP", "crash"))
            if self.watch is not None:
                self.watch.crashed(self)
        self._bury()

    def _bury(self) -> None:
        assert self.processor is not None
        self.stored_sequence = self.processor.ring_sequence
        if self.watch is not None:
            self.watch.ended(self)
        self._show_audit()
        self.finished.append(self.audit)
        self.finished_streams.append(self._stream())
        self._note_standstill()
        now = self.timeline.now
        if now > self.buried_at + PATIENCE_MAX * self.config.token_timeout_s:
            self.stood_before_s = 0.0
        self.stood_before_s, self.buried_at = max(self.stood_before_s, self.stood_s, *self.rounds_s), now
        self.stood_s = 0.0
        self.rounds_s.clear()
        self.rounds_s.append(0.0)
        self.audit = []
        self.traced = 0
        self.processor = None
        self.application = None
        self._reset()

    def _stream(self) -> Stream:
        assert self.processor is not None and self.application is not None
        return self.application.events, self.processor.left and not self.events_waiting

    def logs(self) -> list[tuple[Audit, Stream]]:
        """The audits of all incarnations so far, each with what its application was given."""
        logs = list(zip(self.finished, self.finished_streams, strict=True))
        return logs if self.processor is None else [*logs, (self.audit, self._stream())]

    def fail(self) -> None:
        """The application raised an error in its recovery function: its processor leaves at once."""
        assert self.processor is not None
        self.say("its application raises an error")
        self.note("recover raised")
        self.processor.leave(self._now(), drain=False)
        if self.on_failure is not None:
            self.on_failure(self)

    def take_notices(self) -> list[Notice]:
        """What its processor has noticed since this was asked last; of much, the last part."""
        notices = list(self.notices)
        self.notices.clear()
        return notices

    def note(self, what: str) -> None:
        """Tell who watches this run, if anybody does."""
        if self.watch is not None:
            self.watch.note(what)

    def leave(self) -> None:
        """Let the processor leave in an orderly way. It must send all that it accepted, unless its time runs out."""
        assert self.processor is not None
        now = self._now()
        if not self.processor.leaving:
            self.leave_due = now + self.config.leave_timeout_s
        self.processor.leave(now)
        self.flush()

    def _check_drained(self) -> None:
        assert self.processor is not None
        if self.processor.failure is not None or self._now() >= self.leave_due:
            return
        waiting = 0
        for entry in self.audit:
            if entry[0] in ("SUBMIT", "SEND") and entry[1] != Priority.RECOVERY:
                waiting += 1 if entry[0] == "SUBMIT" else -1
        if waiting:
            raise SimulationError(
                f"node {self.node} left before its time was up, and {waiting} of the messages that it had accepted "
                "were not sent"
            )

    def pause(self, duration_s: float) -> None:
        """The process gets no time for so long; its socket's buffer fills meanwhile."""
        self._note_standstill()
        self.busy_until = max(self.busy_until, self.timeline.now + duration_s)
        if self.stands_since is None and self.recovers():
            self.stands_since = self.timeline.now
        self._wake_later()

    def unpause(self) -> None:
        """End a pause now."""
        self._note_standstill()
        if self.busy_until > self.timeline.now:
            self.busy_until = self.timeline.now
            self.timeline.at(self.timeline.now, self._wake)
            self.wake_pending = True

    def recovers(self) -> bool:
        """Whether the barrier of its configuration is not complete yet, as far as its application knows."""
        if self.processor is None or self.application is None:
            return False
        return self.application.completed != self.processor.configuration.ring_id

    def end_round(self, *, unblocked: bool) -> None:
        """Its application has read that a round is over, in which it had unblocked or not.

        A standstill is remembered until a recovery has come to its end.
        """
        self.rounds_s[-1] = max(self.rounds_s[-1], self.stood_s)
        if unblocked:
            self.rounds_s.append(0.0)
        self.stood_s = 0.0

    def explained_s(self) -> float:
        """How long its processor did not run, at most, in a recovery that may be remembered."""
        self._note_standstill()
        return max(self.stood_s, self.stood_before_s, *self.rounds_s)

    def _note_standstill(self) -> None:
        """If it stood still until now, or does so still, this is how long."""
        if self.stands_since is not None:
            now = self.timeline.now
            self.stood_s = max(self.stood_s, now - self.stands_since)
            if now >= self.busy_until:
                self.stands_since = None

    def stop_reading(self, duration_s: float) -> None:
        """The application takes no event for so long; 0 ends it."""
        self.silent_until = self.timeline.now + duration_s
        self.later(duration_s, self._read_again)

    def _read_again(self, _a: object, _b: object) -> None:
        if self.timeline.now >= self.busy_until:
            self.flush()

    def jump_clock(self, seconds: float) -> None:
        """The clock goes forward at once."""
        self.clock_offset_s += seconds
        if self.stands_since is not None:
            self.stands_since -= seconds  # by its clock it has stood still for as much longer
        elif self.recovers():
            self.stood_s = max(self.stood_s, seconds)
        self._arm()

    def later(self, delay_s: float, handler: Callable[[Any, Any], None], a: Any = None) -> None:
        """Call ``handler(a, None)`` after ``delay_s``, unless this incarnation is gone by then."""
        self.timeline.at(self.timeline.now + delay_s, self._still_alive, self.lives, (handler, a))

    def _still_alive(self, life: int, call: tuple[Callable[[Any, Any], None], Any]) -> None:
        if self.processor is None or self.lives != life:
            return
        if self.timeline.now < self.busy_until:
            self.timeline.at(self.busy_until, self._still_alive, life, call)
            return
        call[0](call[1], None)

    # The clock

    def local_now(self) -> float:
        """The time on its clock, in seconds."""
        return self._now()

    def _now(self) -> float:
        now = self.timeline.now * self.clock_rate + self.clock_offset_s
        if now < self.last_now:
            return self.last_now
        self.last_now = now
        return now

    def _arm(self) -> None:
        """Have an entry on the timeline for the processor's next deadline, at the latest."""
        processor = self.processor
        if processor is None:
            return
        due = (processor.next_timeout - self.clock_offset_s) / self.clock_rate
        ticks = self.ticks
        if ticks and ticks[-1] <= due:
            return
        due = max(due, self.timeline.now + 1e-9)
        if not ticks or due < ticks[-1]:
            ticks.append(due)
            self.timeline.at(due, self._tick, self.lives)

    def _tick(self, life: int, _: object) -> None:
        processor = self.processor
        if processor is None or life != self.lives:
            return
        self.ticks.pop()
        if self.timeline.now < self.busy_until:
            self._wake_later()
            return
        now = self._now()
        if processor.next_timeout - now > 1e-6:
            self._arm()
            return
        if processor.next_timeout > now:
            now = self.last_now = processor.next_timeout  # the two clocks are converted with rounding
        self.flush(due=True)
        if self.processor is not processor:
            return
        self.spins = self.spins + 1 if processor.next_timeout <= now else 0
        if self.spins > SPINS_MAX:
            raise SimulationError(
                f"node {self.node} in {processor.state} is woken again and again: its deadline stays at "
                f"{processor.next_timeout} while its clock stands at {now}"
            )

    # The socket

    def _arrive(self, source: int, datagram: bytes) -> None:
        if self.processor is None:
            return
        if self.system_calls is not None:
            taken = self.system_calls.received(datagram)
            if taken is None:
                return
            datagram = taken
        if self.timeline.now < self.busy_until:
            if len(self.queue) < self.receive_max:
                self.queue.append(datagram)
                self._wake_later()
            else:
                self.overflowed += 1
            return
        self._handle([datagram])

    def _wake_later(self) -> None:
        if not self.wake_pending:
            self.wake_pending = True
            self.timeline.at(self.busy_until, self._wake, self.lives)

    def _wake(self, life: int | None, _: object) -> None:
        processor = self.processor
        if processor is None or (life is not None and life != self.lives):
            return
        self.wake_pending = False
        if self.timeline.now < self.busy_until:
            self._wake_later()
            return
        if self.timers_first and processor.next_timeout <= self._now() and self.random.random() < self.timers_first:
            self.flush(due=True)
        queue = self.queue
        if queue and self.processor is not None:
            batch = [queue.popleft() for _ in range(min(len(queue), self.batch_max))]
            self._handle(batch)
            if queue:
                self._wake_later()
                return
        if self.processor is not None:
            self._arm()

    def _handle(self, batch: list[bytes]) -> None:
        assert self.processor is not None
        self.busy_until = self.timeline.now + self.service_s * len(batch)
        if self.watch is not None:
            self.watch.arrived(self, batch)
        self.flush(batch)

    # After every step

    def flush(self, batch: Sequence[bytes] = (), *, due: bool = False) -> None:
        """Do what a driver does at each wake-up, and after every call: give the processor the turns that are due,
        transmit, read events, look when to wake up again. An unfinished visit goes on by its timer.

        Args:
            batch: datagrams that have arrived.
            due: whether it is woken because a timer is due.
        """
        processor = self.processor
        if processor is None:
            return
        wanted = due or len(batch) > 0
        early = self.early_timers > 0.0 and self.random.random() < self.early_timers
        self._note_standstill()
        application = self.application
        assert application is not None
        reading = self.timeline.now >= self.silent_until
        send = self.network.send
        node = self.node
        reads_max = self.habits.reads_first
        tries = True
        for _ in range(SPINS_MAX):
            transmits: list[tuple[int, bytes]] = []
            if wanted or early or processor.wants_turn:
                ready = processor.turn(batch, self._now())
                transmits = ready.transmits
                self.notices += ready.notices
                self.events_waiting = ready.events
                early = early and wanted  # once more, after the turn that there is a reason for
                wanted = False
                batch = ()
                tries = True
            if self.watch is not None:
                self.watch.stepped(self, transmits)
            if self.system_calls is not None:
                taken = self.system_calls.sent(self.random, transmits)
                if len(taken) < len(transmits):
                    self.note("send refused")
                transmits = taken
            if self.trap is not None and self.trap(self, transmits):
                # It dies while it transmits: some are out, the others never.
                for destination, datagram in transmits[: self.random.randint(0, len(transmits))]:
                    send(node, destination, datagram)
                self.crash()
                if self.on_crash is not None:
                    self.on_crash(self)
                return
            if self.trace is not None:
                self._show(transmits)
            for destination, datagram in transmits:
                if len(datagram) > self.datagram_size:
                    raise SimulationError(
                        f"node {node} transmits {len(datagram)} bytes of {kind_of(datagram)}; its transport takes "
                        f"{self.datagram_size} at most"
                    )
                send(node, destination, datagram)
            self._sample()
            if self.impatient and tries:
                self.impatient = False
                application.unblock()
            tries = False  # until a turn may have made room
            if reading and self.events_waiting:
                events = processor.take_events(reads_max)
                self.events_waiting -= len(events)
                application.take(events)
                reads_max = READS_MAX
            elif not (early or processor.wants_turn):
                break
        else:
            raise SimulationError(f"node {node} has events without end at one time")
        if processor.left and not (reading and self.events_waiting):
            self._check_drained()
            self._bury()
            return
        self._arm()

    def _sample(self) -> None:
        """Put ``waiting_for`` into the log when it changed."""
        processor = self.processor
        if processor is None or processor.left:
            return
        waiting_for = processor.waiting_for
        if waiting_for is not self.waiting_for:
            if waiting_for != self.waiting_for:
                self.audit.append(("WAIT", tuple(sorted(waiting_for))))
            self.waiting_for = waiting_for

    # For people

    def say(self, text: str) -> None:
        """Put a line into the trace, if there is one."""
        if self.trace is not None:
            state = self.processor.state if self.processor is not None else "-"
            self.trace(f"{self.timeline.now:12.6f}  node {self.node:<3} {state:<12} {text}")

    def _show(self, transmits: list[tuple[int, bytes]]) -> None:
        self._show_audit()
        for destination, datagram in transmits:
            to = f"to {destination}" if destination else "to all"
            self.say(f"sends {kind_of(datagram)} {to}, {len(datagram)} bytes")

    def _show_audit(self) -> None:
        if self.trace is not None:
            for entry in self.audit[self.traced :]:
                self.say(" ".join(_brief(part) for part in entry))
            self.traced = len(self.audit)


def _brief(part: Any) -> str:
    """One part of a record, short enough for a line."""
    if isinstance(part, bytes):
        head = part.split(b"|", 1)[0][:40]
        return f"{head!r}({len(part)})"
    text = str(part)
    if isinstance(part, Message):
        text = " ".join(_brief(getattr(part, name)) for name in part._fields)
    return text if len(text) <= 300 else text[:297] + "..."
