"""Token passing: what a processor does with the token of its ring when it comes (Totem, section 4).

It visits: sends what may be sent, delivers what may be delivered, forgets what every member has. Then the token is
passed on, or it rests here for a while and the visit goes on when there is something to send, or when somebody calls
(departure 11 in docs/protocol.md). Whether a token is to be accepted, and which ring this is, is decided by the modules
of ``membership/``, the last of which is ``operational.py``.
"""

from __future__ import annotations

import math
from typing import Any

from ringproto._core.barrier import Barrier
from ringproto._core.counters import Counters
from ringproto._core.notices import Notices
from ringproto._core.packets.delivery import Delivery
from ringproto._core.packets.packing import Outbox
from ringproto._core.ring.regular_source import RegularSource
from ringproto._core.ring.retransmission import Retransmission
from ringproto._core.ring.ring import RingState, Visit
from ringproto._core.states import State
from ringproto._core.timers import Timer, Timers
from ringproto._core.wire.regular import Codec, Phase, Token
from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.types import RingId

_OPERATIONAL = State.OPERATIONAL  # to look a member of an enum up costs more than most of what follows
# Numbers of C (token_passing.pxd).
_TOKEN_LOSS = int(Timer.TOKEN_LOSS)
_TOKEN_RETRANSMIT = int(Timer.TOKEN_RETRANSMIT)
_TOKEN_HOLD = int(Timer.TOKEN_HOLD)
_LEAST_PART = 0.25
"""A token that is acknowledged is sent again after this part of ``token_retransmit_min_s`` at the earliest."""
_BURSTS_MAX = 8
"""Who keeps the token sends so often at most before it is passed on: what is sent piece by piece fills no packets, and
the others must be able to follow."""


class TokenPassing:
    """One processor, as far as the token of its ring concerns it."""

    def __init__(
        self,
        node: int,
        config: Config,
        datagram_size: int,
        now: float,
        counters: Counters,
        first: RingId,
        incarnation: int,
        audit: list[tuple[Any, ...]] | None,
        origin: int,
    ) -> None:
        self.node = node
        self.config = config
        self.now = now
        self.codec = Codec(config.cluster_hash, node)
        self.counters = counters
        self.notices = Notices()
        self.timers = Timers()
        self.transmits: list[tuple[int, bytes]] = []
        self.state = State.GATHER
        self.leaving = False
        self._audit = audit
        self._origin = origin
        # Of the configuration, what is asked for at every visit, as numbers of C.
        self._accelerated_window = config.accelerated_window
        self._hold_s = config.hold_s
        self._keep_s = config.keep_s
        self._retransmit_s = config.retransmit_s
        self._token_timeout_s = config.token_timeout_s
        self._requests_max = min(config.retransmits_max, (datagram_size - 128) // 8)
        self._record("START", node, incarnation)
        # EVS: the first configuration of a processor is itself alone (M6).
        configuration = RegularConfiguration(first, (node,), (node,), (), config.quorum <= 1)
        self.barrier = Barrier(configuration)
        self.outbox = Outbox(config, self.barrier)
        self.delivery = Delivery(config, configuration, self.barrier, audit)
        self.ring = self._new_ring(first, (node,))
        self.delivery.delivered = self.ring.window.released
        self.ring.phase = int(Phase.INSTALLED)
        self._source = RegularSource(self.outbox, self.codec, datagram_size, audit)
        self._resting: Visit | None = None
        self._own_token: Token | None = None
        self._called = False
        self._woke = False
        self._least_resend_s = config.token_retransmit_min_s * _LEAST_PART
        self._hop = Retransmission(config.token_retransmit_min_s, self._least_resend_s)
        self._unanswered = 0
        self._sign_at = now

    def _new_ring(self, ring_id: RingId, members: tuple[int, ...]) -> RingState:
        return RingState(ring_id, members, self.node, self.config, self._requests_max, self._origin)

    def _record(self, *record: Any) -> None:
        if self._audit is not None:
            self._audit.append(record)

    def _transmit(self, destination: int, datagram: bytes, count: str) -> None:
        self.transmits.append((destination, datagram))
        self.counters.add(count)

    def _accepts(self, ring: RingState, token: Token) -> bool:
        reject_reason = ring.reject_reason(token)
        if reject_reason is not None:
            self.counters.add(reject_reason)
        return reject_reason is None

    def _note_token(self, ring: RingState, token: Token) -> None:
        ring.note_arrival(token, self.now)
        self.timers.clear(_TOKEN_RETRANSMIT)
        if self._audit is not None:
            self._audit.append(
                ("TOKEN", ring.id, token.token_seq, token.seq, token.aru, token.fcc, token.backlog, len(token.requests))
            )

    def _token_rested(self, sender: int, body: None) -> None:
        self._called = self._called or not self.visit_unfinished()
        self.continue_visit()

    def _wake(self, sender: int, ring: bytes) -> None:
        if ring != self.ring.name:
            self.counters.add("dropped_other_ring")
        else:
            self._called = True  # also if the token is on its way here: then it is passed on at once
            self.continue_visit()

    def _visit(self, token: Token) -> None:
        """This processor has the token of an installed ring."""
        self._deliver()
        self._woke = False
        self._use_token(self.ring.begin_visit(token, self._source, self.delivery.held))

    def continue_visit(self) -> None:
        """What the token rests for may have come."""
        visit = self._resting
        if visit is not None:
            if visit.unfinished:
                # The deadline was for the next piece. How long the token rests after the last one is decided then.
                self.timers.clear(_TOKEN_HOLD)
            self._resting = None
            self._use_token(visit)

    def _use_token(self, visit: Visit) -> None:
        """Send what may be sent, then let the token rest or pass it on; or send a piece, and go on."""
        ring = self.ring
        ring.send(visit, self._source, self.delivery.held, self.codec)
        if visit.unfinished:
            self._pause(visit)
        elif rest_s := self._rest_s(visit):
            self._rest(visit, rest_s)
        else:
            self.timers.clear(_TOKEN_HOLD)
            self._called = False
            ring.end_visit(visit, self._source, self.delivery.held, self.codec)
            self._pass_token(ring, visit)
        self._deliver()
        if ring.window.release(min(ring.stable, self.delivery.delivered)):
            self._record("FREE", ring.id, ring.window.released)
        self._visited()

    def _rest_s(self, visit: Visit) -> float:
        """For how long the token rests here before it is passed on, in seconds; 0 for not at all.

        The token of an idle ring rests where it was used last. Who alone has sent for a while keeps it a moment beyond
        what it sends, so that what its application sends next need not wait for a rotation (departure 11).
        """
        ring = self.ring
        if self._called or ring.successor == self.node:
            return 0.0
        if ring.idle_visits >= 2:
            if not ring.rests_here(visit) or (self.outbox.ready() and not ring.blocked):
                return 0.0
            # Not for long while somebody lacks a packet: it may have come meanwhile.
            settled = visit.came.aru == visit.seq
            return self._hold_s if settled else min(self._hold_s, self.config.token_retransmit_min_s)
        busy = self.outbox.ready() or self.leaving or not self.barrier.complete
        return self._keep_s if not busy and visit.bursts < _BURSTS_MAX and ring.keeps(visit) else 0.0

    def visit_unfinished(self) -> bool:
        """Whether a visit goes on as soon as what there is to send was sent."""
        return self._resting is not None and self._resting.unfinished

    def _pause(self, visit: Visit) -> None:
        """A piece is made. Who does not ask whether the visit goes on comes to it by the timer, at once."""
        self._resting = visit
        self._broadcast(visit.take_datagrams(0)[0])
        self.timers.clear(_TOKEN_LOSS)
        self.timers.set(_TOKEN_HOLD, math.nextafter(self.now, math.inf))

    def _rest(self, visit: Visit, rest_s: float) -> None:
        self._resting = visit
        self.ring.rested = True
        self._broadcast(visit.take_datagrams(0)[0])
        timers = self.timers
        timers.clear(_TOKEN_LOSS)
        deadline = self.now + rest_s
        if deadline < timers.deadline(_TOKEN_HOLD):
            timers.set(_TOKEN_HOLD, deadline)

    def _deliver(self) -> None:
        self.delivery.deliver(self.ring.window, self.ring.id, self.ring.stable)

    def _pass_token(self, ring: RingState, visit: Visit) -> None:
        accelerated = self._accelerated_window if self.state is _OPERATIONAL else 0
        before, after = visit.take_datagrams(accelerated)
        self._broadcast(before)
        if ring.successor == self.node:
            self._own_token = visit.token
        else:
            assert ring.forwarded is not None and visit.token is not None
            self._transmit(ring.successor, ring.forwarded, "tokens_sent")
            self.timers.set(_TOKEN_LOSS, self.now + self._token_timeout_s)
            if visit.token.acknowledge:
                self._hop.begin_acknowledged(ring.successor, self.now, self._retransmit_s)
            else:
                self._hop.begin(ring.successor, self.now, ring.retransmit_after())
            self._unanswered = 0
            self._sign_at = self.now
            self.timers.set(_TOKEN_RETRANSMIT, self.now + self._hop.wait_s)
        self._broadcast(after)

    def _broadcast(self, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._transmit(0, datagram, "datagrams_broadcast")

    def _visited(self) -> None:
        """What this processor has sent, and what is stable, may have changed. Membership says what follows from it."""
