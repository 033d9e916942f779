"""Words of members that come late: nobody is left out for them, and no ring breaks."""

from __future__ import annotations

from rings import CONFIG, DATAGRAM_SIZE, cluster_codec, throw

from ringproto._core.wire.membership import Beacon, Identity, Limits, MembershipCodec
from ringproto._core.wire.regular import ring_bytes
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import RingId


def test_a_late_beacon_of_a_member_from_a_ring_before_this_one_changes_nothing() -> None:
    """Its serial is a new one, as if it had been overtaken by what was said after it."""
    cluster = Cluster(5, CONFIG)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    before = {node: cluster.configuration(node) for node in (1, 2, 3)}
    config = cluster.processor(2).config
    limits = Limits(config.quorum, config.members_max, config.message_size_max, config.windows[0], DATAGRAM_SIZE)
    identity = Identity(cluster.hosts[2].audit[0][2], 1_000_000, limits)
    old = RingId(before[1].ring_id.sequence - 1, 2, 77)
    beacon = Beacon(identity, ring_bytes(old), 1, 100, (2,), ())
    datagram = MembershipCodec(cluster_codec(2)).encode_beacon(beacon)
    counted = cluster.processor(1).statistics()
    throw(cluster, 1, datagram)
    late = cluster.processor(1).statistics().get("dropped_late_copy", 0) - counted.get("dropped_late_copy", 0)
    assert late == 1
    assert cluster.state(1) == "operational"
    cluster.run(1.0)
    assert {node: cluster.configuration(node) for node in (1, 2, 3)} == before
