"""Ring sequences that are far apart, because stable storage was lost or torn, or because somebody forges them."""

from __future__ import annotations

import zlib

import pytest

from ringproto._core.wire.membership import Identity, Join, Limits, MembershipCodec
from ringproto._core.wire.regular import Codec
from ringproto.config import Config
from ringproto.errors import RingError
from ringproto.testing.campaign.settings import bound_s
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather

NODES = (1, 2, 3)
CONFIG = Config.testing()
BOUND_S = bound_s(CONFIG, len(NODES), 0.0)
"""That of the simulator's liveness where nothing is lost."""


def test_processor_whose_storage_was_lost_comes_back_to_a_ring_far_ahead() -> None:
    for loss in (0.0, 0.15):
        for seed in range(10):
            cluster = Cluster(seed, CONFIG)
            cluster.start(*NODES, ring_sequence=2**31)
            assert cluster.run_until_settled(NODES, BOUND_S)
            cluster.network.weather = Weather(loss=loss)
            for node in NODES:
                cluster.restart(node, "lost")
                assert cluster.run_until_settled(NODES, bound_s(CONFIG, len(NODES), loss)), (loss, seed, node)
                assert cluster.processor(node).ring_sequence > 2**31


@pytest.mark.parametrize("storage", ["torn", "stale", "lost"])
def test_all_come_together_whatever_each_has_stored(storage: str) -> None:
    """Each began at another sequence, and then all are restarted at once with what storage gave."""
    for seed in range(10):
        cluster = Cluster(seed, CONFIG)
        for node, sequence in zip(NODES, (0, 2**20 + 77, 2**32 - 2**17), strict=True):
            cluster.start(node, ring_sequence=sequence)
        assert cluster.run_until_settled(NODES, BOUND_S), seed
        cluster.crash(*NODES)
        for node in NODES:
            cluster.restart(node, storage)
        assert cluster.run_until_settled(NODES, BOUND_S), seed
        assert cluster.judge(NODES) == []


def test_halves_with_sequences_far_apart_merge() -> None:
    cluster = Cluster(3, CONFIG)
    cluster.partition({1, 2}, {3, 4})
    cluster.start(1, 2)
    cluster.start(3, 4, ring_sequence=2**30)
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.settled({3, 4}), BOUND_S)
    cluster.heal()
    assert cluster.run_until_settled((1, 2, 3, 4), BOUND_S)
    assert cluster.judge((1, 2, 3, 4)) == []


@pytest.mark.parametrize("others", [(1,), (1, 2, 3)])
def test_processor_with_a_damaged_sequence_ends_and_disturbs_nobody(others: tuple[int, ...]) -> None:
    cluster = Cluster(4, CONFIG)
    cluster.start(*others)
    assert cluster.run_until_settled(others, BOUND_S)
    before = cluster.configuration(1).ring_id
    cluster.start(9, ring_sequence=2**50)
    damaged = cluster.processor(9)
    assert cluster.run_until(lambda: damaged.left, BOUND_S)
    assert isinstance(damaged.failure, RingError)
    assert "ring_sequence" in str(damaged.failure) and "2**32" in str(damaged.failure)
    cluster.run(BOUND_S)
    assert cluster.configuration(1).ring_id == before
    assert all(cluster.processor(node).ring_sequence < 100 for node in others)
    assert cluster.judge() == []


def test_all_that_begin_together_go_on_without_the_one_whose_sequence_is_damaged() -> None:
    cluster = Cluster(5, CONFIG)
    cluster.start(1, ring_sequence=2**50)
    cluster.start(2, 3)
    damaged = cluster.processor(1)
    assert cluster.run_until(lambda: damaged.left, BOUND_S)
    assert "ring_sequence" in str(damaged.failure)
    assert cluster.run_until_settled({2, 3}, BOUND_S)


def test_newcomer_far_behind_a_larger_ring_ends_nobody_and_is_told() -> None:
    cluster = Cluster(6, CONFIG)
    cluster.start(*NODES, ring_sequence=2**50)
    assert cluster.run_until_settled(NODES, BOUND_S)
    before = cluster.configuration(1).ring_id
    cluster.start(9)
    cluster.run(BOUND_S)
    assert cluster.configuration(1).ring_id == before
    assert not cluster.processor(9).left
    told = {notice.kind: notice.text for notice in cluster.hosts[9].take_notices()}
    assert "ring_sequence" in told["ring_sequence"] and str(before.sequence) in told["ring_sequence"]


@pytest.mark.parametrize("sequence", [2**62 - 1, 2**62 - 2**16])
def test_processor_near_the_end_of_all_sequences_ends(sequence: int) -> None:
    """One that is as near as there is room for some rings ends when they are used up, and hears of no other before."""
    cluster = Cluster(7, CONFIG)
    cluster.start(1, ring_sequence=2**62 - 2**16 - 5)
    first = cluster.processor(1)
    cluster.start(2, ring_sequence=sequence)
    assert not cluster.alive(2)
    assert cluster.hosts[2].finished[-1][-1] == ("STOP", "ring sequence")
    assert cluster.run_until_settled({1}, BOUND_S)
    for newcomer in (3, 4, 5, 6):
        if not first.left:
            cluster.start(newcomer, ring_sequence=2**62 - 2**16 - 5)
            cluster.run(BOUND_S)
    assert first.left and "ring_sequence" in str(first.failure)
    assert cluster.judge() == []


def forged_join(node: int, sequence: int, serial: int, cluster: Cluster) -> bytes:
    config = cluster.processor(1).config
    limits = Limits(config.quorum, config.members_max, config.message_size_max, config.windows[0], config.size)
    codec = MembershipCodec(Codec(CONFIG.cluster_hash, node))
    return codec.encode_join(Join(Identity(node, serial, limits), sequence, (node,), ()))


def test_forged_joins_do_not_take_a_member_out_of_the_others_reach() -> None:
    """Thirty at once to one member, each of them as high as it may be: together a few steps, and all follow."""
    cluster = Cluster(8, CONFIG)
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES, BOUND_S)
    host = cluster.hosts[1]
    for serial in range(1, 31):
        for sequence in (2**64 - 1, 2**62, cluster.processor(1).ring_sequence + 2**32):
            host._arrive(77, _overwritten(forged_join(77, 0, serial, cluster), sequence))
        host._arrive(77, forged_join(78, cluster.processor(1).ring_sequence + 2**16, serial, cluster))
    cluster.run(0.01)
    assert cluster.processor(1).ring_sequence <= 31 * 2**16 + 100
    assert cluster.run_until_settled(NODES, BOUND_S)
    assert cluster.judge(NODES) == []


def _overwritten(datagram: bytes, sequence: int) -> bytes:
    body = datagram[:44] + sequence.to_bytes(8, "big") + datagram[52:-4]
    return body + zlib.crc32(body).to_bytes(4, "big")
