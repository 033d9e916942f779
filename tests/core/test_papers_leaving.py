"""Leaving (departure 13 in docs/protocol.md): nobody waits for who has said that it goes."""

from __future__ import annotations

import pytest
from papers import CONFIG, SAFE, Three, say
from rings import DATAGRAM_SIZE, Seen, Wire, counted, history, throw

from ringproto._core.wire.regular import Kind
from ringproto.testing.simulator.cluster import Cluster


def test_leaver_says_so_three_times_and_the_others_wait_for_nothing(ring: Three) -> None:
    ring.cluster.leave(2)
    assert ring.cluster.run_until_settled({1, 3})
    said = [seen for seen in ring.wire.log if seen.kind is Kind.LEAVE]
    assert [(seen.source, seen.destination) for seen in said if seen.destination == 1] == [(2, 1)] * 3
    assert all(counted(ring.cluster, node, "token_losses") == 0 for node in (1, 3))
    assert history(ring.cluster, 1)[-2:] == [("T", (1, 3)), ("R", (1, 3))]


def test_last_other_member_that_leaves_leaves_a_ring_of_one_without_a_timeout(judged: list[Cluster]) -> None:
    ring = Three(judged, 1, 2)
    ring.cluster.run(0.05)
    began = ring.cluster.now
    ring.cluster.leave(1)
    assert ring.cluster.run_until_settled({2})
    assert ring.cluster.now - began < CONFIG.consensus_timeout_s


def test_messages_of_the_leaver_are_delivered_before_it_is_gone(ring: Three) -> None:
    sent = [say(ring.cluster, 2, number, SAFE, size=2000) for number in range(20)]
    ring.cluster.leave(2)
    assert ring.cluster.run_until_settled({1, 3})
    for node in (1, 3):
        told = history(ring.cluster, node)
        assert told[-1] == ("R", (1, 3))
        assert [entry for entry in told if isinstance(entry, bytes)] == sent


def test_leave_of_an_earlier_life_is_not_believed(ring: Three) -> None:
    ring.cluster.leave(2)
    assert ring.cluster.run_until_settled({1, 3})
    (leave, *_) = [seen.datagram for seen in ring.wire.log if seen.kind is Kind.LEAVE and seen.destination == 1]
    ring.cluster.restart(2)
    assert ring.cluster.run_until_settled({1, 2, 3})
    before = ring.cluster.configuration(1)
    for node in (1, 3):
        throw(ring.cluster, node, leave)
    ring.cluster.run(0.5)
    assert ring.cluster.configuration(1) == before
    assert ring.cluster.settled({1, 2, 3})


@pytest.mark.parametrize(
    "kind", [Kind.JOIN, Kind.BEACON, Kind.COMMIT, Kind.TOKEN, Kind.DATA], ids=lambda kind: kind.name
)
def test_late_copies_from_an_earlier_life_of_a_member_do_not_break_the_ring(judged: list[Cluster], kind: Kind) -> None:
    """A processor has one life after another: who heard a later one knows that what comes of an earlier is a copy."""
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    judged.append(cluster)
    wire = Wire(cluster)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    cluster.run(0.3)
    for node in (1, 2, 3):
        say(cluster, node, 1)
    assert cluster.run_until_settled({1, 2, 3})
    copies = [seen.datagram for seen in wire.log if seen.kind is kind and seen.destination == 2]
    for node in (1, 3):
        cluster.restart(node)
        assert cluster.run_until_settled({1, 2, 3})
    before = cluster.configuration(2).ring_id
    assert copies
    for copy in copies:
        throw(cluster, 2, copy)
        cluster.hosts[2].flush()
    cluster.run(0.5)
    assert cluster.configuration(2).ring_id == before
    assert cluster.settled({1, 2, 3})


def test_leave_that_comes_after_the_others_have_agreed_without_the_leaver_ends_no_formation(ring: Three) -> None:
    """3 hears the leave first, and its join makes 1 form a ring with it before the leave comes to 1."""
    kept: list[Seen] = []

    def keep(seen: Seen) -> bool:
        late = seen.kind is Kind.LEAVE and seen.destination == 1
        if late:
            kept.append(seen)
        return late

    ring.wire.lose = keep
    ring.cluster.leave(2)
    assert ring.cluster.run_until(lambda: ring.cluster.state(1) == "commit")
    throw(ring.cluster, 1, *(seen.datagram for seen in kept))
    assert ring.cluster.state(1) == "commit"
    assert ring.cluster.run_until_settled({1, 3})
    assert history(ring.cluster, 1)[-2:] == [("T", (1, 3)), ("R", (1, 3))]
