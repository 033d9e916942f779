"""Fuzzing target: whole sequences of packets, times and calls, at a processor in every state.

    RINGPROTO_INTERPRETED=1 PYTHONPATH=. python tests/fuzz/fuzz_sequences.py [libFuzzer's options] [folders]

The first byte of the input chooses the scene (``stage.py``), each further one what happens next; what it needs to know
follows it. An input that ends is a scene that ends. Datagrams are real ones that were seen, mutated, with a right
checksum, or packets and tokens of the present ring made of the input's bytes. Between them honest datagrams arrive,
time passes, and the application sends, unblocks, reads and leaves.

What must hold: nothing raises but what the face of the core says; every timeout comes to an end; what is sent is well
formed and no larger than a datagram; memory is bounded; and the counters add up, with what was handed in and taken out.
"""

from __future__ import annotations

import contextlib
import math
import struct
import sys
from collections import Counter

from fuzz_parser import REASONS, seal
from stage import CONFIG, DATAGRAM_SIZE, NODES, Stage, frozen, thawed, weight

from ringproto import Guarantee, Message, Priority, RingError
from ringproto._core.wire.membership import MembershipCodec
from ringproto._core.wire.regular import CHUNK_FIRST, CHUNK_LAST, Codec, Kind, Malformed, Token, chunk_head, ring_bytes

STEPS_MAX = 200
DELAYS_S = (0.0, 0.0002, 0.001, 0.005, 0.02, 0.06, 0.1, 0.3)
EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)

SENT_AS: dict[int, tuple[str, ...]] = {
    Kind.DATA: ("datagrams_broadcast",),
    Kind.TOKEN: ("tokens_sent", "tokens_retransmitted"),
    Kind.JOIN: ("joins_sent",),
    Kind.COMMIT: ("commit_tokens_sent", "commit_tokens_retransmitted"),
    Kind.BEACON: ("beacons_sent",),
    Kind.WAKE: ("wakes_sent",),
    Kind.LEAVE: ("leaves_sent",),
    Kind.REFUSE: ("refusals_sent",),
    Kind.ACKNOWLEDGEMENT: ("acknowledgements_sent",),
    Kind.CHALLENGE: ("challenges_sent",),
    Kind.RESPONSE: ("responses_sent",),
}
"""Which counters count the datagrams of each type that a processor sends."""

MALFORMED = frozenset(f"dropped_{reason}" for reason in REASONS)
OF_NO_USE = frozenset(("duplicates", "duplicate_tokens", "ignored", "refusals_received", "rejoins_put_off"))
GAUGES = ("window_packets", "packets_held", "events_waiting", "queue_", "rotation_s", "token_patience_s")

WINDOW = 8 * CONFIG.window_size
CHUNKS_MAX = DATAGRAM_SIZE // 3
"""No packet holds more messages."""
EVENTS_MAX = 4 * CONFIG.events_max + 2 * WINDOW * CHUNKS_MAX
WEIGHT_MAX = (
    30_000  # the processor itself, what it knows of others, a commit token
    + 2 * WINDOW * (DATAGRAM_SIZE + 200)  # the packets of two rings
    + 3 * (CONFIG.send_queue_max + 1) * (CONFIG.message_size_max + 100)
    + EVENTS_MAX * 100
)


class Input:
    """The bytes of an input, taken from its beginning; zeros when there are no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        at = self._at
        self._at = at + 1
        return self._data[at] if at < len(self._data) else 0

    def number(self, width: int) -> int:
        at = self._at
        self._at = at + width
        return int.from_bytes(self._data[at : at + width], "big")

    def take(self, size: int) -> bytes:
        at = self._at
        self._at = at + size
        return self._data[at : at + size]


class Attack:
    """One input, played."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.batch: list[bytes] = []
        self.sent = Counter[int]()
        self.messages = 0
        self.codec = Codec(CONFIG.cluster_hash, stage.target)
        stage.sent.clear()
        self.before = stage.attacked.statistics()
        self.at_first = dict(self.before)
        self.at_first["messages_delivered"] -= stage.messages_waiting

    # What happens

    def honest_arrival(self, arg: int, rest: Input) -> None:
        """The oldest datagrams on their way arrive."""
        stage = self.stage
        for _ in range(1 + arg):
            if not stage.flight:
                return
            destination, datagram = stage.flight.popleft()
            if destination == stage.target:
                self.strike([datagram])
            else:
                stage.hand(destination, datagram)
                if destination in stage.processors:
                    stage.collect(destination)

    def loss(self, arg: int, rest: Input) -> None:
        flight = self.stage.flight
        for _ in range(min(1 + arg, len(flight))):
            flight.popleft()

    def swap(self, arg: int, rest: Input) -> None:
        """The datagrams on their way overtake each other."""
        self.stage.flight.rotate(1 + arg)

    def delay(self, arg: int, rest: Input) -> None:
        """Time passes; with the highest bit of ``arg`` only for the others."""
        stage = self.stage
        stage.now += DELAYS_S[arg & 7]
        for node in stage.processors:
            if node != stage.target:
                stage.wake(node)
                stage.collect(node)
        if not arg & 8:
            stage.wake(stage.target)

    def early_timeout(self, arg: int, rest: Input) -> None:
        self.stage.turn(self.stage.target)

    def forgery(self, arg: int, rest: Input) -> None:
        """A datagram that was seen, with as many changes as ``arg`` says; half of them wait for a batch."""
        seen = self.stage.seen.get(1 + (rest.byte() & 7))
        if not seen:
            return
        datagram = bytearray(seen[-1 - rest.byte() % len(seen)])
        if datagram[1] in (Kind.TOKEN, Kind.COMMIT):
            datagram[16:20] = self.stage.target.to_bytes(4, "big")
        for _ in range(arg & 3):
            mutate(datagram, rest)
        self.throw(seal(bytes(datagram[:-4])), at_once=arg < 8)

    def token(self, arg: int, rest: Input) -> None:
        """A token that may come next, and says what the input says."""
        seen = self.stage.seen.get(Kind.TOKEN)
        if not seen:
            return
        last = Codec(CONFIG.cluster_hash, 1).decode_token(seen[-1], 128)
        seq = max(0, last.seq + rest.byte() - 8)
        aru = min(seq, max(0, last.aru + rest.byte() - 8))
        requests = sorted({max(1, seq - rest.byte() % 40) for _ in range(arg >> 2)}) if seq else []
        forged = Token(
            self.stage.target,
            last.ring,
            last.token_seq + rest.byte() % 16,
            seq,
            max(0, last.message_seq + rest.byte() - 8),
            aru,
            rest.byte() % 5,
            rest.byte(),
            rest.byte(),
            rest.byte() % 3,
            bool(arg & 1),
            tuple(requests),
        )
        self.throw(Codec(CONFIG.cluster_hash, 1 + rest.byte() % 3).encode_token(forged), at_once=not arg & 2)

    def packet(self, arg: int, rest: Input) -> None:
        """A packet of the ring that the last token belongs to, near its end; its chunks are the input's."""
        seen = self.stage.seen.get(Kind.TOKEN)
        ring, seq = ring_bytes(self.stage.attacked.configuration.ring_id), 0
        if seen:
            last = Codec(CONFIG.cluster_hash, 1).decode_token(seen[-1], 128)
            ring, seq = last.ring, last.seq
        seq = max(1, seq + rest.byte() - 16)
        message_seq = max(0, seq + rest.byte() - 128)
        if arg & 4:
            chunks = rest.take(rest.byte())
        else:
            flags = rest.byte()
            size = rest.number(2) % (DATAGRAM_SIZE - 120)
            ends = flags & (CHUNK_FIRST | CHUNK_LAST)
            chunks = chunk_head(flags & 4 | ends | flags % 3, size or ends != CHUNK_FIRST | CHUNK_LAST) + bytes(
                size or ends != CHUNK_FIRST | CHUNK_LAST
            )
        codec = Codec(CONFIG.cluster_hash, 1 + rest.byte() % 5)
        made = codec.encode_data(ring, seq, message_seq, bool(arg & 1), chunks)
        if arg & 2:
            old = ring_bytes(self.stage.attacked.configuration.ring_id)
            inner = codec.encode_data(old, max(1, rest.byte()), message_seq, bool(arg & 1), chunks)
            made = codec.encode_recovered(ring, seq, inner)
        self.throw(made.datagram, at_once=arg < 8)

    def noise(self, arg: int, rest: Input) -> None:
        """A datagram of the input's bytes, of any type, in a right envelope; or in none."""
        body = rest.take(rest.byte())
        if arg & 8:
            self.throw(body, at_once=True)
        else:
            head = struct.pack(">BBBBQI", 1, 1 + (arg & 7), 0, 0, CONFIG.cluster_hash, 1 + rest.byte() % 5)
            self.throw(seal(head + body), at_once=True)

    def submission(self, arg: int, rest: Input) -> None:
        processor = self.stage.attacked
        payload = bytes([arg]) * min(rest.byte() * 8, CONFIG.message_size_max)
        try:
            processor.submit(payload, Priority(1 + (arg & 1)), Guarantee(arg >> 1 & 1))
        except RingError:
            assert processor.leaving

    def recovery(self, arg: int, rest: Input) -> None:
        processor = self.stage.attacked
        with contextlib.suppress(RingError):  # that round is over, or it has left
            processor.submit_recovery(processor.configuration.ring_id, bytes(rest.byte() * 4), Guarantee(arg & 1))

    def unblock(self, arg: int, rest: Input) -> None:
        self.stage.attacked.unblock(self.stage.attacked.configuration.ring_id, self.stage.now)

    def read(self, arg: int, rest: Input) -> None:
        """The application takes some events; or from now on all, or none."""
        if arg >= 14:
            self.stage.reads = arg == 14
        self.take_events(arg)

    def leave(self, arg: int, rest: Input) -> None:
        """Rarely, or no sequence would be long."""
        if arg == 15:
            self.stage.attacked.leave(self.stage.now, drain=bool(rest.byte() & 1))

    # What must hold

    def throw(self, datagram: bytes, *, at_once: bool) -> None:
        self.batch.append(datagram)
        if at_once or len(self.batch) >= 8:
            batch, self.batch = self.batch, []
            self.strike(batch)

    def strike(self, batch: list[bytes]) -> None:
        """Hand datagrams to the target, and see that each is counted at most once, and each malformed one once."""
        before = self.stage.attacked.statistics()
        # The same turn handles the timers that are due, and a timer that a state ignores is counted as a datagram is.
        due = self.stage.attacked.next_timeout <= self.stage.now
        of_no_use = OF_NO_USE - {"ignored"} if due else OF_NO_USE
        self.stage.hand(self.stage.target, *batch)
        after = self.stage.attacked.statistics()
        malformed = sum(is_malformed(datagram) for datagram in batch)
        counted = sum(after.get(name, 0) - before.get(name, 0) for name in MALFORMED)
        assert counted == malformed, f"{malformed} of {len(batch)} datagrams are malformed, {counted} were counted"
        useless = sum(
            count - before.get(name, 0)
            for name, count in after.items()
            if name.startswith("dropped_") or name in of_no_use
        )
        assert useless <= len(batch), f"of {len(batch)} datagrams {useless} were counted as of no use"

    def take_events(self, limit: int) -> None:
        self.messages += sum(isinstance(event, Message) for event in self.stage.attacked.take_events(limit))

    def take_all_events(self) -> None:
        """Also those that follow when there is room for them."""
        for _ in range(WINDOW):
            self.take_events(EVENTS_MAX)
            if not self.stage.attacked.wants_turn:
                return
            self.stage.turn(self.stage.target)
        raise AssertionError("events without end")

    def after_each(self) -> None:
        """What must hold after everything that happens."""
        stage = self.stage
        processor = stage.attacked
        if stage.reads:
            self.take_all_events()
        elif processor.wants_turn:
            stage.turn(stage.target)
        sent, stage.sent = stage.sent, []
        for destination, datagram in sent:
            assert destination == 0 or destination in range(1, 2**32)
            assert len(datagram) <= DATAGRAM_SIZE, f"a datagram of {len(datagram)} bytes"
            assert not is_malformed(datagram), f"it sends {datagram.hex()}"
            self.sent[datagram[1]] += 1
        statistics = processor.statistics()
        for name, count in self.before.items():
            assert name.startswith(GAUGES) or statistics[name] >= count, f"{name} fell"
        assert statistics["window_packets"] <= WINDOW and statistics["packets_held"] <= WINDOW
        assert statistics["events_waiting"] <= EVENTS_MAX
        for name in ("recovery", "high", "low"):
            assert 0 <= statistics[f"queue_{name}"] <= CONFIG.send_queue_max
            assert (statistics[f"queue_{name}"] > 0) or statistics[f"queue_{name}_bytes"] == 0
        assert len(processor.configuration.members) <= CONFIG.members_max
        assert processor.left == (processor.next_timeout == math.inf)
        self.before = statistics

    def at_the_end(self) -> None:
        """What can be said when nothing more happens."""
        self.strike(self.batch)
        self.after_each()
        processor = self.stage.attacked
        statistics = processor.statistics()
        for kind, names in SENT_AS.items():
            counted = sum(statistics.get(name, 0) - self.at_first.get(name, 0) for name in names)
            assert counted == self.sent[kind], f"{names} rose by {counted}, and {self.sent[kind]} were sent"
        broadcast = statistics["packets_sent"] + statistics["retransmissions"]
        assert broadcast <= statistics.get("datagrams_broadcast", 0), "more packets were counted than were sent"
        heavy = weight(processor)
        assert heavy <= WEIGHT_MAX, f"the processor holds {heavy} bytes"
        self.take_all_events()
        waiting = [name for name in ("events_waiting", "events_waiting_bytes") if processor.statistics()[name]]
        assert not waiting, f"all events were taken, and {waiting} are not 0"
        delivered = processor.statistics()["messages_delivered"] - self.at_first["messages_delivered"]
        assert self.messages == delivered, f"{self.messages} messages were taken, and {delivered} delivered"


HAPPENINGS = (
    Attack.honest_arrival,
    Attack.honest_arrival,
    Attack.loss,
    Attack.swap,
    Attack.delay,
    Attack.early_timeout,
    Attack.forgery,
    Attack.forgery,
    Attack.token,
    Attack.packet,
    Attack.noise,
    Attack.submission,
    Attack.recovery,
    Attack.unblock,
    Attack.read,
    Attack.leave,
)
"""By the lower half of a byte; the upper half is their argument."""


def mutate(datagram: bytearray, rest: Input) -> None:
    """Overwrite, shift or cut: at a place and with a number that the input chooses."""
    how = rest.byte()
    width = (1, 2, 4, 8)[how & 3]
    at = 3 + rest.byte() % max(1, len(datagram) - 4)
    if how & 0xC0 == 0xC0:
        del datagram[max(16, at) : -4]
        return
    if how & 0x40:
        number = int.from_bytes(datagram[at : at + width], "big") + rest.byte() - 128
    elif how & 0x80:
        number = EXTREMES[rest.byte() % len(EXTREMES)]
    else:
        number = rest.number(width)
    datagram[at : at + width] = (number % 256**width).to_bytes(width, "big")


_reader = Codec(CONFIG.cluster_hash, NODES[-1] + 1)
_membership_reader = MembershipCodec(_reader)


def is_malformed(datagram: bytes) -> bool:
    """Whether a decoder refuses it, whatever the state of the ring."""
    members_max = CONFIG.members_max
    try:
        kind, _ = _reader.open(datagram)
        if kind == Kind.DATA:
            _reader.decode_data(datagram)
        elif kind == Kind.TOKEN:
            _reader.decode_token(datagram, 128)
        else:
            _membership_reader.decode(kind, datagram, members_max)
    except Malformed:
        return True
    return False


_scenes: list[bytes] = []


def check(data: bytes) -> None:
    """The target."""
    if not data:
        return
    if not _scenes:
        _scenes.extend(frozen())
    rest = Input(data)
    attack = Attack(thawed(_scenes[rest.byte() % len(_scenes)]))
    for _ in range(STEPS_MAX):
        if rest.over:
            break
        what = rest.byte()
        HAPPENINGS[what & 15](attack, what >> 4, rest)
        attack.after_each()
    attack.at_the_end()


if __name__ == "__main__":
    from engine import fuzz

    fuzz(check, sys.argv[1:])
