"""One ring at one processor: its packets, and what a visit of the token does (Totem, section 4).

A :class:`RingState` is the same while the ring forms and when it is installed. While it forms, packets of old rings are
sent, and later those of the application; the ``source`` that a visit is given has them. It decides nothing about
membership.
"""

from __future__ import annotations

from ringproto._core.packets.window import Window
from ringproto._core.ring.congestion import Congestion
from ringproto._core.ring.flow_control import FlowControl
from ringproto._core.wire.regular import CHUNK_PRIORITY, Codec, Packet, Phase, Token, ring_bytes
from ringproto.config import WINDOWS_KEPT, Config
from ringproto.types import Priority, RingId

NUMBER_END = 2**62
"""A ring ends when it has counted so far: half of what a datagram can say, so that what is on its way can be said."""
# Numbers of C (ring.pxd).
_END = NUMBER_END
_EXCHANGE = int(Phase.EXCHANGE)
_RECEIVED = int(Phase.RECEIVED)
_INSTALLED = int(Phase.INSTALLED)
_HIGH = int(Priority.HIGH)
_PIECES = 8
_PIECE_MIN = 2
"""A long visit is sent in so many pieces, so that the others take in the first while the next is being made, but no
piece has less packets than that."""
ACKNOWLEDGED_ROTATIONS = 64
"""For so many rotations after a token was lost each hop of the token is acknowledged."""
_FIRST_ACKNOWLEDGED = 2
"""So are the rotations in which a ring forms, and so many after it is installed."""
_REQUESTS_IN_CONGESTION = 64
"""Most requests in a token unless packets are lost by chance: what is asked for in one token comes in one burst."""
_IN_VAIN = 3
"""The first packet that is asked for is sent once each time so often, then twice at once, four times, and so on."""
_AT_ONCE_MAX = 8
"""At most so many copies of it go out at once."""
_INSISTED_MAX = 64
"""So many copies more than one each time: who receives nothing is not to fill the network. A loss of 80 % takes all of
them in one case of a million."""
_LONE_ROTATIONS = 2
"""Who alone has sent for longer than so many rotations may let the token rest."""


class Source:
    """Where the new packets of a visit come from: the application's queues (``regular_source.py``), or a recovery.

    An interface. It is a class, so that a compiled caller reaches a compiled source by a pointer; classes of C have no
    abstract methods, so these raise.
    """

    __slots__ = ()

    def backlog(self, low_max: int) -> int:
        """About how many packets wait and may be sent now, counting at most ``low_max`` bytes of ``LOW``."""
        raise NotImplementedError

    def next_packet(self, ring: RingState, seq: int, message_seq: int) -> tuple[Packet, int] | None:
        """The next packet, to be number ``seq``, and the message number that it brings the ring to."""
        raise NotImplementedError

    def unready(self, ring: RingState, seq: int) -> bool:
        """Whether this processor is not ready for the ring's next phase, ``seq`` being the last packet number."""
        raise NotImplementedError


class RingState:
    """The state of one ring id at one processor."""

    __slots__ = (
        "_again",
        "_again_seq",
        "_aru_held_by",
        "_aru_seen",
        "_ask_after",
        "_ask_wait_s",
        "_asked",
        "_flow",
        "_insisted",
        "_last_aru",
        "_last_seq",
        "_lone_since",
        "_noted_seq",
        "_piece",
        "_requests_max",
        "_retransmit_min_s",
        "_retransmit_s",
        "_told_stable",
        "_usual_s",
        "_visited_at",
        "aru_changed_at",
        "blocked",
        "congestion",
        "forwarded",
        "forwarded_seq",
        "forwarded_token",
        "id",
        "idle_visits",
        "last_own",
        "last_safe",
        "last_sender",
        "members",
        "name",
        "node",
        "origin",
        "phase",
        "recovered_to",
        "rested",
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
        self.window = Window(WINDOWS_KEPT * window_size, origin)
        self.token_seq = 0
        self.stable = origin
        """Every member has all packets up to this one."""
        self.phase = int(Phase.EXCHANGE)
        self.forwarded: bytes | None = None
        """The token as it was passed on."""
        self.forwarded_token: Token | None = None
        """The same, not encoded, to be sent again."""
        self.forwarded_seq = origin
        self.recovered_to = origin
        """The last packet of its recovery, once that is known (phase RECEIVED): packets up to it carry those of old
        rings, and no later one does."""
        self.idle_visits = 0
        """Visits in a row in which nothing had happened on the ring since the last one."""
        self.rested = False
        """Whether the token has rested here since it was last accepted."""
        self.rotations = 0
        self.rotation_s = 0.0
        """A smoothed rotation time."""
        self.blocked = False
        """Whether flow control let nothing new out at the last visit."""
        self.last_own = origin
        """The last packet that this processor originated."""
        self.last_safe = origin
        """The last packet in which a safe message ends."""
        self.last_sender = 0
        """Who originated the last packet, as far as is known here; 0 for nobody."""
        self.sent = 0
        self.retransmitted = 0
        # The aru of the last token, and who was said to have lowered it.
        self._aru_seen = origin
        self._aru_held_by = 0
        self.aru_changed_at = 0.0
        self.congestion = Congestion(visit_max, config.size, config.rotation_target_s, len(members))
        """How much of its turn this processor uses."""
        self._flow = FlowControl(window_size, visit_max)
        whole = self.successor == node or config.accelerated_window > 0
        self._piece = visit_max if whole else max(_PIECE_MIN, -(-visit_max // _PIECES))
        self._requests_max = requests_max
        self._retransmit_s = config.retransmit_s
        self._retransmit_min_s = config.token_retransmit_min_s
        # The first packet that was asked for last: how often it was sent, and how many copies beyond one each time.
        self._again_seq = 0
        self._again = 0
        self._insisted = 0
        # What this processor asked for, of which nothing came since; when it asks again, and how long that was put off.
        self._asked: list[int] = []
        self._ask_after = 0.0
        self._ask_wait_s = 0.0
        self._last_aru = origin
        self._last_seq = origin
        self._lone_since = 0
        self._noted_seq = origin
        self._told_stable = origin
        self._usual_s = 0.0
        self._visited_at = -1.0

    @property
    def representative(self) -> int:
        return self.members[0]

    def first_token(self) -> Token:
        """The token with which the representative starts the ring; nobody is taken to be ready yet."""
        at = self.origin
        return Token(
            self.node, self.name, at + 1, at, at, at, 0, 0, 0, int(Phase.EXCHANGE), True, (), _FIRST_ACKNOWLEDGED
        )

    def exhausted(self, token: Token) -> bool:
        """Whether the numbers of a ring come to their end: another one, with fresh numbers, must take its place."""
        return token.token_seq >= _END or token.seq >= _END or token.message_seq >= _END

    def reject_reason(self, token: Token) -> str | None:
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
            if not self.idle_visits or self.phase != _INSTALLED:
                may_have_rested = self.rested or (self.last_sender != self.node and self._lone())
                took_s = 0.0 if may_have_rested else rotation
                new, behind = token.seq - self._noted_seq, token.seq - token.aru
                self.congestion.note_rotation(self._rotation(token), took_s, new, token.fcc, behind)
            self.rested = False
        self._noted_seq = token.seq
        self.congestion.now = now
        self._visited_at = now
        self.rotations += 1
        self.token_seq = token.token_seq
        self.phase = token.phase
        moved = token.aru != self._aru_seen or token.aru_id != self._aru_held_by
        if moved or token.aru == token.seq or token.aru_id == 0:
            self._aru_seen = token.aru
            self._aru_held_by = token.aru_id
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

    def misplaced(self, packet: Packet) -> bool:
        """Whether no honest member can have sent this packet of this ring, by its number and by what it carries.

        Until all have said that they have what the recovery sent, no member sends anything else; afterwards no member
        sends anything of an old ring. Whoever keeps what is misplaced has no room for the packet that comes there.
        """
        if self.phase == _EXCHANGE:
            return not packet.old_ring
        return (packet.seq <= self.recovered_to) != (len(packet.old_ring) > 0)

    def note_packet(self, packet: Packet) -> None:
        """A packet came that was missing. ``HIGH`` stands at the head of a packet that has some, but for one in
        ``low_every``."""
        if packet.old_ring:
            return  # it came late from the recovery of this ring, and says nothing of who sends now
        self._note_sender(packet.sender, packet.seq)
        if packet.safe and packet.seq > self.last_safe:
            self.last_safe = packet.seq
        if packet.datagram[packet.body] & CHUNK_PRIORITY == _HIGH:
            self.congestion.note_high()

    def slowest_member(self, now: float, limit_s: float) -> int:
        """The member that has kept everybody's aru back for longer than ``limit_s``; 0 if there is none."""
        if now - self.aru_changed_at <= limit_s or self._aru_held_by == self.node:
            return 0
        return self._aru_held_by

    def retransmit_after(self) -> float:
        """How long to wait for a sign of the token that was passed on, in seconds.

        While messages flow it is missed after some usual rotations; the token of an idle ring may rest.
        """
        if self.rotations <= 1 or self.idle_visits:
            return self._retransmit_s
        return min(self._retransmit_s, max(self._retransmit_min_s, 4 * self._usual_s))

    def rests_here(self, visit: Visit) -> bool:
        """Whether the token of an idle ring rests at this member: at the one that sent last, or at the representative
        if nobody has sent anything."""
        return self.last_own == visit.seq if visit.seq > self.origin else self.node == self.representative

    def rests_elsewhere(self) -> bool:
        """Whether another member may let the token rest, so that it has to be called."""
        return self.last_sender != self.node and (self.idle_visits > 0 or self._lone())

    def keeps(self, visit: Visit) -> bool:
        """Whether nobody misses the token while its visit here goes on: only this member sends, all have everything,
        and nothing waits to become safe."""
        came = visit.came
        return (
            self.last_own == visit.seq
            and self._lone()
            and not visit.requests
            and came.aru == came.seq
            and self.last_safe <= self._told_stable
        )

    def _lone(self) -> bool:
        """Whether all packets of the last rotations came from one member."""
        return self.rotations - self._lone_since > _LONE_ROTATIONS

    def _note_sender(self, sender: int, seq: int) -> None:
        if sender != self.last_sender:
            self._lone_since = self.rotations
            if seq >= self.window.high:
                self.last_sender = sender

    def visit(self, token: Token, source: Source, held: int, codec: Codec) -> Visit:
        """Do all that the holder of the token does, in one go."""
        visit = self.begin_visit(token, source, held)
        self.send(visit, source, held, codec)
        while visit.unfinished:
            self.send(visit, source, held, codec)
        self.end_visit(visit, source, held, codec)
        return visit

    def begin_visit(self, token: Token, source: Source, held: int) -> Visit:
        """The token is here: send again what is asked for.

        ``held`` is how many packets are kept back for a slow application.
        """
        visit = Visit(token)
        if token.requests:
            self._send_again(visit, self._allowed(visit, source, held))
        self.congestion.begin_visit(self._rotation(token))
        self._told_stable = self.stable
        aru = self.window.aru if self._sets_aru(token) else token.aru
        self.stable = max(self.stable, min(self._last_aru, aru))
        return visit

    def _send_again(self, visit: Visit, allowed: int) -> None:
        window = self.window
        out = visit.datagrams
        for seq in visit.came.requests:
            packet = window.get(seq) if len(out) < allowed or not out else None
            if packet is not None:
                out.append(packet.datagram)
                self.retransmitted += 1
            elif seq > window.released:
                visit.requests.append(seq)
        if out:
            self._insist(visit.came, out, allowed)
        visit.sent = len(out)

    def _insist(self, came: Token, out: list[bytes], allowed: int) -> None:
        """The first packet that is asked for keeps everything behind it from being delivered. Where it was sent in vain
        time and again it is sent several times at once: on a link that loses 80 % one copy in a rotation is too few.

        Who asks in vain does not ask in each rotation, so others may ask for later ones meanwhile.
        """
        first = came.requests[0]
        if first > self._again_seq > came.aru and self._insisted < _INSISTED_MAX:
            return
        packet = self.window.get(first)
        if packet is None:
            return
        if first != self._again_seq:
            self._again_seq = first
            self._again = self._insisted = 0
        self._again += 1
        if self._again <= _IN_VAIN:
            return
        more = min(_AT_ONCE_MAX, 1 << min(self._again - _IN_VAIN, 8)) - 1
        more = max(0, min(more, allowed - len(out), _INSISTED_MAX - self._insisted))
        self._insisted += more
        self.retransmitted += more
        out.extend([packet.datagram] * more)

    def _allowed(self, visit: Visit, source: Source, held: int) -> int:
        """How many packets more may be broadcast in this visit, retransmissions included."""
        backlog = source.backlog(self.congestion.low_share()) + (visit.seq - visit.came.seq)
        return min(self._flow.allowed(visit.came, held, backlog), self.congestion.share()) - visit.sent

    def send(self, visit: Visit, source: Source, held: int, codec: Codec) -> None:
        """Send a piece of what waits and may be sent. If it is ``unfinished`` then, or goes on, it may do it again."""
        window = self.window
        seq = visit.seq
        message_seq = visit.message_seq
        allowed = self._allowed(visit, source, held)
        allowed = self._flow.new_allowed(seq - visit.came.aru, allowed, self.congestion.by_chance())
        allowed = min(allowed, window.released + window.capacity - seq)
        self.blocked = allowed <= 0
        piece = min(allowed, self._piece)
        taken = 0
        visit.unfinished = piece < allowed
        while taken < piece:
            made = source.next_packet(self, seq + 1, message_seq)
            if made is None:
                visit.unfinished = False
                break
            packet, message_seq = made
            seq += 1
            inserted = window.insert(packet)
            assert inserted, "flow control let a packet out that the window cannot keep"
            if packet.safe:
                self.last_safe = seq
            visit.datagrams.append(packet.datagram)
            taken += 1
        if taken:
            self.sent += taken
            self.last_own = seq
            self._note_sender(self.node, seq)
            visit.seq = seq
            visit.message_seq = message_seq
            visit.new += taken
            visit.sent += taken
            visit.bursts += 1
        if visit.sent:
            self.idle_visits = 0

    def end_visit(self, visit: Visit, source: Source, held: int, codec: Codec) -> None:
        """Make the token for the successor."""
        token = visit.came
        seq = visit.seq
        # A gap is asked for when it was there a whole rotation ago: packets and the token may overtake each other
        # on their way without being lost (departure 4 in docs/protocol.md).
        requests = self._requests(visit.requests)
        aru, aru_id = token.aru, token.aru_id
        if self._sets_aru(token):
            aru = self.window.aru
            aru_id = 0 if aru == seq else self.node
        backlog = source.backlog(self.congestion.low_share())
        fcc, waiting = self._flow.settle(token, visit.sent, held, backlog)
        self.congestion.note_sent(visit.sent)
        self._last_aru = aru
        self._last_seq = seq
        acknowledge = token.acknowledge
        if acknowledge and self.phase == _INSTALLED and self.node == self.members[0]:
            acknowledge -= 1
        visit.token = Token(
            self.successor,
            self.name,
            token.token_seq + 1,
            seq,
            visit.message_seq,
            aru,
            aru_id,
            fcc,
            waiting,
            self.phase,
            token.incomplete or source.unready(self, seq),
            tuple(requests),
            acknowledge,
        )
        self.forwarded_seq = seq
        self.forwarded_token = visit.token
        if self.phase == _RECEIVED:
            self.recovered_to = seq
        self.forwarded = codec.encode_token(visit.token)

    def repeat_token(self, copy: int, codec: Codec) -> bytes:
        """The token once more as it was passed on. It was lost, so its hops are acknowledged for a while."""
        assert self.forwarded_token is not None, "a token that was never passed on is not sent again"
        return codec.encode_token(self.forwarded_token._replace(copy=copy, acknowledge=ACKNOWLEDGED_ROTATIONS))

    def _sets_aru(self, token: Token) -> bool:
        """Whether the token leaves with the aru of this member: it is less, or nobody else has lowered the token's."""
        return self.window.aru < token.aru or token.aru_id == 0 or token.aru_id == self.node

    def _requests(self, others: list[int]) -> list[int]:
        most = self._requests_max
        if not self.congestion.by_chance():
            most = min(most, _REQUESTS_IN_CONGESTION)
        mine = self.window.missing(self._last_seq, most)
        if mine:
            others = sorted(set(others).union(self._due(mine)))
        return others[:most]

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
        self._ask_wait_s = min(2 * self._ask_wait_s, self._retransmit_min_s)
        self._ask_after = now + self._ask_wait_s
        return missing


class Visit:
    """The token is at this processor: what was sent so far, and at its end the token to pass on."""

    __slots__ = ("bursts", "came", "datagrams", "message_seq", "new", "requests", "sent", "seq", "token", "unfinished")

    def __init__(self, token: Token) -> None:
        self.came = token
        self.datagrams: list[bytes] = []
        """What is to be broadcast, and was not taken yet."""
        self.new = 0
        """How many of them, at the end, are new."""
        self.sent = 0
        """All packets of this visit."""
        self.bursts = 0
        """How often something new was sent."""
        self.seq = token.seq
        self.message_seq = token.message_seq
        self.requests: list[int] = []
        """What others ask for and this processor does not have."""
        self.token: Token | None = None
        """For the successor; ``None`` until the visit ends."""
        self.unfinished = False
        """Whether more may be sent at once, in another piece."""

    def take_datagrams(self, after: int) -> tuple[list[bytes], list[bytes]]:
        """What is to be broadcast, and of the new ones the last ``after`` apart; it counts as sent then."""
        datagrams = self.datagrams
        before = len(datagrams) - min(self.new, after)
        self.datagrams = []
        self.new = 0
        return datagrams[:before], datagrams[before:]
