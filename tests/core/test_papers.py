"""What the papers say that a ring does, one behaviour each, seen on the wire and in the logs of simulated rings.

Totem: Amir et al., ACM TOCS 13(4), 1995. EVS: Moser et al., ICDCS 1994. Where docs/protocol.md departs from them, the
behaviour is the one that is described there. What whole histories must keep is judged at the end of each test.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rings import DATAGRAM_SIZE, Seen, Wire, counted, history, make_ring, read, throw

from ringproto._core.wire import CHUNK_SIZE, Kind, Phase, ring_bytes
from ringproto.config import Config
from ringproto.events import Message, RecoveryComplete, RegularConfiguration
from ringproto.testing.cluster import Cluster
from ringproto.types import Guarantee, Priority

CONFIG = Config.testing()
AGREED, SAFE = Guarantee


@pytest.fixture
def judged() -> Iterator[list[Cluster]]:
    """Clusters put in here are judged when the test is over."""
    clusters: list[Cluster] = []
    yield clusters
    for cluster in clusters:
        cluster.filter = None
        assert cluster.judge() == []


class Three:
    """A formed ring of 1, 2 and 3."""

    def __init__(self, judged: list[Cluster], *nodes: int, **changes: Any) -> None:
        self.cluster, self.wire = make_ring(*nodes, **changes)
        judged.append(self.cluster)


@pytest.fixture
def ring(judged: list[Cluster]) -> Three:
    return Three(judged)


def audit(cluster: Cluster, node: int, *tags: str) -> list[tuple[Any, ...]]:
    return [entry for entry in cluster.hosts[node].audit if entry[0] in tags]


def say(cluster: Cluster, node: int, number: int, guarantee: Guarantee = AGREED, size: int = 10) -> bytes:
    """Have a processor send a message; returns it."""
    payload = (b"%d.1.%d|" % (node, number)).ljust(size, b"x")
    assert cluster.submit(node, payload, Priority.HIGH, guarantee)
    return payload


def carries(seen: Seen, payload: bytes) -> bool:
    return seen.kind is Kind.DATA and payload in seen.datagram


# Total order (Totem, section 4)


def test_only_the_holder_of_the_token_broadcasts(ring: Three) -> None:
    for node in (1, 2, 3):
        for number in range(20):
            say(ring.cluster, node, number, size=700)
    assert ring.cluster.run_until_settled({1, 2, 3})
    holder = {}
    packets = 0
    for seen in ring.wire.log:
        if seen.kind is Kind.TOKEN:
            holder[read(seen.datagram).ring] = (seen.source, seen.destination)
        elif seen.kind is Kind.DATA:
            packets += 1
            packet = read(seen.datagram)
            # Since it sent the last token that was passed on, nobody but its receiver broadcasts.
            assert holder.get(packet.ring, (0, seen.source))[1] == seen.source
    assert packets > 40


def test_all_members_number_their_packets_in_one_sequence(ring: Three) -> None:
    for node in (1, 2, 3):
        for number in range(20):
            say(ring.cluster, node, number, size=700)
    assert ring.cluster.run_until_settled({1, 2, 3})
    originators: dict[int, set[int]] = {}
    for _, packet in ring.wire.packets():
        originators.setdefault(packet.seq, set()).add(packet.sender)
    numbers = sorted(originators)
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert all(len(senders) == 1 for senders in originators.values())
    assert set.union(*originators.values()) == {1, 2, 3}


def test_lost_packet_is_asked_for_in_the_token_and_sent_again(ring: Three) -> None:
    lost: list[int] = []

    def lose_once(seen: Seen) -> bool:
        if seen.kind is Kind.DATA and seen.destination == 3 and not lost:
            lost.append(read(seen.datagram).seq)
            return True
        return False

    ring.wire.lose = lose_once
    payload = say(ring.cluster, 1, 1)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.messages(3) == [payload]
    asked = [token for _, token in ring.wire.tokens() if lost[0] in token.requests]
    assert asked
    copies = [seen for seen, packet in ring.wire.packets() if packet.seq == lost[0] and seen.destination == 3]
    assert len(copies) == 1
    assert sum(counted(ring.cluster, node, "retransmissions") for node in (1, 2, 3)) == 1


def test_packet_is_sent_again_by_whoever_has_it(ring: Three) -> None:
    ring.wire.lose = lambda seen: seen.kind is Kind.DATA and (seen.source, seen.destination) == (2, 3)
    payload = say(ring.cluster, 2, 1)
    assert ring.cluster.run_until_settled({1, 2, 3})
    (again,) = [seen for seen in ring.wire.log if carries(seen, payload) and seen.destination == 3]
    assert again.source == 1
    assert read(again.datagram).sender == 2


def test_gap_is_not_asked_for_before_it_is_a_rotation_old(ring: Three) -> None:
    """Packets and token may overtake each other; only what stays away is asked for (departure 4)."""
    for number in range(30):
        say(ring.cluster, 1 + number % 3, number, size=1000)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert not any(token.requests for _, token in ring.wire.tokens())
    assert sum(counted(ring.cluster, node, "retransmissions") for node in (1, 2, 3)) == 0


def test_lost_token_is_sent_again_by_who_passed_it_on(ring: Three) -> None:
    lost: list[Seen] = []

    def lose_once(seen: Seen) -> bool:
        if seen.kind is Kind.TOKEN and not lost:
            lost.append(seen)
            return True
        return False

    ring.wire.lose = lose_once
    payload = say(ring.cluster, 2, 1)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.messages(3) == [payload]
    again = next(seen for seen in ring.wire.log if seen.datagram == lost[0].datagram)
    assert (again.source, again.destination) == (lost[0].source, lost[0].destination)
    assert counted(ring.cluster, again.source, "tokens_retransmitted") >= 1
    assert history(ring.cluster, 1).count(("R", (1, 2, 3))) == 1


def test_late_copy_of_a_token_is_dropped(ring: Three) -> None:
    say(ring.cluster, 1, 1)
    ring.cluster.run(0.1)
    tokens = [seen.datagram for seen in ring.wire.log if seen.kind is Kind.TOKEN and seen.destination == 2]
    accepted = len(audit(ring.cluster, 2, "TOKEN"))
    before = counted(ring.cluster, 2, "duplicate_tokens")
    throw(ring.cluster, 2, *tokens[:-1])
    assert counted(ring.cluster, 2, "duplicate_tokens") == before + len(tokens) - 1
    assert len(audit(ring.cluster, 2, "TOKEN")) == accepted
    assert not ring.cluster.processor(2).has_transmits


def test_accepted_tokens_rise_and_go_round_in_the_order_of_ids(ring: Three) -> None:
    for number in range(10):
        say(ring.cluster, 1 + number % 3, number)
    ring.cluster.run(0.5)
    hops = [(token.token_seq, seen.source, seen.destination) for seen, token in ring.wire.tokens()]
    assert [hop for hop, _, _ in hops] == list(range(hops[0][0], hops[0][0] + len(hops)))
    assert {(source, destination) for _, source, destination in hops} == {(1, 2), (2, 3), (3, 1)}


def deaf_to_data(wire: Wire, node: int) -> None:
    wire.lose = lambda seen: seen.kind is Kind.DATA and seen.destination == node


def test_agreed_message_does_not_wait_for_a_member_that_lacks_it(ring: Three) -> None:
    deaf_to_data(ring.wire, 3)
    payload = say(ring.cluster, 1, 1, AGREED)
    ring.cluster.run(0.05)
    assert [ring.cluster.messages(node) for node in (1, 2, 3)] == [[payload], [payload], []]
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.messages(3) == [payload]


def test_safe_message_waits_for_a_member_that_lacks_it(ring: Three) -> None:
    deaf_to_data(ring.wire, 3)
    payload = say(ring.cluster, 1, 1, SAFE)
    ring.cluster.run(0.05)
    assert [ring.cluster.messages(node) for node in (1, 2, 3)] == [[], [], []]
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert [ring.cluster.messages(node) for node in (1, 2, 3)] == [[payload]] * 3


def test_safe_message_is_delivered_when_the_token_has_said_twice_that_all_have_it(ring: Three) -> None:
    say(ring.cluster, 2, 1, SAFE)
    assert ring.cluster.run_until_settled({1, 2, 3})
    (packet,) = {packet.seq for _, packet in ring.wire.packets()}
    for node in (1, 2, 3):
        log = audit(ring.cluster, node, "TOKEN", "DELV", "SEND")
        delivered = max(place for place, entry in enumerate(log) if entry[0] == "DELV")
        said = [entry for entry in log[:delivered] if entry[0] == "TOKEN" and entry[3] >= packet and entry[4] >= packet]
        # The originator said it the first time itself, when it sent the message.
        assert len(said) == (1 if node == 2 else 2)


def test_agreed_message_is_delivered_when_it_comes(ring: Three) -> None:
    say(ring.cluster, 2, 1, AGREED)
    assert ring.cluster.run_until(lambda: bool(ring.cluster.messages(1)))
    (packet,) = {packet.seq for _, packet in ring.wire.packets()}
    assert not [entry for entry in audit(ring.cluster, 1, "TOKEN") if entry[3] >= packet]


def test_what_every_member_has_is_forgotten_and_not_before(ring: Three) -> None:
    deaf_to_data(ring.wire, 3)
    say(ring.cluster, 1, 1)
    ring.cluster.run(0.05)
    kept = counted(ring.cluster, 1, "window_packets")
    assert kept >= 1
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2, 3})
    ring.cluster.run(0.1)
    assert counted(ring.cluster, 1, "window_packets") == 0


def test_no_rotation_carries_more_packets_than_the_window(judged: list[Cluster]) -> None:
    ring = Three(judged, window_size=6, visit_max=6)
    for number in range(60):
        for node in (1, 2, 3):
            say(ring.cluster, node, number, size=1000)
    assert ring.cluster.run_until_settled({1, 2, 3})
    packets = 0
    since: dict[int, int] = {1: 0, 2: 0, 3: 0}
    for seen in ring.wire.log:
        if seen.kind is Kind.TOKEN:
            assert read(seen.datagram).fcc <= 6
            since[seen.destination] = packets
        elif seen.kind is Kind.DATA and seen.destination == 1 + seen.source % 3:  # one copy of each
            packets += 1
            assert packets - since[seen.source] <= 6 * 2  # the rotation that ended, and the one that began
    assert packets > 100


def test_window_is_shared_when_everybody_has_much_to_send(judged: list[Cluster]) -> None:
    ring = Three(judged, window_size=12, visit_max=12)
    for number in range(100):
        for node in (1, 2, 3):
            say(ring.cluster, node, number, size=1200)
    ring.cluster.run(0.01)
    sent = dict.fromkeys((1, 2, 3), 0)
    for _, packet in ring.wire.packets():
        sent[packet.sender] += 1
    assert min(sent.values()) > 0.5 * max(sent.values()) > 10


def test_token_of_an_idle_ring_rests_at_the_representative_alone(ring: Three) -> None:
    ring.cluster.run(0.2)
    ring.wire.log.clear()
    ring.cluster.run(1.0)
    tokens = list(ring.wire.tokens())
    assert len(tokens) <= 3 * 1.0 / CONFIG.token_hold_s
    came = {seen.destination: seen.time for seen, _ in tokens[:3]}
    for seen, _ in tokens[3:]:
        rested = seen.time - came[seen.source]
        assert (rested >= 0.9 * CONFIG.token_hold_s) is (seen.source == 1)
        came[seen.destination] = seen.time


def test_resting_token_is_called_by_who_has_something_to_send(ring: Three) -> None:
    ring.cluster.run(0.2)
    ring.wire.log.clear()
    payload = say(ring.cluster, 3, 1)
    began = ring.cluster.now
    assert ring.cluster.run_until(lambda: ring.cluster.messages(2) == [payload])
    wakes = [seen for seen in ring.wire.log if seen.kind is Kind.WAKE]
    assert [(seen.source, seen.destination) for seen in wakes] == [(3, 1)]
    assert ring.cluster.now - began < 0.5 * CONFIG.token_hold_s


def test_resting_token_goes_on_by_itself_when_the_call_is_lost(ring: Three) -> None:
    ring.cluster.run(0.2)
    ring.wire.lose = lambda seen: seen.kind is Kind.WAKE
    payload = say(ring.cluster, 3, 1)
    assert ring.cluster.run_until(lambda: ring.cluster.messages(2) == [payload])
    assert history(ring.cluster, 2).count(("R", (1, 2, 3))) == 1


# Membership (Totem, section 5)


def test_processor_begins_alone_in_gather() -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.start(5)
    assert cluster.state(5) == "gather"
    assert history(cluster, 5) == [("R", (5,))]


def test_smallest_id_is_the_representative_and_forms_the_ring(judged: list[Cluster]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    judged.append(cluster)
    wire = Wire(cluster)
    cluster.start(70, 5, 9)
    assert cluster.run_until_settled({5, 9, 70})
    assert cluster.configuration(70).ring_id.representative == 5
    first = next(seen for seen, part in wire.commits() if part.members == 3)
    assert (first.source, first.destination) == (5, 9)
    assert next(seen.source for seen, token in wire.tokens()) == 5


def test_next_smallest_id_is_the_representative_when_the_smallest_is_gone(ring: Three) -> None:
    ring.cluster.crash(1)
    assert ring.cluster.run_until_settled({2, 3})
    assert ring.cluster.configuration(3).ring_id.representative == 2


def test_join_is_said_again_while_others_are_missing(judged: list[Cluster]) -> None:
    ring = Three(judged)
    ring.cluster.crash(3)
    assert ring.cluster.run_until(lambda: ring.cluster.state(1) == "gather")
    ring.wire.log.clear()
    assert ring.cluster.run_until(lambda: ring.cluster.state(1) != "gather")
    times = [seen.time for seen in ring.wire.log if seen.kind is Kind.JOIN and seen.source == 1]
    assert len(times) / 2 > 0.5 * CONFIG.consensus_timeout_s / CONFIG.join_timeout_s


def test_silent_processor_is_given_up_when_the_consensus_timeout_is_over(ring: Three) -> None:
    ring.cluster.crash(3)
    assert ring.cluster.run_until_settled({1, 2})
    fails = [join.fail_set for _, join in ring.wire.joins()]
    assert fails[0] == ()
    assert fails[-1] == (3,)


def test_ring_forms_only_when_all_have_said_the_same_sets(ring: Three) -> None:
    ring.cluster.crash(3)
    assert ring.cluster.run_until_settled({1, 2})
    log = ring.wire.log
    first_commit = next(place for place, seen in enumerate(log) if seen.kind is Kind.COMMIT)
    agreed = {
        seen.source
        for seen in log[:first_commit]
        if seen.kind is Kind.JOIN and (read(seen.datagram).proc_set, read(seen.datagram).fail_set) == ((1, 2, 3), (3,))
    }
    assert agreed >= {1, 2}


def test_commit_token_goes_round_twice(judged: list[Cluster]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    judged.append(cluster)
    wire = Wire(cluster)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    name = ring_bytes(cluster.configuration(1).ring_id)
    parts = [(seen, part) for seen, part in wire.commits() if part.ring == name]
    assert [part.hop for _, part in parts] == [1, 2, 3, 4, 5, 6]
    assert [seen.destination for seen, _ in parts] == [2, 3, 1, 2, 3, 1]
    # In the first rotation each writes its entry, in the second all read them.
    filled = [[entry.node for entry in part.entries if entry.filled] for _, part in parts]
    assert filled == [[1], [1, 2], [1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 2, 3]]


def test_regular_token_starts_when_the_commit_token_has_come_back_twice(judged: list[Cluster]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    judged.append(cluster)
    wire = Wire(cluster)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    kinds = [seen.kind for seen in wire.log if seen.kind in (Kind.COMMIT, Kind.TOKEN)]
    assert kinds[:6] == [Kind.COMMIT] * 6
    assert kinds[6:9] == [Kind.TOKEN] * 3
    first = next(token for _, token in wire.tokens())
    assert (first.token_seq, first.seq, first.phase) == (2, 0, Phase.EXCHANGE)


def test_lost_commit_token_is_sent_again(judged: list[Cluster]) -> None:
    for lost_hop in (1, 2, 3, 4, 5, 6):
        cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
        judged.append(cluster)
        wire = Wire(cluster)
        lost: list[Seen] = []

        def lose_once(seen: Seen, hop: int = lost_hop, lost: list[Seen] = lost) -> bool:
            if seen.kind is Kind.COMMIT and read(seen.datagram).hop == hop and not lost:
                lost.append(seen)
                return True
            return False

        wire.lose = lose_once
        cluster.start(1, 2, 3)
        assert cluster.run_until_settled({1, 2, 3})
        # The formation was not begun again: it is the ring of the commit token that was lost.
        assert ring_bytes(cluster.configuration(1).ring_id) == read(lost[0].datagram).ring
        assert counted(cluster, lost[0].source, "commit_tokens_retransmitted") >= 1


def states_until_settled(cluster: Cluster, node: int, nodes: set[int]) -> list[str]:
    """The states that a processor goes through until the ring of these nodes has formed."""
    states = [cluster.state(node)]

    def note() -> bool:
        if cluster.state(node) != states[-1]:
            states.append(cluster.state(node))
        return cluster.settled(nodes)

    assert cluster.run_until(note, 5.0)
    return states


@pytest.mark.parametrize("node", [1, 2])
def test_token_lost_in_operational_returns_to_gather(ring: Three, node: int) -> None:
    ring.wire.lose = lambda seen: seen.kind is Kind.TOKEN and ring.cluster.state(seen.source) == "operational"
    assert ring.cluster.run_until(lambda: ring.cluster.state(node) == "gather")
    assert counted(ring.cluster, node, "token_losses") + counted(ring.cluster, 3 - node, "token_losses") >= 1
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2, 3})


@pytest.mark.parametrize("node", [1, 2])
def test_commit_token_lost_for_good_returns_to_gather(ring: Three, node: int) -> None:
    ring.cluster.crash(3)
    ring.wire.lose = lambda seen: seen.kind is Kind.COMMIT and seen.source == node
    assert ring.cluster.run_until(lambda: ring.cluster.state(node) == "commit")
    assert ring.cluster.run_until(lambda: ring.cluster.state(node) == "gather")
    assert counted(ring.cluster, node, "token_losses") >= 1
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2})


@pytest.mark.parametrize("node", [1, 2])
def test_token_lost_in_recovery_returns_to_gather(ring: Three, node: int) -> None:
    ring.cluster.crash(3)
    ring.wire.lose = lambda seen: seen.kind is Kind.TOKEN
    assert ring.cluster.run_until(lambda: ring.cluster.state(node) == "recovery")
    assert ring.cluster.run_until(lambda: ring.cluster.state(node) == "gather")
    assert history(ring.cluster, node)[-1] == ("R", (1, 2, 3))  # the old ring is as it was
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2})


def test_member_goes_through_the_states_in_their_order(ring: Three) -> None:
    ring.cluster.crash(3)
    states = states_until_settled(ring.cluster, 2, {1, 2})
    assert states == ["operational", "gather", "commit", "recovery", "operational"]


def test_new_ring_has_a_higher_sequence_than_any_that_its_members_knew(judged: list[Cluster]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    judged.append(cluster)
    cluster.start(1, ring_sequence=5)
    cluster.start(2, ring_sequence=70_000)
    cluster.start(3)
    assert cluster.run_until_settled({1, 2, 3})
    assert cluster.configuration(1).ring_id.sequence > 70_000
    assert all(cluster.processor(node).ring_sequence > 70_000 for node in (1, 2, 3))


def test_two_rings_that_hear_each_other_merge_without_any_message(judged: list[Cluster]) -> None:
    ring = Three(judged, 1, 2, 3, 4)
    ring.cluster.partition({1, 4}, {2, 3})
    assert ring.cluster.run_until(lambda: ring.cluster.settled({1, 4}) and ring.cluster.settled({2, 3}))
    ring.wire.log.clear()
    ring.cluster.heal()
    assert ring.cluster.run_until_settled({1, 2, 3, 4})
    assert history(ring.cluster, 3)[-2:] == [("T", (2, 3)), ("R", (1, 2, 3, 4))]
    assert history(ring.cluster, 4)[-2:] == [("T", (1, 4)), ("R", (1, 2, 3, 4))]
    first = next(seen for seen in ring.wire.log if {seen.source, seen.destination} not in ({1, 4}, {2, 3}))
    assert first.kind is Kind.BEACON


def test_rings_find_each_other_by_beacons_alone(judged: list[Cluster]) -> None:
    ring = Three(judged, 1, 2, 3, 4)
    ring.cluster.partition({1, 4}, {2, 3})
    assert ring.cluster.run_until(lambda: ring.cluster.settled({1, 4}) and ring.cluster.settled({2, 3}))
    ring.wire.lose = lambda seen: seen.kind is Kind.BEACON
    ring.cluster.heal()
    say(ring.cluster, 2, 1)
    ring.cluster.run(1.0)
    # Packets of the other ring were heard and do not count (departure 2).
    assert counted(ring.cluster, 1, "dropped_other_ring") > 0
    assert ring.cluster.settled({1, 4}) and ring.cluster.settled({2, 3})
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2, 3, 4})


def test_only_the_representative_sends_beacons(ring: Three) -> None:
    ring.cluster.run(1.0)
    beacons = [seen for seen in ring.wire.log if seen.kind is Kind.BEACON]
    assert {seen.source for seen in beacons} == {1}
    assert len(beacons) / 2 > 0.5 * 1.0 / CONFIG.merge_detect_s


def test_member_that_receives_no_packets_is_left_out_by_the_others(ring: Three) -> None:
    deaf_to_data(ring.wire, 3)
    say(ring.cluster, 1, 1)
    assert ring.cluster.run_until(lambda: ring.cluster.configuration(1).members == (1, 2))
    assert counted(ring.cluster, 1, "failures_to_receive") + counted(ring.cluster, 2, "failures_to_receive") >= 1
    if ring.cluster.alive(3):
        assert counted(ring.cluster, 3, "failures_to_receive") == 0


def test_member_that_is_only_slow_to_receive_is_not_left_out(ring: Three) -> None:
    """The aru rises all the time, if slowly: that is progress (departure 5)."""
    began = ring.cluster.now
    first: list[int] = []

    def lose_early(seen: Seen) -> bool:
        if seen.kind is Kind.DATA and seen.destination == 3:
            seq = int(read(seen.datagram).seq)
            first.append(seq)
            return seen.time < began + 0.6 * CONFIG.fail_to_receive_s * (seq - first[0])
        return False

    ring.wire.lose = lose_early
    for number in range(5):
        say(ring.cluster, 1, number, size=1200)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.now > began + 2 * CONFIG.fail_to_receive_s
    assert history(ring.cluster, 1).count(("R", (1, 2, 3))) == 1


def test_pair_that_cannot_hear_each_other_does_not_make_memberships_flap_for_ever(ring: Three) -> None:
    ring.cluster.block(2, 3)
    ring.cluster.block(3, 2)
    ring.cluster.run(10.0)
    early = len(audit(ring.cluster, 1, "CONF"))
    ring.cluster.run(10.0)
    late = len(audit(ring.cluster, 1, "CONF")) - early
    assert early <= 12 and late == 0
    ring.cluster.heal()
    assert ring.cluster.run_until_settled({1, 2, 3}, 20 * CONFIG.merge_detect_s)


def test_link_that_works_one_way_does_not_make_memberships_flap(ring: Three) -> None:
    ring.cluster.block(2, 3)
    ring.cluster.run(10.0)
    early = len(audit(ring.cluster, 1, "CONF"))
    ring.cluster.run(10.0)
    assert early <= 12 and len(audit(ring.cluster, 1, "CONF")) == early
    ring.cluster.heal()
    assert ring.cluster.run_until_settled({1, 2, 3}, 20 * CONFIG.merge_detect_s)


def test_members_say_beacons_while_somebody_is_put_off_and_no_longer(ring: Three) -> None:
    ring.cluster.block(2, 3)
    ring.cluster.run(2.0)
    assert ring.cluster.settled({1, 3}) and ring.cluster.settled({2})
    # Now 3, which is not the representative, hears 2, and says so; 2 hears nothing of it.
    ring.cluster.heal()
    ring.cluster.block(3, 2)
    ring.cluster.run(0.5)
    ring.wire.log.clear()
    ring.cluster.run(1.0)
    assert {seen.source for seen in ring.wire.log if seen.kind is Kind.BEACON} == {1, 2, 3}
    ring.cluster.heal()
    assert ring.cluster.run_until_settled({1, 2, 3}, 20 * CONFIG.merge_detect_s)
    ring.cluster.run(2 * CONFIG.merge_detect_s)
    ring.wire.log.clear()
    ring.cluster.run(1.0)
    assert {seen.source for seen in ring.wire.log if seen.kind is Kind.BEACON} == {1}


def test_processor_that_was_paused_reads_what_came_before_it_accuses_anybody(ring: Three) -> None:
    ring.cluster.run(0.05)
    ring.wire.log.clear()
    ring.cluster.pause(2, 0.5 * CONFIG.token_timeout_s)
    # The others' clocks do not matter here: all that was sent to it waits in its socket.
    ring.cluster.run(1.0)
    assert ring.cluster.settled({1, 2, 3})
    assert not [seen for seen in ring.wire.log if seen.kind is Kind.JOIN and seen.source == 2]


# Leaving (departure 13)


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


# Extended virtual synchrony


def test_transitional_configuration_stands_between_any_two_regular_ones(ring: Three) -> None:
    ring.cluster.partition({1}, {2, 3})
    assert ring.cluster.run_until(lambda: ring.cluster.settled({1}) and ring.cluster.settled({2, 3}))
    ring.cluster.heal()
    assert ring.cluster.run_until_settled({1, 2, 3})
    for node in (1, 2, 3):
        kinds = [entry[0] for entry in history(ring.cluster, node) if isinstance(entry, tuple)]
        assert kinds == (["R", "T"] * len(kinds))[: len(kinds)]
        assert kinds[-1] == "R"


def test_message_that_one_survivor_has_comes_to_all_in_the_old_configuration(ring: Three) -> None:
    ring.wire.lose = lambda seen: seen.kind is Kind.DATA and seen.source == 3 and seen.destination == 2
    payload = say(ring.cluster, 3, 1)
    assert ring.cluster.run_until(lambda: ring.cluster.messages(1) == [payload])
    ring.cluster.crash(3)
    ring.wire.lose = None
    assert ring.cluster.run_until_settled({1, 2})
    assert history(ring.cluster, 2)[-3:] == [payload, ("T", (1, 2)), ("R", (1, 2))]
    assert counted(ring.cluster, 2, "recovered") == 1
    carried = [packet for _, packet in ring.wire.packets() if packet.old_ring]
    assert {packet.sender for packet in carried} == {3}


def lost_before(ring: Three, lost_node: int, sender: int, guarantee: Guarantee = AGREED) -> tuple[bytes, bytes]:
    """A message that nobody but its sender ever has, and one of another sender that comes after it in the order."""
    lost = b"%d.1.1|lost" % lost_node
    ring.wire.lose = lambda seen: carries(seen, lost)
    assert ring.cluster.submit(lost_node, lost)
    assert ring.cluster.run_until(lambda: any(entry[0] == "SEND" for entry in audit(ring.cluster, lost_node, "SEND")))
    after = say(ring.cluster, sender, 2, guarantee)
    assert ring.cluster.run_until(lambda: any(carries(seen, after) for seen in ring.wire.log))
    ring.cluster.run(0.002)
    return lost, after


def test_message_behind_a_hole_is_delivered_if_its_sender_goes_on(ring: Three) -> None:
    _, after = lost_before(ring, 3, 1)
    ring.cluster.crash(3)
    assert ring.cluster.run_until_settled({1, 2})
    for node in (1, 2):
        assert history(ring.cluster, node)[-3:] == [("T", (1, 2)), after, ("R", (1, 2))]


def test_message_behind_a_hole_is_not_delivered_if_its_sender_is_gone(judged: list[Cluster]) -> None:
    """It may depend on what is in the hole."""
    ring = Three(judged, 1, 2, 3, 4)
    _, after = lost_before(ring, 4, 3)
    ring.cluster.crash(3, 4)
    assert ring.cluster.run_until_settled({1, 2})
    for node in (1, 2):
        assert history(ring.cluster, node)[-2:] == [("T", (1, 2)), ("R", (1, 2))]
        assert after not in ring.cluster.messages(node)


def test_processor_delivers_its_own_messages_even_alone(ring: Three) -> None:
    ring.cluster.partition({1, 2})
    own = [say(ring.cluster, 3, number, Guarantee(number % 2)) for number in range(3)]
    assert ring.cluster.run_until(lambda: bool(audit(ring.cluster, 3, "SEND")) or ring.cluster.state(3) == "gather")
    ring.cluster.heal()
    ring.cluster.partition({1, 2})
    assert ring.cluster.run_until_settled({3})
    assert ring.cluster.messages(3) == own
    assert ring.cluster.run_until_settled({1, 2})
    assert ring.cluster.messages(1) == []


def test_own_message_that_nobody_got_is_delivered_in_the_transitional_configuration_alone(ring: Three) -> None:
    ring.wire.lose = lambda seen: seen.kind is Kind.DATA and seen.source == 3
    own = say(ring.cluster, 3, 1, SAFE)
    assert ring.cluster.run_until(lambda: bool(audit(ring.cluster, 3, "SEND")))
    ring.cluster.partition({1, 2}, {3})
    assert ring.cluster.run_until_settled({3})
    assert history(ring.cluster, 3)[-3:] == [("T", (3,)), own, ("R", (3,))]


def test_safe_message_that_not_all_had_comes_in_the_transitional_configuration(ring: Three) -> None:
    deaf_to_data(ring.wire, 3)
    payload = say(ring.cluster, 1, 1, SAFE)
    ring.cluster.run(0.02)
    ring.cluster.crash(3)
    assert ring.cluster.run_until_settled({1, 2})
    for node in (1, 2):
        assert history(ring.cluster, node)[-3:] == [("T", (1, 2)), payload, ("R", (1, 2))]


def test_safe_message_that_one_delivered_comes_in_the_regular_configuration_of_all(ring: Three) -> None:
    """High delivered: who goes on with somebody that delivered it knows that every member had it."""
    payload = say(ring.cluster, 1, 1, SAFE)
    assert ring.cluster.run_until(lambda: any(ring.cluster.messages(node) for node in (1, 2, 3)))
    delivered = [node for node in (1, 2, 3) if ring.cluster.messages(node)]
    assert len(delivered) < 3
    ring.cluster.crash(next(node for node in (3, 2) if node not in delivered))
    left = {node for node in (1, 2, 3) if ring.cluster.alive(node)}
    assert ring.cluster.run_until_settled(left)
    members = tuple(sorted(left))
    for node in left:
        assert history(ring.cluster, node)[-3:] == [payload, ("T", members), ("R", members)]


def test_those_who_go_on_together_deliver_the_same(judged: list[Cluster]) -> None:
    ring = Three(judged, 1, 2, 3, 4, 5)
    count = 0

    def lose_some(seen: Seen) -> bool:
        nonlocal count
        count += 1
        return seen.kind is Kind.DATA and count * 7919 % 100 < 30

    ring.wire.lose = lose_some
    for number in range(30):
        for node in (1, 2, 3, 4, 5):
            say(ring.cluster, node, number, Guarantee(number % 2), size=600)
    ring.cluster.run(0.004)
    ring.cluster.partition({1, 2, 3}, {4, 5})
    assert ring.cluster.run_until(lambda: ring.cluster.settled({1, 2, 3}) and ring.cluster.settled({4, 5}), 20.0)
    for together in ((1, 2, 3), (4, 5)):
        cuts = []
        for node in together:
            told = history(ring.cluster, node)
            cuts.append(told[: told.index(("R", together))])
        payloads = [[entry for entry in cut if isinstance(entry, bytes)] for cut in cuts]
        assert all(mine == payloads[0] for mine in payloads)
        assert len({cut.index(("T", together)) - len(cut) for cut in cuts}) == 1


def test_newcomer_gets_no_message_of_before_its_configuration(ring: Three) -> None:
    for number in range(20):
        say(ring.cluster, 1 + number % 3, number, size=1000)
    ring.cluster.start(4)
    assert ring.cluster.run_until_settled({1, 2, 3, 4})
    assert not [event for event in ring.cluster.events(4) if isinstance(event, Message) and event.ring_id.sequence < 3]
    told = ring.cluster.events(4)
    place = next(i for i, event in enumerate(told) if isinstance(event, RegularConfiguration) and event.members != (4,))
    assert all(not isinstance(event, Message) for event in told[:place])


def test_promise_of_a_recovery_whose_end_was_not_seen_is_kept(judged: list[Cluster]) -> None:
    """1, 2, 3 and 4 as p, q, r and s of departure 6 in docs/protocol.md."""
    ring = Three(judged, 1, 2, 3, 4)
    _, safe = lost_before(ring, 4, 1, SAFE)
    ring.cluster.crash(4)
    ring.cluster.partition({1, 2}, {3})
    ring.cluster.pause(3, 60.0)
    lost: list[Seen] = []

    def lose_the_end(seen: Seen) -> bool:
        if seen.kind is not Kind.TOKEN or ring.cluster.configuration(1).members != (1, 2):
            return False
        assert read(seen.datagram).phase == Phase.INSTALLED
        lost.append(seen)
        return True

    ring.wire.lose = lose_the_end
    assert ring.cluster.run_until(lambda: ring.cluster.configuration(1).members == (1, 2))
    assert ring.cluster.state(2) == "recovery"
    ring.cluster.partition({1}, {2, 3})
    assert ring.cluster.run_until(lambda: ring.cluster.state(2) == "gather")
    assert lost
    ring.wire.lose = None
    ring.cluster.unpause(3)
    assert ring.cluster.run_until_settled({2, 3})
    assert history(ring.cluster, 1)[: history(ring.cluster, 1).index(("R", (1, 2)))][-2:] == [("T", (1, 2)), safe]
    for node in (2, 3):
        assert history(ring.cluster, node)[-3:] == [("T", (2, 3)), safe, ("R", (2, 3))]


def test_recovery_of_a_ring_fits_its_datagrams(judged: list[Cluster]) -> None:
    """Packets that are full travel inside packets of the new ring, and none is larger than a datagram."""
    ring = Three(judged)
    ring.wire.check = lambda datagram: datagram[1] != Kind.DATA or len(datagram) <= DATAGRAM_SIZE
    ring.wire.lose = lambda seen: seen.kind is Kind.DATA and seen.destination == 2
    sent = [say(ring.cluster, 1, number, size=3000) for number in range(5)]
    ring.cluster.run(0.02)
    ring.cluster.crash(3)
    ring.wire.lose = None
    ring.wire.log.clear()
    assert ring.cluster.run_until_settled({1, 2})
    assert ring.cluster.messages(2) == sent
    sizes = [len(seen.datagram) for seen, packet in ring.wire.packets() if packet.old_ring]
    assert max(sizes) == DATAGRAM_SIZE
    assert min(sizes) > CHUNK_SIZE


def test_barrier_completes_at_one_place_at_every_member(ring: Three) -> None:
    ring.cluster.start(4)
    assert ring.cluster.run_until_settled({1, 2, 3, 4})
    done = {
        next(event for event in reversed(ring.cluster.events(node)) if isinstance(event, RecoveryComplete))
        for node in (1, 2, 3, 4)
    }
    assert len(done) == 1
