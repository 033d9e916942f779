"""One ring at one processor: its packets, and what a visit of the token does (Totem, section 4).

A :class:`Ring` is the same while it forms, when what is sent are packets of old rings, and when it is installed, when
they are the application's; who sends is told by the ``source`` that the visit is given. It decides nothing about
membership.
"""

from __future__ import annotations

from typing import Protocol

from ringproto._core.flow_control import FlowControl
from ringproto._core.pace import Pace
from ringproto._core.window import Window
from ringproto._core.wire import CHUNK_PRIORITY, Codec, Packet, Phase, Token, ring_bytes
from ringproto.config import Config
from ringproto.types import Priority, RingId

NUMBER_END = 2**62
"""A ring ends when it has counted so far: half of what a datagram can say, so that what is on its way can be said."""
_INSTALLED = int(Phase.INSTALLED)  # to look a member of an enum up costs more than what is done with it
_HIGH = int(Priority.HIGH)


class Source(Protocol):
    """Where the new packets of a visit come from."""

    def backlog(self, low_max: int) -> int:
        """About how many packets wait and may be sent now, counting at most ``low_max`` of ``LOW``."""

    def next_packet(self, ring: Ring, seq: int, message_seq: int) -> tuple[Packet, int] | None:
        """The next packet, to be number ``seq``, and the message number that it brings the ring to."""

    def unready(self, ring: Ring, seq: int) -> bool:
        """Whether this processor is not ready for the ring's next phase, ``seq`` being the last packet number."""


class Ring:
    """The state of one ring id at one processor."""

    __slots__ = (
        "_ask_after",
        "_ask_max_s",
        "_ask_wait_s",
        "_asked",
        "_flow",
        "_last_aru",
        "_last_seq",
        "_noted_seq",
        "_requests_max",
        "_usual_s",
        "_visited_at",
        "aru_changed_at",
        "aru_seen",
        "blocked",
        "forwarded",
        "forwarded_seq",
        "id",
        "idle_visits",
        "last_own",
        "members",
        "name",
        "node",
        "origin",
        "pace",
        "phase",
        "retransmitted",
        "rotation_s",
        "rotations",
        "sent",
        "stable",
        "successor",
        "token_seq",
        "window",
    )

    def __init__(
        self, ring_id: RingId, members: tuple[int, ...], node: int, config: Config, requests_max: int, origin: int = 0
    ) -> None:
        self.id = ring_id
        self.name = ring_bytes(ring_id)
        """The id as it stands in datagrams."""
        self.members = members
        self.node = node
        self.successor = members[(members.index(node) + 1) % len(members)]
        self.origin = origin
        """Packets, messages and rotations are counted from here."""
        window_size, visit_max = config.windows
        self.window = Window(8 * window_size, origin)
        self.token_seq = 0
        self.stable = origin
        """Every member has all packets up to this one."""
        self.phase = int(Phase.EXCHANGE)
        self.forwarded: bytes | None = None
        """The token as it was passed on, to be sent again."""
        self.forwarded_seq = origin
        self.idle_visits = 0
        """Visits in a row in which nothing had happened on the ring since the last one."""
        self.rotations = 0
        self.rotation_s = 0.0
        """A smoothed rotation time."""
        self.blocked = False
        """Whether flow control let nothing new out at the last visit."""
        self.last_own = origin
        """The last packet that this processor originated."""
        self.sent = 0
        self.retransmitted = 0
        self.aru_seen = (origin, 0)
        self.aru_changed_at = 0.0
        self.pace = Pace(visit_max, config.rotation_target_s)
        """How much of its turn this processor uses."""
        self._flow = FlowControl(window_size, visit_max)
        self._requests_max = requests_max
        # What this processor asked for, of which nothing came since; when it asks again, and how long that was put off.
        self._asked: list[int] = []
        self._ask_after = 0.0
        self._ask_wait_s = 0.0
        self._ask_max_s = config.token_retransmit_min_s
        self._last_aru = origin
        self._last_seq = origin
        self._noted_seq = origin
        self._usual_s = 0.0
        self._visited_at = -1.0

    @property
    def representative(self) -> int:
        return self.members[0]

    def first_token(self) -> Token:
        """The token with which the representative starts the ring; nobody is taken to be ready yet."""
        at = self.origin
        return Token(self.node, self.name, at + 1, at, at, at, 0, 0, 0, int(Phase.EXCHANGE), True, ())

    def worn_out(self, token: Token) -> bool:
        """Whether the numbers of a ring come to their end: another one, with fresh numbers, must take its place."""
        return token.token_seq >= NUMBER_END or token.seq >= NUMBER_END or token.message_seq >= NUMBER_END

    def objection(self, token: Token) -> str | None:
        """Why a token is not the next one of this ring for this processor; ``None`` if it is."""
        if token.destination != self.node:
            return "dropped_not_for_me"
        if token.ring != self.name:
            return "dropped_other_ring"
        if token.token_seq <= self.token_seq:
            return "duplicate_tokens"
        return None if self.plausible(token) else "dropped_implausible"

    def plausible(self, token: Token) -> bool:
        """Whether a well formed token can be the next one of this ring. Remote input never reaches an assert.

        Only the representative begins a phase, so none comes back to it that it has not begun.
        """
        return (
            token.seq >= self._last_seq
            and token.seq >= self.window.high
            and token.seq <= self.window.released + self.window.capacity
            and token.aru >= self.window.released
            and self.phase <= token.phase <= self.phase + (self.node != self.representative)
            and (token.aru_id == 0 or token.aru_id in self.members)
        )

    def note_arrival(self, token: Token, now: float) -> None:
        """A token was accepted: measure the rotation, watch who holds the aru up, see whether the ring is idle."""
        if self._visited_at >= 0.0:
            rotation = now - self._visited_at
            self.rotation_s = rotation if self.rotations == 1 else self.rotation_s + (rotation - self.rotation_s) / 8
            self._note_usual(rotation)
            if not self.idle_visits or self.phase != _INSTALLED:  # then the token has not rested
                self.pace.note_rotation(self._rotation(token), rotation, token.seq - self._noted_seq, token.fcc)
        self._noted_seq = token.seq
        self.pace.now = now
        self._visited_at = now
        self.rotations += 1
        self.token_seq = token.token_seq
        self.phase = token.phase
        seen = (token.aru, token.aru_id)
        if seen != self.aru_seen or token.aru == token.seq or token.aru_id == 0:
            self.aru_seen = seen
            self.aru_changed_at = now
        # Also when somebody lacks a packet and has just asked in vain: until it asks again there is nothing to do.
        stuck = token.aru == self._last_aru < token.seq
        quiet = token.seq == self._last_seq and not token.requests and (token.seq == token.aru == self.stable or stuck)
        self.idle_visits = self.idle_visits + 1 if quiet else 0

    def _note_usual(self, rotation: float) -> None:
        """Learn how long a rotation takes in which no token is lost: near the shortest of late.

        A mean would count the waits for lost tokens, and the next wait is a multiple of it: at a loss of some percent
        the waits would make each other longer until every lost token costs ``token_retransmit_s``.
        """
        if self.rotations == 1:
            self._usual_s = rotation
        elif rotation < self._usual_s:
            self._usual_s += (rotation - self._usual_s) / 4
        else:
            self._usual_s += self._usual_s / 32

    def _rotation(self, token: Token) -> int:
        """The number of the token's rotation, the same at all members."""
        return (token.token_seq - 1 - self.origin) // len(self.members)

    def note_packet(self, packet: Packet) -> None:
        """A packet came that was missing. ``HIGH`` stands at the head of a packet that has some, but for one in
        ``low_every``."""
        if packet.datagram[packet.body] & CHUNK_PRIORITY == _HIGH and not packet.old_ring:
            self.pace.note_high()

    def holds_up(self, now: float, limit_s: float) -> int:
        """The member that has kept everybody's aru back for longer than ``limit_s``; 0 if there is none."""
        if now - self.aru_changed_at <= limit_s or self.aru_seen[1] == self.node:
            return 0
        return self.aru_seen[1]

    def retransmit_after(self, config: Config) -> float:
        """How long to wait for a sign of the token that was passed on, in seconds.

        While messages flow it is missed after some usual rotations; the token of an idle ring may rest.
        """
        if self.rotations <= 1 or self.idle_visits:
            return config.token_retransmit_s
        return min(config.token_retransmit_s, max(config.token_retransmit_min_s, 4 * self._usual_s))

    def takes_new(self, token: Token, held: int) -> bool:
        """Whether flow control would let a new packet out in a visit now."""
        return self._flow.new_allowed(token, self._flow.allowed(token, held, 1)) > 0

    def visit(self, token: Token, source: Source, held: int, codec: Codec) -> Visit:
        """Do what the holder of the token does, and make the token for the successor.

        ``held`` is how many packets are kept back for a slow application.
        """
        out: list[bytes] = []
        window = self.window
        backlog = source.backlog(self.pace.low_share)
        allowed = min(self._flow.allowed(token, held, backlog), self.pace.share)
        self.pace.begin_visit(self._rotation(token))
        requests = []
        for seq in token.requests:
            packet = window.get(seq) if len(out) < allowed or not out else None
            if packet is not None:
                out.append(packet.datagram)
                self.retransmitted += 1
            elif seq > window.released:
                requests.append(seq)
        allowed = self._flow.new_allowed(token, allowed - len(out))
        allowed = min(allowed, window.released + window.capacity - token.seq)
        self.blocked = allowed <= 0
        seq = token.seq
        message_seq = token.message_seq
        taken = 0
        while taken < allowed:
            made = source.next_packet(self, seq + 1, message_seq)
            if made is None:
                break
            packet, message_seq = made
            seq += 1
            inserted = window.insert(packet)
            assert inserted, "flow control let a packet out that the window cannot keep"
            out.append(packet.datagram)
            taken += 1
        if taken:
            self.sent += taken
            self.last_own = seq
        # A gap is asked for when it was there a whole rotation ago: packets and the token may overtake each other
        # on their way without being lost (departure 4 in docs/protocol.md).
        requests = self._requests(requests)
        aru, aru_id = token.aru, token.aru_id
        if window.aru < aru or aru_id in (0, self.node):
            aru = window.aru
            aru_id = 0 if aru == seq else self.node
        backlog = source.backlog(self.pace.low_share)
        fcc, waiting = self._flow.settle(token, len(out), held, backlog)
        self.stable = max(self.stable, min(self._last_aru, aru))
        self._last_aru = aru
        self._last_seq = seq
        if out:
            self.idle_visits = 0
        passed_on = Token(
            self.successor,
            self.name,
            token.token_seq + 1,
            seq,
            message_seq,
            aru,
            aru_id,
            fcc,
            waiting,
            self.phase,
            token.incomplete or source.unready(self, seq),
            tuple(requests),
        )
        self.forwarded_seq = seq
        self.forwarded = codec.encode_token(passed_on)
        return Visit(out, taken, passed_on)

    def _requests(self, others: list[int]) -> list[int]:
        mine = self.window.missing(self._last_seq, self._requests_max)
        if mine:
            others = sorted(set(others).union(self._due(mine)))
        return others[: self._requests_max]

    def _due(self, missing: list[int]) -> list[int]:
        """Which of the missing packets to ask for now.

        As long as something comes of it, all of them at every visit. What nothing comes of is asked for less often: a
        member that receives no data would make the others send everything again with every rotation.
        """
        asked = len(self._asked)
        now = self._visited_at
        if missing[:asked] != self._asked or not asked:
            self._ask_wait_s = self._usual_s / 2
        elif now < self._ask_after:
            self._asked = missing
            return missing[asked:]
        self._asked = missing
        self._ask_wait_s = min(2 * self._ask_wait_s, self._ask_max_s)
        self._ask_after = now + self._ask_wait_s
        return missing


class Visit:
    """What came of a visit: packets to broadcast, then the token to pass on."""

    __slots__ = ("datagrams", "new", "token")

    def __init__(self, datagrams: list[bytes], new: int, token: Token) -> None:
        self.datagrams = datagrams
        self.new = new
        """How many of them, at the end, are new."""
        self.token = token
