"""Datagrams of any bytes, at any processor, in any state: counted by reason, nothing changes, nothing raises.

Three attackers. The first cannot make a checksum or can only send what was sent before: whatever it throws at a ring of
three, the ring keeps its configuration and goes on delivering. The second makes right checksums over mutated bodies of
real datagrams; without authentication it can break a ring up, but nothing may raise, every bound holds, and what
the processors send remains well formed. The third is as able, and sends one datagram that was thought out.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rings import CONFIG, DATAGRAM_SIZE, Wire, cluster_codec, read, throw
from wire_samples import DATA_NUMBERS, TOKEN_NUMBERS, overwrite, renumber, reseal

from ringproto._core import Processor
from ringproto._core.wire.regular import Kind, Packet, Token, ring_bytes
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import corrupt
from ringproto.types import Guarantee, Priority

NODES = (1, 2, 3)
EXTREMES = (0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31 + 1, 2**32 - 1, 2**32, 2**63, 2**64 - 2, 2**64 - 1)

REFUSED = 9
"""A processor with other limits. Its joins are answered, now and then, and so are late copies of them."""

THROWN_AT_STANDING = 3000
THROWN_AT_RUNNING = 24_000


def made_ring() -> tuple[Cluster, Wire]:
    """Processors 1, 2 and 3, formed, with datagrams of every type behind them."""
    cluster = Cluster(11, CONFIG, datagram_size=DATAGRAM_SIZE)
    wire = Wire(cluster)
    cluster.start(*NODES, 8)
    cluster.start(REFUSED, config=CONFIG.replace(message_size_max=1000))
    assert cluster.run_until(lambda: not cluster.alive(REFUSED), 3.0)
    for node in NODES:
        for number in range(10):
            assert cluster.submit(node, b"%d.1.%d|%s" % (node, number, b"x" * 40 * number**2), Priority.LOW)
    assert cluster.run_until_settled((*NODES, 8))
    cluster.run(0.2)
    cluster.submit(2, b"2.1.99|after a rest, so that a wake is sent")
    assert cluster.run_until_settled((*NODES, 8))
    cluster.leave(8)
    assert cluster.run_until_settled(NODES)
    cluster.partition({1, 2}, {3})
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.settled({3}))
    cluster.heal()
    assert cluster.run_until_settled(NODES)
    assert {int(seen.kind) for seen in wire.log} == {int(kind) for kind in Kind}
    cluster.filter = None
    # What was seen has arrived. The members heard the ring's beacons since the first one, which came while they formed
    # it and was ignored, so a copy of that one is late.
    cluster.run(3 * CONFIG.merge_detect_s)
    return cluster, wire


def seen_from_outside(processor: Processor) -> tuple[object, ...]:
    """All that can be asked, but for the counters of what was dropped, and for the question whether another process
    with an id lives, which a forged join in its name may lead to."""
    harmless = ("duplicates", "duplicate_tokens", "ignored", "refusals_received", "challenges_sent")
    statistics = {
        name: value
        for name, value in processor.statistics().items()
        if not name.startswith("dropped_") and name not in harmless
    }
    return (
        processor.state,
        processor.configuration,
        processor.next_timeout,
        processor.wants_turn,
        processor.ring_sequence,
        processor.waiting_for,
        processor.left,
        processor.failure,
        statistics,
    )


def dropped(processor: Processor) -> float:
    """How many datagrams were counted as of no use."""
    return sum(
        value
        for name, value in processor.statistics().items()
        if name.startswith("dropped_") or name in ("duplicates", "duplicate_tokens", "ignored")
    )


ANSWERED = (Kind.TOKEN, Kind.COMMIT, Kind.CHALLENGE)
"""A copy of these is answered, so that who sent it need not send another."""
RING_AT = {Kind.DATA: 16, Kind.TOKEN: 20, Kind.COMMIT: 20, Kind.WAKE: 16}


def spoil(source: random.Random, datagram: bytes, node: int) -> bytes:
    """A datagram that a processor must drop, made from one that it got.

    Damaged in any way; or whole, and of another version, another cluster or a foreign ring, or in its own name, or a
    late copy.
    """
    kind = Kind(datagram[1])
    way = source.randrange(12)
    if way in (3, 4) and kind in ANSWERED:
        return b""
    if way == 0:
        return overwrite(datagram, 0, bytes([source.choice((0, 2, 3, 127, 255))]))
    if way == 1:
        return overwrite(datagram, 4, source.randbytes(8))
    if way == 2 and kind in RING_AT:
        return overwrite(datagram, RING_AT[kind] + 12, source.randbytes(8))
    if way == 3 and kind is not Kind.WAKE and kind is not Kind.REFUSE:
        return overwrite(datagram, 12, node.to_bytes(4, "big"))
    if way == 4 and kind is not Kind.WAKE and int.from_bytes(datagram[12:16], "big") != REFUSED:
        return datagram
    if way == 5:
        extreme = source.choice(EXTREMES)
        width = source.choice((1, 2, 4, 8))
        at = source.randrange(len(datagram) - width + 1)
        damaged = datagram[:at] + (extreme % 256**width).to_bytes(width, "big") + datagram[at + width :]
    else:
        damaged = corrupt(source, datagram)
    return damaged if damaged != datagram else b""


def spoiled(seed: int, wire: Wire, node: int, count: int) -> list[bytes]:
    """Datagrams that this processor must drop, from all that it ever got."""
    source = random.Random(seed)
    got = wire.got[node]
    by_kind = [[datagram for datagram in got if datagram[1] == kind] for kind in Kind]
    by_kind = [some for some in by_kind if some]
    return [spoil(source, source.choice(source.choice(by_kind)), node) for _ in range(count)]


STANDING: dict[str, Callable[[Cluster, int], bool]] = {
    "idle": lambda cluster, node: cluster.state(node) == "operational",
    "gather": lambda cluster, node: cluster.state(node) == "gather",
    "commit": lambda cluster, node: cluster.state(node) == "commit",
    "recovery": lambda cluster, node: cluster.state(node) == "recovery",
}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("state", STANDING)
def test_spoiled_datagrams_change_nothing_in_any_state(state: str, node: int) -> None:
    cluster, wire = made_ring()
    nodes: tuple[int, ...] = NODES
    if state != "idle":
        cluster.start(4)
        nodes = (*NODES, 4)
        assert cluster.run_until(lambda: STANDING[state](cluster, node))
    processor = cluster.processor(node)
    thrown = spoiled(node, wire, node, THROWN_AT_STANDING)
    throw(cluster, node)
    before = seen_from_outside(processor)
    count = dropped(processor)
    wire.log.clear()
    for datagram in thrown[: THROWN_AT_STANDING // 2]:
        throw(cluster, node, datagram)
        assert seen_from_outside(processor) == before, datagram.hex()
    throw(cluster, node, *thrown[THROWN_AT_STANDING // 2 :])
    assert seen_from_outside(processor) == before
    assert {seen.kind for seen in wire.log} <= {Kind.CHALLENGE}
    assert dropped(processor) == count + len(thrown)
    assert cluster.run_until_settled(nodes)
    assert cluster.judge(nodes) == []


def test_spoiled_datagrams_change_nothing_when_it_has_left() -> None:
    cluster, wire = made_ring()
    host = cluster.hosts[3]
    processor = cluster.processor(3)
    cluster.leave(3)
    assert cluster.run_until(lambda: not cluster.alive(3))
    assert processor.left
    before = seen_from_outside(processor)
    for batch, now in ((spoiled(3, wire, 3, THROWN_AT_STANDING), host.last_now + 1.0), ([], host.last_now + 100.0)):
        ready = processor.turn(batch, now)
        assert ready.transmits == ready.changes == ready.notices == []
    assert seen_from_outside(processor) == before


def test_ring_keeps_its_configuration_and_delivers_under_spoiled_datagrams() -> None:
    cluster, wire = made_ring()
    ring_id = cluster.configuration(1).ring_id
    before = {node: len(cluster.messages(node)) for node in NODES}
    storm: dict[int, Iterator[bytes]] = {
        node: iter(spoiled(100 + node, wire, node, THROWN_AT_RUNNING)) for node in NODES
    }
    wakes = [seen.datagram for seen in wire.log if seen.kind is Kind.WAKE]
    sent = 0
    source = random.Random(5)
    for _ in range(THROWN_AT_RUNNING // 60):
        for node in NODES:
            host = cluster.hosts[node]
            for size in (1, 9, 20, 30):
                throw(cluster, node, *(next(storm[node]) for _ in range(size)))
                host.flush()
            throw(cluster, node, source.choice(wakes))
            host.flush()
        if source.random() < 0.3:
            sent += 1
            payload = b"%d.9.%d|%s" % (1 + sent % 3, sent, b"y" * source.choice((1, 100, 3000)))
            assert cluster.submit(1 + sent % 3, payload, Priority(1 + sent % 2), Guarantee(sent // 2 % 2))
        cluster.run(0.0005)
    assert sent > 50
    assert cluster.run_until_settled(NODES)
    for node in NODES:
        assert next(storm[node], None) is None
        assert cluster.configuration(node).ring_id == ring_id
        assert len(cluster.messages(node)) == before[node] + sent
        assert cluster.processor(node).statistics()["messages_unreadable"] == 0
    assert cluster.judge(NODES) == []


def test_spoiled_datagrams_are_at_least_a_hundred_thousand() -> None:
    thrown = THROWN_AT_STANDING * (len(STANDING) * len(NODES) + 1) + THROWN_AT_RUNNING * len(NODES)
    assert thrown >= 10**5


# Right checksums


FIELDS: dict[Kind, tuple[tuple[int, int], ...]] = {
    # (offset, width)
    Kind.DATA: ((12, 4), (36, 8), (44, 8), (52, 1), (53, 2), (72, 8), (3, 1)),
    Kind.TOKEN: ((16, 4), (40, 8), (48, 8), (56, 8), (64, 8), (72, 4), (76, 4), (80, 4), (84, 1), (85, 1), (86, 2)),
    Kind.JOIN: (
        (12, 4),
        (16, 8),
        (24, 8),
        (32, 2),
        (34, 2),
        (36, 4),
        (40, 2),
        (42, 2),
        (44, 8),
        (52, 2),
        (54, 2),
        (56, 4),
    ),
    Kind.COMMIT: (
        *((16, 4), (20, 8), (28, 4), (32, 8), (40, 4), (44, 2), (46, 2), (48, 2)),
        *((50, 4), (54, 8), (62, 1), (63, 8), (83, 8), (91, 8), (99, 2)),  # of its first entry
    ),
    Kind.BEACON: ((12, 4), (16, 8), (24, 8), (32, 2), (44, 8), (52, 4), (56, 8), (64, 4), (68, 4), (72, 2), (74, 2)),
    Kind.WAKE: ((12, 4), (16, 8)),
    Kind.LEAVE: ((12, 4), (16, 8), (24, 8), (44, 8)),
    Kind.REFUSE: ((12, 4), (16, 4), (20, 8), (28, 2), (46, 2), (50, 4)),
    Kind.ACKNOWLEDGEMENT: ((12, 4), (16, 4), (20, 8), (40, 1), (41, 1), (42, 8)),
    Kind.CHALLENGE: ((12, 4), (16, 4), (20, 8), (28, 8), (36, 8)),
    Kind.RESPONSE: ((12, 4), (16, 8), (24, 8), (32, 8), (40, 2)),
}


def forge(source: random.Random, datagram: bytes, node: int) -> bytes:
    """A mutated body with a right checksum: a few fields, or any bytes."""
    kind = Kind(datagram[1])
    forged = datagram
    if kind in (Kind.TOKEN, Kind.COMMIT) and source.random() < 0.8:
        forged = overwrite(forged, 16, node.to_bytes(4, "big"))
    if kind is Kind.TOKEN and source.random() < 0.7:
        # Later than what it knows, so that it is not taken for a copy.
        hop = int.from_bytes(forged[40:48], "big") + source.randint(1, 12)
        forged = overwrite(forged, 40, (hop % 2**64).to_bytes(8, "big"))
    for _ in range(source.choice((0, 1, 1, 1, 2, 3))):
        if source.random() < 0.2:
            at, width = source.randrange(12, len(forged) - 4), 1
        else:
            at, width = source.choice(FIELDS[kind])
        if at + width > len(forged) - 4:
            continue
        truth = int.from_bytes(forged[at : at + width], "big")
        lie = source.choice(
            (*EXTREMES, truth - 1, truth + 1, truth + source.randint(0, 300), node, source.randrange(2**64))
        )
        forged = overwrite(forged, at, (lie % 256**width).to_bytes(width, "big"))
    if source.random() < 0.1:
        forged = reseal(forged[: source.randint(16, len(forged))] + source.randbytes(source.randint(0, 40)))
    return forged


def check_sent(datagram: bytes) -> None:
    """What a processor sends is a datagram of its cluster, and no larger than it may be, whatever it was sent."""
    assert len(datagram) <= DATAGRAM_SIZE
    cluster_codec(99).open(datagram)


def check_bounds(cluster: Cluster) -> None:
    config = cluster.config
    for node in NODES:
        processor = cluster.processor(node)
        statistics = processor.statistics()
        assert 0 <= statistics["window_packets"] <= 8 * config.window_size
        assert 0 <= statistics["packets_held"] <= 8 * config.window_size
        assert statistics["events_waiting"] <= config.events_max + 8 * config.window_size * DATAGRAM_SIZE // 3
        for name in ("recovery", "high", "low"):
            assert 0 <= statistics[f"queue_{name}"] <= config.send_queue_max
        assert len(statistics) < 100
        assert len(processor.configuration.members) <= config.members_max
        assert 0 < processor.ring_sequence < 2**64


def revive(cluster: Cluster) -> None:
    """A forged refusal stops a processor that was never on a ring with others; nothing else stops one."""
    for node in NODES:
        if not cluster.alive(node):
            assert cluster.hosts[node].finished[-1][-1] == ("STOP", "refused")
            cluster.restart(node)


@pytest.mark.parametrize("seed", range(24))
def test_forged_datagrams_raise_nothing_and_break_no_bound(seed: int) -> None:
    source = random.Random(seed)
    cluster = Cluster(seed, CONFIG, datagram_size=DATAGRAM_SIZE)
    wire = Wire(cluster)
    wire.check = check_sent
    cluster.start(*NODES)
    calm_s = source.choice((0.0, 0.01, 0.1, 0.5))
    cluster.run(calm_s)
    rate = source.choice((1, 3, 10))
    for number in range(250):
        if number % 3 == 0:
            node = source.choice(NODES)
            payload = b"%d.1.%d|%s" % (node, number, b"z" * source.choice((0, 10, 5000)))
            cluster.submit(node, payload, Priority(1 + number % 2), Guarantee(number % 2))
        for _ in range(rate):
            node = source.choice(NODES)
            got = wire.got.get(node) or [b""]
            # Mostly of late, so that it is of the present ring.
            datagram = source.choice(got[-60:] if source.random() < 0.8 else got)
            if datagram:
                throw(cluster, node, forge(source, datagram, node))
                cluster.hosts[node].flush()
                revive(cluster)
        cluster.run(source.choice((0.0, 0.0002, 0.002, 0.02)))
        revive(cluster)
        check_bounds(cluster)


# One datagram that was thought out


@dataclasses.dataclass
class Target:
    """Processor 2 of a formed ring of three, with a message to send, and the next token that it is about to get."""

    cluster: Cluster
    token: Token
    data: Packet

    def throw(self, datagram: bytes) -> None:
        throw(self.cluster, 2, datagram)
        self.cluster.hosts[2].flush()

    def throw_token(self, **changes: Any) -> None:
        self.throw(cluster_codec(1).encode_token(self.token._replace(**changes)))


@pytest.fixture
def target() -> Target:
    cluster = Cluster(3, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    seen: dict[int, bytes] = {}

    def stop_tokens_for_2(time: float, source: int, destination: int, datagram: bytes) -> bool:
        seen[datagram[1]] = datagram
        check_sent(datagram)
        return not (destination == 2 and datagram[1] == Kind.TOKEN)

    cluster.filter = stop_tokens_for_2
    for number in range(3):
        assert cluster.submit(3, b"3.1.%d|" % number)
        assert cluster.submit(1, b"1.1.%d|" % number)
        assert cluster.submit(2, b"2.1.%d|" % number)
    assert cluster.run_until(lambda: Kind.TOKEN in seen and read(seen[Kind.TOKEN]).destination == 2)
    token = read(seen[Kind.TOKEN])
    assert isinstance(token, Token)
    packet = read(seen[Kind.DATA])
    assert isinstance(packet, Packet)
    Wire(cluster).check = check_sent
    return Target(cluster, token, packet)


def settles(target: Target) -> None:
    """Time goes on, nothing raises, and the ring is there or forms again."""
    target.cluster.run(0.02)
    check_bounds(target.cluster)
    assert target.cluster.run_until(
        lambda: (
            len({target.cluster.configuration(node).ring_id for node in NODES}) == 1
            and all(target.cluster.state(node) == "operational" for node in NODES)
        ),
        5.0,
    )


@pytest.mark.parametrize("token_seq", [2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1])
def test_forged_token_with_the_last_hop_there_is(target: Target, token_seq: int) -> None:
    target.throw(renumber(cluster_codec(1).encode_token(target.token), TOKEN_NUMBERS["token_seq"], token_seq))
    settles(target)


@pytest.mark.parametrize("message_seq", [2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1])
def test_forged_token_with_the_last_message_there_is(target: Target, message_seq: int) -> None:
    target.throw(renumber(cluster_codec(1).encode_token(target.token), TOKEN_NUMBERS["message_seq"], message_seq))
    settles(target)


@pytest.mark.parametrize("ahead", [1, 2 * CONFIG.window_size, 8 * CONFIG.window_size - 10, 8 * CONFIG.window_size])
def test_forged_token_with_packets_that_were_never_sent(target: Target, ahead: int) -> None:
    seq = target.token.seq + ahead
    target.throw_token(seq=seq, aru=seq, aru_id=0)
    settles(target)


def test_forged_token_that_counts_fewer_packets_than_came(target: Target) -> None:
    for seq in range(target.token.seq + 1, target.token.seq + 4):
        target.throw(cluster_codec(3).encode_data(target.token.ring, seq, 50, False, target.data.chunks()).datagram)
    target.throw_token()
    settles(target)


def test_forged_packet_stands_where_the_own_one_should(target: Target) -> None:
    forged = cluster_codec(2).encode_data(target.token.ring, target.token.seq + 1, 50, False, target.data.chunks())
    target.throw(forged.datagram)
    target.throw_token()
    settles(target)


def erasing(ring: bytes, seq: int, target: Target) -> bytes:
    """A packet of a stranger that says that it carries one of an old ring, in the place of a packet to come."""
    old = cluster_codec(77).encode_data(b"\x00" * 20, 1, 50, False, target.data.chunks())
    return cluster_codec(77).encode_recovered(ring, seq, old).datagram


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_forged_packet_of_an_old_ring_takes_no_place_of_an_installed_one(target: Target, ahead: int) -> None:
    cluster = target.cluster
    cluster.filter = None
    assert cluster.run_until_settled(NODES)
    ring_id = cluster.configuration(1).ring_id
    seqs: list[int] = []
    cluster.filter = lambda time, source, destination, datagram: seqs.append(_seq(datagram)) or True  # type: ignore[func-returns-value]
    assert cluster.submit(1, b"1.2.1|")
    assert cluster.run_until_settled(NODES)
    last = max(seqs)
    for number in range(ahead):
        target.throw(erasing(target.token.ring, last + 1 + number, target))
    for number in range(20):
        assert cluster.submit(1 + number % 3, b"%d.3.%d|" % (1 + number % 3, number))
    assert cluster.run_until_settled(NODES)
    assert cluster.configuration(2).ring_id == ring_id
    assert cluster.messages(1) == cluster.messages(2) == cluster.messages(3)
    assert cluster.processor(2).statistics()["dropped_implausible"] >= ahead
    assert cluster.judge(NODES) == []


def _seq(datagram: bytes) -> int:
    return int.from_bytes(datagram[36:44], "big") if datagram[1] == Kind.DATA else 0


@pytest.mark.parametrize("state", ["gather", "recovery"])
def test_forged_packet_of_an_old_ring_takes_no_place_while_a_ring_forms(target: Target, state: str) -> None:
    """In gather of the old ring; in recovery of the new one, when it has said that it has everything."""
    cluster = target.cluster
    seen: list[tuple[bytes, int]] = []
    last = 0

    def forge_then(time: float, source: int, destination: int, datagram: bytes) -> bool:
        nonlocal last
        if datagram[1] == Kind.DATA and datagram[16:36] == target.token.ring:
            last = max(last, _seq(datagram))
        if state == "gather" and destination == 2 and cluster.state(2) == state:
            seen.append((target.token.ring, last))
        if state == "recovery" and source == 2 and datagram[1] == Kind.TOKEN and datagram[84] == 1:
            token = read(datagram)
            seen.append((token.ring, token.seq))
        return True

    cluster.filter = forge_then
    assert cluster.run_until_settled(NODES)
    assert ring_bytes(cluster.configuration(2).ring_id) == target.token.ring
    cluster.start(4)
    everybody = (*NODES, 4)
    done = 0
    while not cluster.settled(everybody):
        cluster.run(0.00005)
        while done < len(seen):
            ring, seq = seen[done]
            done += 1
            if cluster.state(2) == state:
                target.throw(erasing(ring, seq + 1, target))
        assert cluster.now < 10.0
    assert done
    for number in range(20):
        assert cluster.submit(1 + number % 4, b"%d.4.%d|" % (1 + number % 4, number))
    assert cluster.run_until_settled(everybody)
    messages = [cluster.messages(node)[-20:] for node in everybody]
    assert messages[0] == messages[1] == messages[2] == messages[3]
    assert cluster.processor(2).statistics()["dropped_implausible"] > 0
    assert cluster.judge(everybody) == []


def test_forged_packet_far_ahead(target: Target) -> None:
    sound = cluster_codec(3).encode_data(target.token.ring, target.token.seq + 1, 50, False, target.data.chunks())
    for seq in (target.token.seq + 7 * CONFIG.window_size, 2**63 - 1, 2**63, 2**64 - 1):
        target.throw(renumber(sound.datagram, DATA_NUMBERS["seq"], seq))
    target.throw_token()
    settles(target)


@pytest.mark.parametrize("message_seq", [2**63 - 1, 2**63, 2**64 - 1])
def test_forged_packet_with_the_last_message_there_is(target: Target, message_seq: int) -> None:
    """Processor 2 delivers it, if at all, without harm."""
    seq = target.token.seq + 1
    sound = cluster_codec(3).encode_data(target.token.ring, seq, 50, False, target.data.chunks())
    target.throw(renumber(sound.datagram, DATA_NUMBERS["message_seq"], message_seq))
    target.throw_token(seq=seq)
    settles(target)


def test_forged_token_with_more_requests_than_a_token_of_this_ring_holds(target: Target) -> None:
    seq = target.token.seq + 128
    target.throw_token(seq=seq, requests=tuple(range(seq - 127, seq + 1)))
    settles(target)


@pytest.mark.parametrize("hop", [5, 2**31 - 1, 2**32 - 2, 2**32 - 1])
@pytest.mark.parametrize("at", ["gather", "commit", "recovery"])
def test_forged_commit_token_with_any_number_of_hops(hop: int, at: str) -> None:
    cluster = Cluster(3, CONFIG, datagram_size=DATAGRAM_SIZE)
    commits: list[tuple[int, bytes]] = []

    def watch(time: float, source: int, destination: int, datagram: bytes) -> bool:
        check_sent(datagram)
        if datagram[1] == Kind.COMMIT:
            commits.append((destination, datagram))
            if at == "gather" and not forged:
                return False
        return True

    forged = False
    cluster.filter = watch
    cluster.start(*NODES)
    assert cluster.run_until(lambda: bool(commits) and cluster.state(2) == at)
    for destination, datagram in list(commits):
        if destination in NODES:
            throw(cluster, destination, overwrite(datagram, 40, hop.to_bytes(4, "big")))
            cluster.hosts[destination].flush()
    forged = True
    assert cluster.run_until_settled(NODES)
    check_bounds(cluster)
