"""Every number of every datagram at its ends, sealed correctly, at a processor in every state.

Who knows the format and not the ring's secrets (there are none) can send these. Nothing may raise, and nothing may be
poisoned for good: when the forged datagrams stop, the three honest processors are one ring again within the bound of
the simulator's liveness.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from typing import NamedTuple

import pytest
from rings import CONFIG, DATAGRAM_SIZE, Seen, Wire, cluster_codec, throw
from wire_samples import reseal

from ringproto._core.wire.membership import (
    Acknowledgement,
    Beacon,
    Challenge,
    Entry,
    Identity,
    Join,
    Leave,
    Limits,
    MembershipCodec,
    Refuse,
    Response,
)
from ringproto._core.wire.regular import Kind, ring_bytes
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Priority, RingId

NODES = (1, 2, 3)
STRANGER = 77
BOUND_S = 20 * (CONFIG.token_timeout_s + CONFIG.consensus_timeout_s)
TRIES = 4
STATES = ("gather", "commit", "recovery", "operational")
ENDS = (
    0,
    1,
    2**16 - 1,
    2**16,
    2**31,
    2**32 - 1,
    2**32,
    2**40,
    2**62 - 1,
    2**62,
    2**62 + 1,
    2**63 - 1,
    2**63,
    2**64 - 2,
    2**64 - 1,
)


class Field(NamedTuple):
    name: str
    at: int
    width: int


IDENTITY = (
    Field("incarnation", 16, 8),
    Field("quorum", 32, 2),
    Field("members_max", 34, 2),
    Field("message_size_max", 36, 4),
    Field("window_size", 40, 2),
    Field("datagram_size", 42, 2),
)
SERIAL = Field("serial", 24, 8)
TOKEN_SEQ = Field("token_seq", 40, 8)


def ring_at(at: int, name: str = "ring") -> tuple[Field, ...]:
    return (
        Field(f"{name} sequence", at, 8),
        Field(f"{name} representative", at + 8, 4),
        Field(f"{name} nonce", at + 12, 8),
    )


FIELDS: dict[Kind, tuple[Field, ...]] = {
    Kind.DATA: (
        *ring_at(16),
        Field("seq", 36, 8),
        Field("message_seq", 44, 8),
        *ring_at(52, "old ring"),
        Field("old_seq", 72, 8),
        Field("chunk size", 81, 2),
    ),
    Kind.TOKEN: (
        Field("destination", 16, 4),
        *ring_at(20),
        Field("token_seq", 40, 8),
        Field("seq", 48, 8),
        Field("message_seq", 56, 8),
        Field("aru", 64, 8),
        Field("aru_id", 72, 4),
        Field("fcc", 76, 4),
        Field("backlog", 80, 4),
        Field("phase", 84, 1),
        Field("incomplete", 85, 1),
        Field("count", 86, 2),
    ),
    Kind.JOIN: (
        *IDENTITY,
        Field("ring_sequence", 44, 8),
        Field("procs", 52, 2),
        Field("fails", 54, 2),
        Field("proc", 56, 4),
    ),
    Kind.COMMIT: (
        Field("destination", 16, 4),
        *ring_at(20),
        Field("hop", 40, 4),
        Field("members", 44, 2),
        Field("first", 46, 2),
        Field("count", 48, 2),
        Field("node", 50, 4),
        Field("incarnation", 54, 8),
        Field("filled", 62, 1),
        *ring_at(63, "old ring"),
        Field("aru", 83, 8),
        Field("high_delivered", 91, 8),
        Field("obligations", 99, 2),
    ),
    Kind.BEACON: (
        *IDENTITY,
        *ring_at(44),
        Field("number", 64, 4),
        Field("interval_ms", 68, 4),
        Field("members", 72, 2),
        Field("heard", 74, 2),
        Field("member", 76, 4),
    ),
    Kind.WAKE: ring_at(16),
    Kind.LEAVE: (*IDENTITY, *ring_at(44)),
    Kind.REFUSE: (
        Field("target", 16, 4),
        Field("target_incarnation", 20, 8),
        Field("members", 28, 2),
        Field("incarnation", 30, 8),
        Field("serial", 38, 8),
        Field("quorum", 46, 2),
        Field("message_size_max", 50, 4),
    ),
    Kind.ACKNOWLEDGEMENT: (
        Field("destination", 16, 4),
        *ring_at(20),
        Field("what", 40, 1),
        Field("copy", 41, 1),
        Field("number", 42, 8),
    ),
    Kind.CHALLENGE: (
        Field("target", 16, 4),
        Field("incarnation", 20, 8),
        Field("nonce", 28, 8),
        Field("challenger", 36, 8),
    ),
    Kind.RESPONSE: (
        Field("incarnation", 16, 8),
        Field("nonce", 24, 8),
        Field("serial", 32, 8),
        Field("members", 40, 2),
    ),
}


def put(datagram: bytes, field: Field, number: int) -> bytes:
    said = (number % 256**field.width).to_bytes(field.width, "big")
    return reseal(datagram[: field.at] + said + datagram[field.at + field.width :])


def forged(datagram: bytes, field: Field) -> Iterator[bytes]:
    truth = int.from_bytes(datagram[field.at : field.at + field.width], "big")
    if field.at + field.width <= len(datagram) - 4:
        for number in dict.fromkeys((*ENDS, truth + 1, truth - 1, truth + 2**16, truth + 2**16 + 1, truth + 2**32)):
            yield put(datagram, field, number)


def ring_in(state: str, seed: int) -> tuple[Cluster, Wire]:
    """Three processors of which the second is in this state, with datagrams of most types behind it."""
    cluster = Cluster(seed, CONFIG, datagram_size=DATAGRAM_SIZE)
    wire = Wire(cluster)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    for node in NODES:
        assert cluster.submit(node, b"%d.1.1|" % node + b"x" * 3000, Priority.LOW)
    cluster.run(0.1)
    if state != "operational":
        cluster.start(4)
        assert cluster.run_until(lambda: cluster.state(2) == state)
    return cluster, wire


def samples(cluster: Cluster, wire: Wire, kind: Kind) -> list[bytes]:
    """Datagrams of this type for processor 2, the latest that there are, and made up where there are none."""
    seen = [datagram for datagram in wire.got[2] if datagram[1] == kind and datagram[12:16] != b"\x00\x00\x00\x02"]
    processor = cluster.processor(2)
    ring = ring_bytes(processor.configuration.ring_id)
    codec, membership = cluster_codec(1), MembershipCodec(cluster_codec(1))
    config = processor.config
    limits = Limits(config.quorum, config.members_max, config.message_size_max, config.windows[0], config.size)
    identity = Identity(STRANGER, 1, limits)
    last = seen[-1:]
    if kind is Kind.TOKEN:
        # Later than what it knows, so that it is not taken for a copy.
        last = [put(datagram, TOKEN_SEQ, int.from_bytes(datagram[40:48], "big") + 7) for datagram in last]
    elif kind is Kind.JOIN:
        for sender in (3, STRANGER):
            join = Join(identity, processor.ring_sequence, (1, 2, sender), ())
            last.append(MembershipCodec(cluster_codec(sender)).encode_join(join))
    elif kind is Kind.BEACON:
        other = ring_bytes(RingId(processor.ring_sequence + 1, 3, 5))
        for sender in (3, STRANGER):
            beacon = Beacon(identity, other, 1, 100, (sender,), (2, sender))
            last.append(MembershipCodec(cluster_codec(sender)).encode_beacon(beacon))
    elif kind is Kind.DATA:
        chunk = bytes([25, 0, 1, 65])
        for sender in (1, STRANGER):
            packet = cluster_codec(sender).encode_data(ring, 50, 50, False, chunk)
            last += [packet.datagram, codec.encode_recovered(ring, 50, packet).datagram]
    elif kind is Kind.COMMIT:
        mine = Entry(2, 5, True, ring, 1, 1, (2,))
        last += membership.encode_commit(2, ring, 5, (Entry(1, 4, True, ring, 1, 1, ()), mine), DATAGRAM_SIZE)
    elif kind is Kind.WAKE:
        last.append(membership.encode_wake(ring))
    elif kind is Kind.LEAVE:
        last.append(MembershipCodec(cluster_codec(STRANGER)).encode_leave(Leave(identity, ring)))
    elif kind is Kind.REFUSE:
        last.append(membership.encode_refuse(Refuse(2, STRANGER, 3, limits._replace(quorum=9))))
    elif kind is Kind.ACKNOWLEDGEMENT:
        last.append(membership.encode_acknowledgement(Acknowledgement(2, ring, Kind.TOKEN, 0, 50)))
    elif kind is Kind.CHALLENGE:
        last.append(membership.encode_challenge(Challenge(2, STRANGER, 5, STRANGER)))
    elif kind is Kind.RESPONSE:
        last.append(membership.encode_response(Response(STRANGER, 5, 1, 3)))
    return last


def comes_together(cluster: Cluster, nodes: Collection[int]) -> bool:
    """Whether, within the bound, these are one ring that delivers what each sends to all in one order.

    What is sent too early is lost to who is left out then: a forged token that counts packets which there are not ends
    a ring only when somebody is taken for one that receives nothing. So it is tried some times.
    """
    for attempt in range(TRIES):
        sent = [b"%d.2.%d|" % (node, attempt) for node in nodes]
        for node, payload in zip(nodes, sent, strict=True):
            assert cluster.submit(node, payload)
        if cluster.run_until(functools.partial(arrived, cluster, nodes, sent), BOUND_S / TRIES, every_s=0.005):
            return True
    return False


def arrived(cluster: Cluster, nodes: Collection[int], sent: list[bytes]) -> bool:
    orders = {tuple(message for message in cluster.messages(node) if message in sent) for node in nodes}
    return cluster.formed(nodes) and len(orders) == 1 and set(sent) == set(*orders)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", Kind)
def test_numbers_at_their_ends_raise_nothing_and_poison_nothing(kind: Kind, state: str) -> None:
    for place, field in enumerate(FIELDS[kind]):
        cluster, wire = ring_in(state, place)
        thrown = [datagram for sample in samples(cluster, wire, kind) for datagram in forged(sample, field)]
        assert thrown
        for serial, datagram in enumerate(thrown, 1):
            # The copies of what was seen keep their serials, and each other one comes later than those before it.
            mine = datagram[16:24] == STRANGER.to_bytes(8, "big") and kind in (Kind.JOIN, Kind.BEACON, Kind.LEAVE)
            throw(cluster, 2, put(datagram, SERIAL, serial) if mine else datagram)
            cluster.hosts[2].flush()
            assert cluster.alive(2)
        everybody = NODES if state == "operational" else (*NODES, 4)
        assert comes_together(cluster, everybody), field.name
        assert all(cluster.processor(node).ring_sequence < 2**33 for node in NODES), field.name


@pytest.mark.parametrize("kind", Kind)
def test_who_has_left_answers_nothing(kind: Kind) -> None:
    cluster, wire = ring_in("operational", 0)
    processor = cluster.processor(2)
    taken = samples(cluster, wire, kind)
    cluster.leave(2)
    assert cluster.run_until(lambda: not cluster.alive(2))
    for field in FIELDS[kind]:
        for sample in taken:
            assert processor.turn(list(forged(sample, field)), cluster.now + 20_000.0).transmits == []
    ready = processor.turn([], cluster.now + 30_000.0)
    assert ready.left and ready.transmits == []


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", [Kind.JOIN, Kind.BEACON, Kind.LEAVE])
def test_forged_serials_silence_nobody(kind: Kind, state: str) -> None:
    cluster, wire = ring_in(state, 0)
    for sample in samples(cluster, wire, kind):
        for datagram in forged(sample, SERIAL):
            throw(cluster, 2, datagram)
            cluster.hosts[2].flush()
    assert comes_together(cluster, NODES if state == "operational" else (*NODES, 4))


@pytest.mark.parametrize("field", [Field("aru", 83, 8), Field("high_delivered", 91, 8)])
@pytest.mark.parametrize("number", ENDS)
def test_commit_token_that_ends_its_rounds_with_any_packet_number(field: Field, number: int) -> None:
    """Of another member's entry, in the very token with which recovery begins."""
    cluster, wire = ring_in("gather", 1)
    kept: list[bytes] = []

    def keep(seen: Seen) -> bool:
        last = seen.destination == 2 and seen.kind is Kind.COMMIT and cluster.state(2) == "commit" and not kept
        if last:
            kept.append(seen.datagram)
        return last

    wire.lose = keep
    assert cluster.run_until(lambda: bool(kept))
    throw(cluster, 2, put(kept[0], field, number))
    cluster.hosts[2].flush()
    assert cluster.state(2) == ("recovery" if number < 2**63 else "commit")
    assert comes_together(cluster, (*NODES, 4))
