"""What a ring says: what the core and the driver noticed, written to ``logging.getLogger("ringproto")``.

The core has notices, with the causes of each configuration. The driver measures what the core cannot know: that this
process did not run, and, at wake-ups that it has anyway, for whom a barrier waits, whether a ring forms at all, whether
a rotation comes near the token timeout, and whether the application reads.

Everything is written on trio's thread, without the driver's lock, so that a handler may do what any code of the
application may do. What a thread that drives the core has noticed waits here until then: one notice of each kind. What
lasts is said again after twice as long each time, up to a minute. Which configuration there is, and whether its barrier
is complete, is said in the end however fast they follow each other.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable

from ringproto._core import Notice, Processor, StreamChange
from ringproto._service.errors import whereabouts
from ringproto.events import RecoveryComplete, RegularConfiguration
from ringproto.log import BoundedLog, Lasting
from ringproto.transports import Transport

__all__ = ["Reports"]

_STATES = frozenset({"configuration", "recovery_complete"})
"""Kinds whose last line says what is so until the next one."""
_LOOK_S = 1.0
"""The shortest time between two looks at the rotation and the reader."""
_WAITED_S = 1.0
"""A barrier that is not complete after this time is said."""
_FORMING_PART = 2.0
"""A processor that is on no ring for so many times the consensus and the token timeout together, and a second at least,
says so: once each of the two should have led to a ring."""
_LATE_PART = 0.5
"""A wake-up that comes later than its deadline by more than this part of the token timeout is worth a line."""
_NEAR_PART = 0.5
_NEAR_LOOKS = 3
"""A rotation that took more than this part of the token timeout at so many looks in a row is near it."""
_ROOM = 4
"""A token timeout of so many rotations would do: a lost token is missed and sent again several times within it."""
_SLOW_PART = 0.5
"""An application that has read nothing for this part of ``Config.slow_consumer_timeout_s`` is told of."""


class Reports:
    """What one ring says.

    Args:
        processor: the core.
        transport: knows addresses, perhaps.
        clock: the seconds that the core counts in.
    """

    def __init__(self, processor: Processor, transport: Transport, clock: Callable[[], float]) -> None:
        config = processor.config
        self.late_s = _LATE_PART * config.token_timeout_s
        """A driver that wakes so many seconds after its deadline calls :meth:`woke_late`."""
        self.look_at = -math.inf
        """From this time on a driver that is awake calls :meth:`look`."""
        self.waiting: dict[str, Notice] = {}
        """By its kind, what the driver has noticed and was not written yet."""
        self.held_due = False
        """Whether the driver has seen that lines are to be written that were held back."""
        self._processor = processor
        self._transport = transport
        self._config = config
        self._clock = clock
        self._log = BoundedLog(clock=clock)
        self._installed_at = clock()
        self._barrier_lasts = Lasting()
        self._unformed_since = math.inf
        self._unformed_lasts = Lasting()
        self._unformed_max_s = max(1.0, _FORMING_PART * (config.consensus_timeout_s + config.token_timeout_s))
        self._recovering = 0
        self._recovered_at = -math.inf
        self._near = 0
        self._near_lasts = Lasting()
        self._slow_lasts = Lasting()

    @property
    def failures(self) -> int:
        """How often writing to the log raised."""
        return self._log.failures

    # What the driver notices, on its thread

    def woke_late(self, late_s: float) -> None:
        """The driver was to wake so many seconds ago."""
        timeout_s = self._config.token_timeout_s
        text = f"this process stood still for {late_s:.3g} s; Config.token_timeout_s is {timeout_s:g} s. "
        if self._recovering or self._recovered_at >= self._clock() - late_s:
            text += (
                "recover was running: if it computed meanwhile, encode and send its state in pieces, with a checkpoint "
                "between them; one call that computes for long, such as json.dumps(), holds up threads as well. If it "
                "waited, the process was stopped, or the machine was busy"
            )
        else:
            text += "It was stopped, or the machine was busy, or something held trio's loop or Python's lock"
        fields = ("seconds", late_s), ("token_timeout_s", timeout_s), ("recovering", self._recovering > 0)
        self._note(Notice("stood_still", text, True, fields))

    def look(self, now: float) -> None:
        """Look at what lasts for too long, and at what may come near a bound."""
        self.look_at = now + _LOOK_S
        if self._processor.state == "operational":
            self._unformed_since = math.inf
            self._look_at_barrier(now)
        else:
            self._look_at_forming(now)
        self._look_at_rotation(now)
        self._look_at_reader(now)
        self.held_due = now >= self._log.held_until

    @property
    def speaks(self) -> bool:
        """Whether there is something to be written."""
        return self.held_due or bool(self.waiting)

    def _look_at_forming(self, now: float) -> None:
        if self._unformed_since == math.inf:
            self._unformed_since = now
            self._unformed_lasts.over()
        lasted_s = now - self._unformed_since
        if lasted_s >= self._unformed_max_s and self._unformed_lasts.due(now):
            state = self._processor.state
            text = f"no ring for {lasted_s:.3g} s: this processor is in {state}"
            self._note(Notice("no_ring", text, True, (("seconds", lasted_s), ("state", state))))

    def _look_at_barrier(self, now: float) -> None:
        processor = self._processor
        waited_s = now - self._installed_at
        if processor.complete:
            return
        if waited_s < _WAITED_S:
            self.look_at = self._installed_at + _WAITED_S
            return
        if not self._barrier_lasts.due(now):
            return
        configuration = processor.configuration
        fields = ("ring_id", str(configuration.ring_id)), ("seconds", waited_s)
        if not configuration.primary:
            members, quorum = configuration.members, self._config.quorum
            text = f"no quorum for {waited_s:.3g} s: {len(members)} of the {quorum} members that Config.quorum asks for"
            self._note(Notice("no_quorum", text, True, (*fields, ("members", members), ("quorum", quorum))))
        else:
            nodes = tuple(sorted(processor.waiting_for))
            text = f"after {waited_s:.3g} s the barrier of configuration {configuration.ring_id} still waits for "
            text += ", ".join(map(str, nodes))
            if self._recovering and processor.node in nodes:
                text += "; here recover has not returned"
            self._note(Notice("waiting_for", text, True, (*fields, ("waiting_for", nodes))))

    def _look_at_rotation(self, now: float) -> None:
        timeout_s = self._config.token_timeout_s
        rotation_s = self._processor.rotation_s
        if rotation_s <= _NEAR_PART * timeout_s:
            self._near = 0
            self._near_lasts.over()
            return
        self._near += 1
        if self._near >= _NEAR_LOOKS and self._near_lasts.due(now):
            right_s = _ROOM * rotation_s
            text = (
                f"a rotation of the token takes {rotation_s:.3g} s of Config.token_timeout_s ({timeout_s:g} s); "
                f"{right_s:.2g} s would do"
            )
            fields = ("rotation_s", rotation_s), ("token_timeout_s", timeout_s), ("would_do_s", right_s)
            self._note(Notice("token_timeout_near", text, True, fields))

    def _look_at_reader(self, now: float) -> None:
        left_s = self._processor.consumer_deadline - now
        timeout_s = self._config.slow_consumer_timeout_s
        if left_s > _SLOW_PART * timeout_s:
            self._slow_lasts.over()
        elif self._slow_lasts.due(now):
            events = self._processor.statistics()["events_waiting"]
            text = (
                f"the application has taken no event for {timeout_s - left_s:.3g} s while {events} wait and the ring "
                f"is slowed down; this processor leaves in {max(0.0, left_s):.3g} s (Config.slow_consumer_timeout_s)"
            )
            fields = ("seconds", timeout_s - left_s), ("events_waiting", events), ("leaves_in_s", max(0.0, left_s))
            self._note(Notice("slow_consumer", text, True, fields))

    def _note(self, notice: Notice) -> None:
        self.waiting[notice.kind] = notice

    def changed(self, change: StreamChange) -> None:
        """A configuration or a completion came into the stream."""
        event = change.event
        if isinstance(event, RegularConfiguration):
            self._installed_at = self._clock()
            self._barrier_lasts.over()
            self._unformed_since = math.inf
            self.look_at = min(self.look_at, self._installed_at + _WAITED_S)
        elif isinstance(event, RecoveryComplete):
            took_s, last = self._clock() - self._installed_at, change.last_unblocked
            text = f"recovery of configuration {event.ring_id} is complete after {took_s:.3g} s; {last} unblocked last"
            fields = (
                ("ring_id", str(event.ring_id)),
                ("members", event.members),
                ("seconds", took_s),
                ("last", last),
            )
            self._note(Notice("recovery_complete", text, False, fields))

    # What is written, on trio's thread

    def take(self) -> list[Notice]:
        """What the driver has noticed. With the driver's lock, if that is on another thread."""
        notices = list(self.waiting.values())
        self.waiting.clear()
        return notices

    def write_held(self) -> None:
        """Write the lines that were held back for long enough, without the driver's lock."""
        self.held_due = False
        self._log.write_held()

    def write(self, notices: Iterable[Notice]) -> None:
        """Write them, without the driver's lock."""
        for notice in notices:
            text, fields = notice.text, dict(notice.fields)
            if notice.kind == "duplicate_id":
                text += whereabouts(self._transport, int(str(fields["processor"])))
            self._write(notice.kind, text, notice.warning, fields)

    def ended(self, failure: BaseException | None) -> None:
        """The processor has left the ring."""
        self._log.write_held(at_once=True)
        if failure is None:
            self._write("left", "left the ring", False, {})
        else:
            error = type(failure).__name__
            self._write("failed", f"left the ring: {error}: {failure}", True, {"error": error})

    def _write(self, kind: str, text: str, warning: bool, fields: dict[str, object]) -> None:
        node = self._processor.node
        text = f"node {node}: {text}"
        if kind in _STATES:
            self._log.state(logging.INFO, kind, text, node=node, **fields)
        else:
            write = self._log.warning if warning else self._log.info
            write(kind, text, node=node, **fields)

    # What the tasks of a round say

    def recover_began(self) -> None:
        """The application's ``recover`` runs."""
        self._recovering += 1

    def recover_ended(self) -> None:
        self._recovering -= 1
        self._recovered_at = self._clock()
