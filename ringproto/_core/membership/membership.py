"""Membership: the states of a processor, and the only place where it goes from one to another.

Each state has an object that begins and ends with it: ``gathering.py``, ``forming.py``, ``operational.py``. An input is
given to the one that is there. It answers with what it found (``changes.py``), and the methods ``_enter_...`` here act
on that. One table (``states.py``) has the handler of each pair of (state, input), and the states that it leads to.

What the network says is checked and, when it cannot be, counted and dropped; asserts speak only of this code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ringproto._core.context import Context
from ringproto._core.membership.beacons import Beacons
from ringproto._core.membership.changes import Change, Depart, Follow, Form, Gather, Handlers, Install, Recover
from ringproto._core.membership.commit_token import CommitToken, empty_entry
from ringproto._core.membership.consensus import Consensus
from ringproto._core.membership.forming import Forming, make_entry
from ringproto._core.membership.gathering import Gathering
from ringproto._core.membership.installed import InstalledRing
from ringproto._core.membership.listening import SEQUENCE_END, Listening, end_near_the_last
from ringproto._core.membership.operational import Operational
from ringproto._core.membership.patience import Patience, stall_s
from ringproto._core.membership.reasons import Reasons
from ringproto._core.ring.retransmission import Retransmission
from ringproto._core.ring.ring import RingState
from ringproto._core.ring.token_passing import TokenPassing, least_resend_s
from ringproto._core.states import TIMER_INPUTS, Input, State
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Challenge, Leave, Refuse, Response
from ringproto._core.wire.regular import Phase
from ringproto.errors import RingError, SlowConsumerError
from ringproto.types import RingId

_OPERATIONAL = State.OPERATIONAL  # to look a member of an enum up costs more than most of what follows
_LEFT = State.LEFT
# Numbers of C (membership.pxd).
_SLOW_CONSUMER = int(Timer.SLOW_CONSUMER)
_DATA = int(Input.DATA)
_TOKEN = int(Input.TOKEN)
_LEAVE_COPIES = 3
"""How many copies of a leave are sent: nobody answers it, and each loss costs the others a timeout."""


class Membership:
    """The states of one processor.

    Args:
        context: of the processor.
    """

    def __init__(self, context: Context) -> None:
        config, node = context.config, context.node
        self._context = context
        self.failure: RingError | None = None
        """Why the processor is out of the ring; ``None`` if it left as it was asked to."""
        first = self._make_ring(context.delivery.configuration.ring_id, (node,))
        first.phase = int(Phase.INSTALLED)
        context.delivery.delivered = first.window.released
        self._installed = InstalledRing(first, node, context.incarnation)
        self._listening = Listening(context, self._installed)
        self._reasons = Reasons()
        self._patience = Patience(config.token_timeout_s)
        self._beacons = Beacons(context, self._listening.admission, self._listening.connectivity)
        self._hop = Retransmission(config.token_retransmit_min_s, least_resend_s(config.token_retransmit_min_s))
        self._stall_s = stall_s(config)
        # The object of the present state; of those that are not there, None.
        self._gathering: Gathering | None = None
        self._forming: Forming | None = None
        self._operational: Operational | None = None
        # What was asked for since the last turn.
        self._queued = False
        self._taken = False
        self._leave_noted = False
        self._leave_at = math.inf
        # Deadlines that were put off because this process stood still; each is put off once.
        self._put_off_deadlines: dict[Timer, float] = {}
        self._reasons.ended("it has started")
        self._act(Gather((node,)))
        if context.ring_sequence >= SEQUENCE_END:
            self._act(end_near_the_last(context))

    @property
    def ring(self) -> RingState:
        """The ring that was installed last."""
        return self._installed.ring

    @property
    def part(self) -> Gathering | Forming | Operational | None:
        """The object of the present state; ``None`` when the processor has left."""
        return self._gathering or self._forming or self._operational

    def token_patience_s(self) -> float:
        """How long the token may be away before this ring is taken to be broken, in seconds."""
        passing = self._passing()
        return self._context.config.token_timeout_s if passing is None else passing.timeout_s

    def _passing(self) -> TokenPassing | None:
        """The token of the ring that forms or is installed."""
        part = self._operational or self._forming
        return None if part is None else part.passing

    # Time, and standing still

    def note_time(self, now: float) -> None:
        """It is ``now``. First of all look whether this process was away."""
        if now - self._context.now > self._stall_s:
            self._note_gap(now)
        self._context.now = now

    def _note_gap(self, now: float) -> None:
        """Nobody has asked this processor for anything for long: nothing had to be done, or the process did not run.

        What it did before its unblock is its recovery, and it will need as long in the next one.
        """
        context = self._context
        if self.state is _LEFT or context.barrier.asked:
            return
        late_s = now - context.timers.first()
        if late_s < context.config.retransmit_s:
            return
        patience = self._patience
        timeout_s = context.config.token_timeout_s
        # When it stopped running is not known: it may have been idle before, on a ring of one for longer than others
        # would ever wait for a token.
        stood_s = min(now - context.now, late_s + timeout_s)
        patience.note_standstill(stood_s)
        if stood_s > timeout_s:
            context.notices.add(
                "recovery_stood_still",
                f"this process stood still for {stood_s:.3g} s while it recovered, and Config.token_timeout_s is "
                f"{timeout_s:.3g}: the others may have left it out. In the next recovery they wait for it "
                f"{patience.asks * timeout_s:.3g} s; send a large state in pieces, or raise token_timeout_s",
            )

    def extend_overdue_timers(self, least_s: float, most_s: float) -> None:
        """This process was away past its deadlines. What waits in its socket is read before others are judged.

        A deadline is put off once, and by as long as this process was late, but by ``least_s`` to ``most_s``.
        """
        timers, now = self._context.timers, self._context.now
        for timer in (Timer.TOKEN_LOSS, Timer.CONSENSUS):
            deadline = timers.deadline(timer)
            late_s = now - deadline
            if late_s > least_s and deadline != self._put_off_deadlines.get(timer):
                self._put_off_deadlines[timer] = now + min(late_s, most_s)
                timers.set(timer, self._put_off_deadlines[timer])
                self._context.counters.add("pauses")

    # Between turns: what is asked for is noted, and nothing is sent, delivered or timed

    def note_queued(self) -> None:
        """A message was put into a queue."""
        self._queued = True

    def note_taken(self) -> None:
        """The application has taken events."""
        self._taken = True

    def note_leave(self, now: float, drain: bool) -> None:
        """Leave, at the latest after ``leave_timeout_s``; with ``drain`` not before what was accepted is sent."""
        context = self._context
        if context.leaving or self.state is _LEFT:
            return
        context.leaving = True
        context.drains = drain
        self._leave_noted = True
        self._leave_at = now + context.config.leave_timeout_s

    def unblock(self, ring_id: RingId, now: float) -> None:
        """All recovery messages of this round were submitted. Nothing happens if the round is over.

        A standstill up to this moment belongs to the recovery, so the time is noted here and not at the next turn.
        """
        self.note_time(now)
        if self._context.barrier.ask(ring_id):
            self._patience.end_recovery()
            self._queued = True

    def wants_turn(self) -> bool:
        """Whether what was noted since the last turn can have an effect now."""
        if self._leave_noted:
            return True
        operational = self._operational
        if self._taken:
            if self._context.timers.is_set(_SLOW_CONSUMER):
                return True
            if operational is not None and operational.may_resume():
                return True
        if self._queued and operational is not None and operational.has_to_send() and operational.passing.is_in_reach():
            return True
        return len(self._context.transmits) > 0  # of a processor that had no turn yet

    # A turn

    def take_up(self) -> None:
        """A turn begins: take up what was noted since the last one."""
        self._queued = False
        if self._taken:
            self._taken = False
            self._resume_delivery()
            self._context.timers.clear(_SLOW_CONSUMER)
        if self._leave_noted:
            self._leave_noted = False
            if self.state is _LEFT:  # what was delivered just now let it leave
                return
            self._context.timers.set(Timer.LEAVE, self._leave_at)
            self._context.timers.clear(_SLOW_CONSUMER)
            self._context.delivery.raise_limits()
            self._resume_delivery()

    def _resume_delivery(self) -> None:
        if self._operational is not None:
            self._act(self._operational.resume_delivery())

    def visit_unfinished(self) -> bool:
        """Whether a visit of the token goes on as soon as what there is to send was sent."""
        return self._operational is not None and self._operational.passing.visit_unfinished()

    def continue_visit(self) -> None:
        """Send the next piece of it."""
        if self._operational is not None:
            self._act(self._operational.continue_visit())

    def deliver_arrivals(self) -> None:
        """Packets came: deliver what is in order now."""
        if self._operational is not None:
            self._operational.deliver_arrivals()

    def handle_timeouts(self) -> None:
        """All timers that are due."""
        while (timer := self._context.timers.pop_due(self._context.now)) is not None:
            self.handle(TIMER_INPUTS + timer, 0, None)

    def want_token(self) -> None:
        """Something waits to be sent: a resting token is called, unless it could take nothing."""
        operational = self._operational
        if operational is not None and operational.has_to_send():
            self._act(operational.call_token())

    def watch_consumer(self) -> None:
        """Past its bound, a full stream makes the processor leave."""
        context = self._context
        if not context.delivery.is_full() or context.leaving or self.state is _LEFT:
            context.timers.clear(_SLOW_CONSUMER)
        elif not context.timers.is_set(_SLOW_CONSUMER):
            context.timers.set(_SLOW_CONSUMER, context.now + context.config.slow_consumer_timeout_s)

    def leave_when_drained(self) -> None:
        """Leave if that was asked for and what this processor has sent is at every member."""
        if not self._context.leaving or self.state is _LEFT:
            return
        ring = self._installed.ring
        if ring.stable >= ring.last_own and self._context.is_drained():
            self._act(Depart("clean"))

    # Inputs

    def handle(self, what: int, sender: int, body: Any) -> None:
        """One input in the present state."""
        operational = self._operational
        # Nearly all inputs are these two. The handlers are the same as those of the list, and called without a look-up.
        if operational is not None and what == _TOKEN:
            change = operational.token(sender, body)
        elif operational is not None and what == _DATA:
            change = operational.data(sender, body)
        else:
            handler = self._handlers[what]
            if handler is None:
                self._context.counters.add("ignored")
                return
            change = handler(sender, body)
        if change is not None:
            self._act(change)

    def handlers(self) -> Handlers:
        """What an input calls in all states but the last."""
        return {
            Input.REFUSE: self.refused,
            Input.CHALLENGE: self.challenged,
            Input.RESPONSE: self.answered,
            Input.LEAVE_TIMEOUT: self.leave_timeout,
            Input.SLOW_CONSUMER: self.slow_consumer,
        }

    def refused(self, sender: int, refuse: Refuse) -> Change | None:
        """Processors with other limits refuse this one."""
        return self._listening.refused(sender, refuse)

    def challenged(self, sender: int, challenge: Challenge) -> Change | None:
        """Another processor asks whether this one lives."""
        self._listening.challenged(sender, challenge)
        return None

    def answered(self, sender: int, response: Response) -> Change | None:
        """A processor has proven that it lives: what it said before counts now."""
        word = self._listening.answered(sender, response, operational=self.state is _OPERATIONAL)
        if word is None:
            return self._listening.failure
        self.handle(word.kind, sender, word.body)
        return None

    def leave_timeout(self, sender: int, body: Any) -> Change | None:
        """It takes too long until what was accepted is at every member."""
        return Depart("clean")

    def slow_consumer(self, sender: int, body: Any) -> Change | None:
        """The application has not read for too long."""
        config = self._context.config
        failure = SlowConsumerError(
            f"the application took no event for {config.slow_consumer_timeout_s} s while "
            f"{self._context.delivery.pending} waited; read ring.events faster, or raise "
            "Config.slow_consumer_timeout_s, events_max or events_bytes_max"
        )
        return Depart("slow consumer", failure)

    # Changes of the state

    def _act(self, change: Change | None) -> None:
        """Go where this leads, and where that leads."""
        while change is not None:
            change = _WAYS[type(change)](self, change)

    def _become(
        self,
        state: State,
        *,
        gathering: Gathering | None = None,
        forming: Forming | None = None,
        operational: Operational | None = None,
    ) -> None:
        """From now on the processor is in this state, and inputs go to its object, the one that is given."""
        self.state = state
        self._gathering = gathering
        self._forming = forming
        self._operational = operational
        handlers: list[Callable[[int, Any], Change | None] | None] = [None] * (max(Input) + 1)
        part = gathering or forming or operational
        if part is not None:
            for what, handler in {**self.handlers(), **part.handlers()}.items():
                handlers[what] = handler
        self._handlers = handlers

    def _enter_gather(self, gather: Gather) -> Change | None:
        gathering = Gathering(self._context, self._listening, self._installed, self._reasons, gather)
        self._become(State.GATHER, gathering=gathering)
        self._context.counters.add("gathers")
        for timer in (Timer.TOKEN_LOSS, Timer.TOKEN_RETRANSMIT, Timer.TOKEN_HOLD):
            self._context.timers.clear(timer)
        self._beacons.end_ring()
        change = gathering.begin()
        if gather.join is None:
            return change
        assert change is None, "nothing is agreed on before the join was taken in"
        return gathering.take_join(*gather.join)

    def _form(self, form: Form) -> Change | None:
        """This processor is the representative."""
        context, members = self._context, form.members
        if context.ring_sequence + 1 >= SEQUENCE_END:
            return end_near_the_last(context)
        context.ring_sequence += 1
        ring_id = RingId(context.ring_sequence, context.node, context.entropy.next())
        ring = self._make_ring(ring_id, members)
        token = CommitToken(ring.name, 0, tuple(map(empty_entry, members))).filled(self._entry())
        forming = self._make_forming(ring, token)
        if len(members) > 1:
            self._become(State.COMMIT, forming=forming)
            forming.begin_commit(token)
            return None
        forming.begin_recovery(token)
        self._become(State.RECOVERY, forming=forming)
        return forming.start_token()

    def _follow(self, follow: Follow) -> Change | None:
        """Another processor is the representative."""
        self._context.ring_sequence = follow.ring_id.sequence
        ring = self._make_ring(follow.ring_id, follow.token.members)
        token = follow.token.filled(self._entry())
        forming = self._make_forming(ring, token)
        forming.acknowledge_commit(follow.sender, follow.part)
        self._become(State.COMMIT, forming=forming)
        forming.begin_commit(token)
        return None

    def _enter_recovery(self, recover: Recover) -> Change | None:
        forming = self._forming
        assert forming is not None, "recovery comes after commit"
        forming.begin_recovery(recover.token)
        self._become(State.RECOVERY, forming=forming)
        forming.pass_commit(recover.token)
        return None

    def _install(self, install: Install) -> Change | None:
        forming = self._forming
        assert forming is not None, "a ring is installed after its recovery"
        forming.install()
        operational = Operational(
            self._context,
            self._listening,
            self._installed,
            self._reasons,
            self._patience,
            self._beacons,
            forming.passing,
        )
        self._become(State.OPERATIONAL, operational=operational)
        return operational.begin(install.token)

    def _leave(self, depart: Depart) -> Change | None:
        """Tell the ring, so that it need not wait for a timeout, and stop."""
        context = self._context
        self.failure = depart.failure
        leave = Leave(self._listening.admission.identity(), self._installed.ring.name)
        datagram = context.membership_codec.encode_leave(leave)
        for _ in range(_LEAVE_COPIES):
            context.transmit(0, datagram, "leaves_sent")
        self._deliver_the_rest()
        self._become(State.LEFT)
        for timer in Timer:
            context.timers.clear(timer)
        context.record("STOP", depart.how)
        return None

    def _deliver_the_rest(self) -> None:
        """Others deliver safe messages because this processor has acknowledged them; so it delivers them before it
        goes, as if it went on alone: in a transitional configuration of its own."""
        delivery, installed, node = self._context.delivery, self._installed, self._context.node
        ring = installed.ring
        if ring.window.high > delivery.delivered:
            bound_to = installed.obligations | {node}
            delivery.end_ring(ring.window, ring.id, delivery.delivered, (node,), bound_to)

    # Rings that form

    def _make_ring(self, ring_id: RingId, members: tuple[int, ...]) -> RingState:
        context = self._context
        return RingState(ring_id, members, context.node, context.config, context.requests_max, context.origin)

    def _make_forming(self, ring: RingState, token: CommitToken) -> Forming:
        return Forming(
            self._context,
            self._listening,
            self._installed,
            self._reasons,
            self._patience,
            self._consensus(),
            TokenPassing(self._context, ring, self._hop),
            token,
        )

    def _consensus(self) -> Consensus:
        assert self._gathering is not None, "a ring is formed by those that have gathered"
        return self._gathering.consensus

    def _entry(self) -> Any:
        return make_entry(self._context, self._installed, self._patience)


_WAYS: dict[type, Callable[[Membership, Any], Change | None]] = {
    Gather: Membership._enter_gather,
    Form: Membership._form,
    Follow: Membership._follow,
    Recover: Membership._enter_recovery,
    Install: Membership._install,
    Depart: Membership._leave,
}
"""What is done about each change."""
