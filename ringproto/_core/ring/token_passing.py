"""Token passing: what a processor does with the token of one ring when it comes (Totem, section 4).

The token visits: the processor sends what may be sent, delivers what may be delivered, and forgets what every member
has. Then the token is passed on, or it rests here for a while, and the visit goes on when there is something to send or
when somebody calls (departure 11 in docs/protocol.md). It is sent again while nothing is heard of it.

Whether a token is to be accepted in the present state, and what follows when it is lost, is decided in ``membership/``.
"""

from __future__ import annotations

import math

from ringproto._core.context import Context
from ringproto._core.ring.regular_source import RegularSource
from ringproto._core.ring.retransmission import Retransmission
from ringproto._core.ring.ring import RingState, Visit
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Acknowledgement
from ringproto._core.wire.regular import Kind, Phase, Token

# Numbers of C (token_passing.pxd).
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_TOKEN_HOLD = int(Timer.TOKEN_HOLD)
_STANDSTILL = int(Timer.STANDSTILL)
_INSTALLED = int(Phase.INSTALLED)
_IS_TOKEN = int(Kind.TOKEN)
_LEAST_PART = 0.25
"""A token that is acknowledged is sent again after this part of ``token_retransmit_min_s`` at the earliest."""
_BURSTS_MAX = 8
"""A processor that keeps the token sends at most as often before the token is passed on: what is sent piece by piece
fills no packets, and the others must be able to follow."""


class TokenPassing:
    """The token of one ring at one processor, from the ring's first token to its last.

    Args:
        context: of the processor.
        ring: the ring, which forms or is installed.
        hop: what is known of the way to the successor. It outlives the ring.
    """

    __slots__ = (
        "_accelerated_window",
        "_barrier",
        "_context",
        "_delivery",
        "_fail_to_receive_s",
        "_hold_s",
        "_keep_s",
        "_least_resend_s",
        "_outbox",
        "_retransmit_s",
        "_sign_at",
        "_source",
        "_timers",
        "_token_timeout_s",
        "_unanswered",
        "called",
        "fail_to_receive_s",
        "hop",
        "own_token",
        "resting",
        "ring",
        "timeout_s",
        "woke",
    )

    def __init__(self, context: Context, ring: RingState, hop: Retransmission) -> None:
        config = context.config
        self._context = context
        self.ring = ring
        self.hop = hop
        # What is asked for at every visit.
        self._timers = context.timers
        self._outbox = context.outbox
        self._delivery = context.delivery
        self._barrier = context.barrier
        self._accelerated_window = config.accelerated_window
        self._hold_s = config.hold_s
        self._keep_s = config.keep_s
        self._retransmit_s = config.retransmit_s
        self._token_timeout_s = config.token_timeout_s
        self._fail_to_receive_s = config.fail_to_receive_s
        self._least_resend_s = least_resend_s(config.token_retransmit_min_s)
        self._source = RegularSource(context.outbox, context.codec, context.datagram_size, context.audit)
        self.resting: Visit | None = None
        """A visit that goes on, because the token rests here or because it is sent in pieces."""
        self.own_token: Token | None = None
        """The token of a ring of one, which is passed on to this processor itself."""
        self.called = False
        """Whether the token is not to rest here at this visit, or at the next."""
        self.woke = False
        """Whether the token was called since it was here."""
        self.timeout_s = config.token_timeout_s
        """For how many seconds the token may be away before this ring is taken to be broken."""
        self.fail_to_receive_s = config.fail_to_receive_s
        """For how many seconds a member may keep the aru from rising."""
        self._unanswered = 0
        self._sign_at = context.now

    # The token comes

    def accepts(self, token: Token) -> bool:
        """Whether this token is of the ring, for this processor, and not one that was here before."""
        reject_reason = self.ring.reject_reason(token)
        if reject_reason is not None:
            self._context.counters.add(reject_reason)
        return reject_reason is None

    def acknowledge(self, sender: int, token: Token) -> None:
        """Tell the predecessor that the token is here: if it asks for that, or as it has sent it again."""
        if token.acknowledge or token.copy:
            self._context.acknowledge(sender, token.ring, _IS_TOKEN, token.copy, token.token_seq)

    def answer_copy(self, sender: int, token: Token) -> None:
        """A copy of a token that was accepted before: its sender must learn that it came, or sends it again and
        again."""
        ring = self.ring
        known = token.ring == ring.name and sender in ring.members
        if known and token.token_seq == ring.token_seq and token.destination == self._context.node:
            self._context.acknowledge(sender, token.ring, _IS_TOKEN, token.copy, token.token_seq)

    def note(self, token: Token) -> None:
        """This token was accepted."""
        ring = self.ring
        ring.note_arrival(token, self._context.now)
        self._timers.clear(_TOKEN_RETRANSMIT)
        if self._context.audit is not None:
            self._context.audit.append(
                ("TOKEN", ring.id, token.token_seq, token.seq, token.aru, token.fcc, token.backlog, len(token.requests))
            )

    def ends_ring(self, token: Token) -> bool:
        """Whether the token says that the ring must end: its numbers have come to their end, or a member has held the
        aru up for too long."""
        ring = self.ring
        return ring.exhausted(token) or ring.slowest_member(self._context.now, self.fail_to_receive_s) != 0

    def end_rest(self) -> None:
        """A token has come. One that rests here is an older one: nobody honest sent both, and two must not go on."""
        self.resting = None
        self._timers.clear(_TOKEN_HOLD)

    # A visit on the installed ring

    def visit(self, token: Token) -> None:
        """This processor has the token of an installed ring."""
        self.deliver()
        self.woke = False
        self._use_token(self.ring.begin_visit(token, self._source, self._delivery.held))

    def continue_visit(self) -> bool:
        """What the token rests for may have come; ``False`` if it does not rest here."""
        visit = self.resting
        if visit is None:
            return False
        if visit.unfinished:
            # The deadline was for the next piece. How long the token rests after the last one is decided then.
            self._timers.clear(_TOKEN_HOLD)
        self.resting = None
        self._use_token(visit)
        return True

    def _use_token(self, visit: Visit) -> None:
        """Send what may be sent, then let the token rest or pass it on; or send a piece, and go on."""
        ring = self.ring
        codec = self._context.codec
        ring.send(visit, self._source, self._delivery.held, codec)
        if visit.unfinished:
            self._pause(visit)
        elif rest_s := self._rest_s(visit):
            self._rest(visit, rest_s)
        else:
            self._timers.clear(_TOKEN_HOLD)
            self.called = False
            ring.end_visit(visit, self._source, self._delivery.held, codec)
            self.pass_on(visit)
        self.deliver()
        if ring.window.release(min(ring.stable, self._delivery.delivered)):
            self._context.record("FREE", ring.id, ring.window.released)

    def _rest_s(self, visit: Visit) -> float:
        """For how long the token rests here before it is passed on, in seconds; 0 for not at all.

        The token of an idle ring rests where it was used last. A processor that has sent alone for a while keeps it a
        moment beyond what it sends, so that what its application sends next need not wait for a rotation (departure
        11).
        """
        ring = self.ring
        if self.called or ring.successor == self._context.node:
            return 0.0
        if ring.idle_visits >= 2:
            if not ring.rests_here(visit) or (self._outbox.ready() and not ring.blocked):
                return 0.0
            # Not for long while somebody lacks a packet: it may have come meanwhile.
            settled = visit.came.aru == visit.seq
            return self._hold_s if settled else min(self._hold_s, self._context.config.token_retransmit_min_s)
        busy = self._outbox.ready() or self._context.leaving or not self._barrier.complete
        return self._keep_s if not busy and visit.bursts < _BURSTS_MAX and ring.keeps(visit) else 0.0

    def visit_unfinished(self) -> bool:
        """Whether a visit goes on as soon as what there is to send was sent."""
        return self.resting is not None and self.resting.unfinished

    def _pause(self, visit: Visit) -> None:
        """A piece is made. A driver that does not ask whether the visit goes on comes to it by the timer, at once."""
        self.resting = visit
        self._broadcast(visit.take_datagrams(0)[0])
        self._timers.clear(_TOKEN_LOSS)
        self._timers.set(_TOKEN_HOLD, math.nextafter(self._context.now, math.inf))

    def _rest(self, visit: Visit, rest_s: float) -> None:
        self.resting = visit
        self.ring.rested = True
        self._broadcast(visit.take_datagrams(0)[0])
        timers = self._timers
        timers.clear(_TOKEN_LOSS)
        deadline = self._context.now + rest_s
        if deadline < timers.deadline(_TOKEN_HOLD):
            timers.set(_TOKEN_HOLD, deadline)

    def deliver(self) -> None:
        """Deliver what may be delivered."""
        self._delivery.deliver(self.ring.window, self.ring.id, self.ring.stable)

    # The token goes on

    def pass_on(self, visit: Visit) -> None:
        """Send what the visit has made, and the token to the successor."""
        ring = self.ring
        now = self._context.now
        before, after = visit.take_datagrams(self._accelerated_window if ring.phase == _INSTALLED else 0)
        self._broadcast(before)
        if ring.successor == self._context.node:
            self.own_token = visit.token
        else:
            assert ring.forwarded is not None and visit.token is not None
            self._context.transmit(ring.successor, ring.forwarded, "tokens_sent")
            self._timers.set(_TOKEN_LOSS, now + self.timeout_s)
            if visit.token.acknowledge:
                self.hop.begin_acknowledged(ring.successor, now, self._retransmit_s)
            else:
                self.hop.begin(ring.successor, now, ring.retransmit_after())
            self._unanswered = 0
            self._sign_at = now
            self._timers.set(_TOKEN_RETRANSMIT, now + self.hop.wait_s)
        self._broadcast(after)

    def _broadcast(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._context.transmit(0, datagram, "datagrams_broadcast")

    # The token may be called

    def rested(self) -> bool:
        """The token has rested for its time, or the next piece is due; ``False`` if it does not rest here."""
        self.called = self.called or not self.visit_unfinished()
        return self.continue_visit()

    def wake(self, ring: bytes) -> bool:
        """A member calls the token; ``False`` if it does not rest here."""
        if ring != self.ring.name:
            self._context.counters.add("dropped_other_ring")
            return False
        self.called = True  # also if the token is on its way here: then it is passed on at once
        return self.continue_visit()

    def is_in_reach(self) -> bool:
        """Whether :meth:`call` would do something."""
        if self.own_token is not None:
            return True
        if self.resting is not None:
            return not self.resting.unfinished
        return not self.woke and self.ring.rests_elsewhere()

    def call(self) -> bool:
        """Let the token go on that rests here or elsewhere; ``True`` if it was here, and the visit went on."""
        if self.resting is not None:
            # In pieces it goes on anyway, when what was sent is on its way.
            return not self.resting.unfinished and self.continue_visit()
        if not self.woke and self.ring.rests_elsewhere():
            self.woke = True
            datagram = self._context.membership_codec.encode_wake(self.ring.name)
            self._context.transmit(self.ring.last_sender, datagram, "wakes_sent")
        return False

    # The token may be lost

    def wait(self, times: int) -> None:
        """From now on the token may be away for this many token timeouts before the ring is taken to be broken.

        While that is more than one, a timer each ``retransmit_s`` tells a wait from a standstill of this process.
        """
        if times > 1:
            at = self._context.now + self._retransmit_s
            self._timers.set(_STANDSTILL, min(self._timers.deadline(_STANDSTILL), at))
        self.timeout_s = times * self._token_timeout_s
        self.fail_to_receive_s = times * self._fail_to_receive_s

    def standstill(self) -> None:
        """This process runs; in a moment the timer comes again, as long as a member is waited for."""
        self._timers.clear(_STANDSTILL)
        if self.timeout_s > self._token_timeout_s:
            self._timers.set(_STANDSTILL, self._context.now + self._retransmit_s)

    def leaves_it_to_the_loss(self) -> bool:
        """Whether it is too late to send the token again: an answer would come after the ring is broken, unless that is
        put off."""
        loss_at = self._timers.deadline(_TOKEN_LOSS)
        if loss_at - self._context.now >= self._least_resend_s / 2:
            return False
        self._timers.set(_TOKEN_RETRANSMIT, max(loss_at, math.nextafter(self._context.now, math.inf)))
        return True

    def retransmit(self) -> None:
        """Nothing was heard of the token: once more, and the next time sooner.

        It may have been lost on a link that loses most of what is sent over it. The ring breaks with the token timeout,
        and within it the token should be tried as often as may be.
        """
        if self.leaves_it_to_the_loss():
            return
        ring = self.ring
        self.hop.repeat(self._context.now, self._shortest_resend_s())
        self._unanswered += ring.phase == _INSTALLED
        datagram = ring.repeat_token(self.hop.copy, self._context.codec)
        self._context.transmit(ring.successor, datagram, "tokens_retransmitted")
        self._timers.set(_TOKEN_RETRANSMIT, self._context.now + self.hop.wait_s)

    def _shortest_resend_s(self) -> float:
        """The shortest wait before the token is sent again, in seconds."""
        if self.timeout_s > self._token_timeout_s:
            left_s = self._timers.deadline(_TOKEN_LOSS) - self._context.now
            if left_s < self.timeout_s - self._token_timeout_s:
                return self._retransmit_s  # the member that has it stands still, and copies only fill its socket
        return self._least_resend_s

    def repeat_before_standstill(self, copies: int) -> None:
        """This processor has passed the token on and stands still next: it sends copies now, because it could only send
        them when it runs again."""
        ring = self.ring
        if self.own_token is None and self.resting is None and ring.forwarded is not None:
            for _ in range(copies):
                self._context.transmit(ring.successor, ring.forwarded, "tokens_retransmitted")

    # Signs of the successor

    def concerns(self, sender: int, acknowledgement: Acknowledgement) -> bool:
        """Whether an acknowledgement is for this processor and from its successor on this ring."""
        if acknowledgement.destination != self._context.node:
            self._context.counters.add("dropped_not_for_me")
            return False
        if acknowledgement.ring != self.ring.name or sender != self.ring.successor:
            self._context.counters.add("dropped_other_ring")
            return False
        return True

    def acknowledged(self, acknowledgement: Acknowledgement) -> None:
        """The successor says that it has the token."""
        token = self.ring.forwarded_token
        assert token is not None, "the successor acknowledges a token that was passed on"
        self.acknowledged_as(acknowledgement, _IS_TOKEN, token.token_seq)

    def acknowledged_as(self, acknowledgement: Acknowledgement, what: int, number: int) -> None:
        """The successor says that it has the token, or commit token, that it was sent last: this one."""
        if (acknowledgement.what, acknowledgement.number) == (what, number):
            self.hop.acknowledged(acknowledgement.copy, self._context.now)
            self._note_answer()
            if self.ring.phase == _INSTALLED:
                self.watch_successor()
            else:
                self._timers.clear(_TOKEN_RETRANSMIT)
        else:
            self._context.counters.add("duplicates")

    def watch_successor(self) -> None:
        """The successor has shown that it has the token. It may die before it passes the token on; so it is sent the
        token once more if nothing is heard of that for half of the token timeout. A live one answers (departure 18)."""
        if self._timers.is_set(_TOKEN_RETRANSMIT):  # else the token went on, and this comes late
            wait_s = self.timeout_s / 2
            self.hop.arrived(wait_s)
            self._timers.set(_TOKEN_RETRANSMIT, self._context.now + wait_s)

    def note_sign(self, sender: int) -> None:
        """A datagram of a member came: if it is the successor, it lives, whatever became of the token."""
        if self._unanswered and sender == self.ring.successor:
            self._note_answer()

    def _note_answer(self) -> None:
        self._unanswered = 0
        self._sign_at = self._context.now

    def is_unanswered(self, copies: int, part: float) -> bool:
        """Whether the successor was sent this many copies of the token, and gave no sign for this part of the token
        timeout."""
        silent_s = self._context.now - self._sign_at
        return self._unanswered >= copies and silent_s >= part * self.timeout_s


def least_resend_s(token_retransmit_min_s: float) -> float:
    """The shortest wait between two copies of a token, in seconds."""
    return token_retransmit_min_s * _LEAST_PART
