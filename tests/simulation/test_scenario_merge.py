"""Two rings that both lack packets merge: what each has to make equal has the same numbers as what the other has."""

from __future__ import annotations

import pytest

from ringproto.config import Config
from ringproto.events import Message, TransitionalConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import kind_of
from ringproto.types import Guarantee, Priority

LEFT, RIGHT = (1, 2), (3, 4)
EVERYBODY = (*LEFT, *RIGHT)


def parted(seed: int) -> Cluster:
    """Two rings of two, which count their packets from the same number."""
    cluster = Cluster(seed, Config.testing())
    cluster.start(*EVERYBODY)
    assert cluster.run_until_settled(EVERYBODY)
    cluster.partition(LEFT, RIGHT)
    assert cluster.run_until(lambda: cluster.settled(LEFT) and cluster.settled(RIGHT), 3.0)
    return cluster


def after_the_cut(cluster: Cluster, node: int) -> list[bytes]:
    return [payload for payload in cluster.messages(node) if b"|" in payload]


@pytest.mark.parametrize("guarantee", Guarantee)
@pytest.mark.parametrize("lost_in_recovery", [0, 1])
def test_two_rings_of_two_that_each_lack_one_packet_merge_and_each_side_is_given_its_own(
    guarantee: Guarantee, lost_in_recovery: int
) -> None:
    cluster = parted(3)
    lacking = {2: b"1.1.1|", 4: b"3.1.1|"}
    kept_back = {2: 0, 4: 0}
    again: dict[int, int] = {2: 0, 4: 0}
    merging = False

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) != "data" or destination not in lacking or lacking[destination] not in datagram:
            return True
        if not merging:  # it is sent again, and lost again, until the rings end
            kept_back[destination] += 1
            return False
        again[destination] += 1
        return again[destination] > lost_in_recovery

    cluster.filter = lose
    for first, second in (LEFT, RIGHT):
        assert cluster.submit(first, b"%d.1.1|lost on the way to %d" % (first, second), Priority.HIGH, guarantee)
    assert cluster.run_until(lambda: all(kept_back.values()), 1.0)
    for _, second in (LEFT, RIGHT):
        assert cluster.submit(second, b"%d.1.2|behind the hole" % second, Priority.LOW, guarantee)
    cluster.run(0.005)
    assert not any(after_the_cut(cluster, node) for node in lacking)
    places = {cluster.processor(node).statistics()["packets_sent"] for node in (1, 3)}
    assert len(places) == 1  # so the numbers of what is missing coincide
    cluster.heal()
    assert cluster.run_until(lambda: all(cluster.state(node) in ("gather", "commit") for node in EVERYBODY), 3.0)
    merging = True
    assert cluster.run_until_settled(EVERYBODY, 3.0)
    assert all(count > lost_in_recovery for count in again.values())
    for side in (LEFT, RIGHT):
        first, second = side
        expected = [b"%d.1.1|lost on the way to %d" % side, b"%d.1.2|behind the hole" % second]
        for node in side:
            assert after_the_cut(cluster, node) == expected
            last = [event for event in cluster.events(node) if isinstance(event, TransitionalConfiguration)][-1]
            assert last.members == side
    assert cluster.judge(EVERYBODY) == []


def test_nobody_is_given_a_message_of_the_other_side_that_has_the_number_of_its_own() -> None:
    cluster = parted(4)
    cluster.filter = lambda time, source, destination, datagram: (
        kind_of(datagram) != "data" or destination not in (2, 4) or b"|" not in datagram
    )
    for number in range(6):
        for first in (1, 3):
            cluster.submit(first, b"%d.1.%d|%s" % (first, number, b"x" * 300 * number))
    cluster.run(0.01)
    cluster.heal()
    assert cluster.run_until(lambda: all(cluster.state(node) == "gather" for node in EVERYBODY), 3.0)
    cluster.filter = None
    assert cluster.run_until_settled(EVERYBODY, 3.0)
    for side in (LEFT, RIGHT):
        for node in side:
            messages = [event for event in cluster.events(node) if isinstance(event, Message)]
            assert [event.payload.partition(b"|")[0] for event in messages] == [
                b"%d.1.%d" % (side[0], number) for number in range(6)
            ]
    assert cluster.judge(EVERYBODY) == []
