"""Total order (Totem, section 4): the token, agreed and safe delivery, flow control, as seen on the wire."""

from __future__ import annotations

from itertools import pairwise

import pytest
from papers import AGREED, CONFIG, SAFE, Three, audit, carries, deaf_to_data, say
from rings import Seen, Wire, counted, history, read, throw

from ringproto._core.wire.regular import Kind, Token
from ringproto.testing.simulator.cluster import Cluster


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
    lost = ring.wire.lose_once(lambda seen: seen.kind is Kind.DATA and seen.destination == 3)
    payload = say(ring.cluster, 1, 1)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.messages(3) == [payload]
    seq = read(lost[0].datagram).seq
    asked = [token for _, token in ring.wire.tokens() if seq in token.requests]
    assert asked
    copies = [seen for seen, packet in ring.wire.packets() if packet.seq == seq and seen.destination == 3]
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
    lost = ring.wire.lose_once(lambda seen: seen.kind is Kind.TOKEN)
    payload = say(ring.cluster, 2, 1)
    assert ring.cluster.run_until_settled({1, 2, 3})
    assert ring.cluster.messages(3) == [payload]
    token_seq = read(lost[0].datagram).token_seq

    def copies() -> list[tuple[Seen, Token]]:
        return [(seen, token) for seen, token in ring.wire.tokens() if token.token_seq == token_seq]

    # The message may be everywhere before the token is missed.
    assert ring.cluster.run_until(lambda: bool(copies()), 1.0)
    again, token = copies()[0]
    assert token.copy == 1 and token.acknowledge > 0
    assert (again.source, again.destination) == (lost[0].source, lost[0].destination)
    assert counted(ring.cluster, again.source, "tokens_retransmitted") >= 1
    assert history(ring.cluster, 1).count(("R", (1, 2, 3))) == 1


def test_token_that_is_lost_again_and_again_is_tried_sooner_each_time(ring: Three) -> None:
    """On a link that loses most of what it carries, the tries within the token timeout are what keeps the ring."""
    ring.cluster.run(0.1)
    tries: list[float] = []

    def lose(seen: Seen) -> bool:
        if seen.kind is Kind.TOKEN and seen.destination == 3:
            tries.append(seen.time)
            return True
        return False

    ring.wire.lose = lose
    ring.cluster.run(0.9 * CONFIG.token_timeout_s)
    waits = [later - earlier for earlier, later in pairwise(tries)]
    assert waits[:3] == pytest.approx(
        [CONFIG.retransmit_s, CONFIG.retransmit_s / 2, CONFIG.token_retransmit_min_s], rel=0.1
    )
    least_s = CONFIG.token_retransmit_min_s / 4
    assert waits[3:5] == pytest.approx([2 * least_s, least_s], rel=0.1)
    assert waits[5:] == pytest.approx([least_s] * len(waits[5:]), rel=0.1)
    assert len(waits) > 30


def test_late_copy_of_a_token_is_dropped(ring: Three) -> None:
    say(ring.cluster, 1, 1)
    ring.cluster.run(0.1)
    tokens = [seen.datagram for seen in ring.wire.log if seen.kind is Kind.TOKEN and seen.destination == 2]
    accepted = len(audit(ring.cluster, 2, "TOKEN"))
    before = counted(ring.cluster, 2, "duplicate_tokens")
    sent = len(ring.wire.log)
    throw(ring.cluster, 2, *tokens[:-1])
    assert counted(ring.cluster, 2, "duplicate_tokens") == before + len(tokens) - 1
    assert len(audit(ring.cluster, 2, "TOKEN")) == accepted
    assert len(ring.wire.log) == sent


def test_accepted_tokens_rise_and_go_round_in_the_order_of_ids(ring: Three) -> None:
    for number in range(10):
        say(ring.cluster, 1 + number % 3, number)
    ring.cluster.run(0.5)
    hops = [(token.token_seq, seen.source, seen.destination) for seen, token in ring.wire.tokens()]
    assert [hop for hop, _, _ in hops] == list(range(hops[0][0], hops[0][0] + len(hops)))
    assert {(source, destination) for _, source, destination in hops} == {(1, 2), (2, 3), (3, 1)}


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


def until_at_rest(ring: Three, node: int) -> None:
    """Until the token of an idle ring has come to rest at a processor."""
    ring.cluster.run(0.2)
    ring.wire.log.clear()

    def rests_there() -> bool:
        tokens = [seen for seen in ring.wire.log[-20:] if seen.kind is Kind.TOKEN]
        return bool(tokens) and tokens[-1].destination == node and ring.cluster.now > tokens[-1].time + 0.003

    assert ring.cluster.run_until(rests_there, every_s=0.0001)
    ring.wire.log.clear()


def rests(ring: Three) -> set[tuple[int, bool]]:
    """Of a second of the wire, which processor let the token rest before it passed it on."""
    ring.wire.log.clear()
    ring.cluster.run(1.0)
    tokens = list(ring.wire.tokens())
    assert len(tokens) <= 3 * 1.0 / CONFIG.token_hold_s
    came = {seen.destination: seen.time for seen, _ in tokens[:3]}
    found = set()
    for seen, _ in tokens[3:]:
        found.add((seen.source, seen.time - came[seen.source] >= 0.9 * CONFIG.token_hold_s))
        came[seen.destination] = seen.time
    return found


@pytest.mark.parametrize("last", [1, 2, 3])
def test_token_of_an_idle_ring_rests_at_who_sent_last_alone(ring: Three, last: int) -> None:
    for node in (1, 2, 3):
        say(ring.cluster, node, 1)
    ring.cluster.run(0.2)
    say(ring.cluster, last, 2)
    ring.cluster.run(0.2)
    assert rests(ring) == {(node, node == last) for node in (1, 2, 3)}


def test_token_of_a_ring_on_which_nobody_has_sent_rests_at_the_representative(judged: list[Cluster]) -> None:
    cluster = Cluster(1, CONFIG, datagram_size=1400)
    judged.append(cluster)
    cluster.start(1, 2, 3)
    cluster.hold(1, 2, 3)  # so that nobody sends an unblock either
    cluster.run(1.0)
    ring = Three.__new__(Three)
    ring.cluster, ring.wire = cluster, Wire(cluster)
    assert all(cluster.configuration(node).members == (1, 2, 3) for node in (1, 2, 3))
    assert rests(ring) == {(node, node == 1) for node in (1, 2, 3)}


@pytest.mark.parametrize("last", [1, 2])
def test_beacon_of_an_idle_ring_goes_with_the_token(ring: Three, last: int) -> None:
    say(ring.cluster, last, 1)
    until_at_rest(ring, last)
    ring.cluster.run(1.0)
    beacons = {seen.time for seen in ring.wire.log if seen.kind is Kind.BEACON}
    assert beacons
    assert beacons <= {seen.time for seen, _ in ring.wire.tokens() if seen.source == 1}
    for earlier, later in pairwise(sorted(beacons)):
        assert CONFIG.merge_detect_s <= later - earlier <= CONFIG.merge_detect_s + 1.2 * CONFIG.token_hold_s


def test_beacon_does_not_wait_for_a_token_that_does_not_come(judged: list[Cluster]) -> None:
    ring = Three(judged, merge_detect_s=0.02)
    say(ring.cluster, 1, 1)
    until_at_rest(ring, 1)
    ring.wire.lose = lambda seen: seen.kind is Kind.TOKEN and seen.destination == 1
    ring.cluster.run(0.02 + 3 * CONFIG.token_hold_s)
    beacons = {seen.time for seen in ring.wire.log if seen.kind is Kind.BEACON and seen.source == 1}
    assert max(beacons) not in {seen.time for seen, _ in ring.wire.tokens()}


def test_resting_token_is_called_from_who_sent_last(ring: Three) -> None:
    say(ring.cluster, 2, 1)
    until_at_rest(ring, 2)
    payload = say(ring.cluster, 3, 2)
    began = ring.cluster.now
    assert ring.cluster.run_until(lambda: ring.cluster.messages(1)[-1:] == [payload])
    wakes = [seen for seen in ring.wire.log if seen.kind is Kind.WAKE]
    assert [(seen.source, seen.destination) for seen in wakes] == [(3, 2)]
    assert ring.cluster.now - began < 0.5 * CONFIG.token_hold_s


def test_who_sent_last_sends_again_without_waiting_for_the_token(judged: list[Cluster]) -> None:
    ring = Three(judged, token_hold_s=0.015)
    say(ring.cluster, 2, 1)
    until_at_rest(ring, 2)
    began = ring.cluster.now
    payload = say(ring.cluster, 2, 2)
    assert ring.cluster.run_until(lambda: ring.cluster.messages(2)[-1:] == [payload])
    assert ring.cluster.now == began
    ring.cluster.run(0.9 * CONFIG.keep_s)
    assert [packet.sender for _, packet in ring.wire.packets()] == [2, 2]  # one, to two others
    assert not list(ring.wire.tokens()) and not [seen for seen in ring.wire.log if seen.kind is Kind.WAKE]
    ring.cluster.run(CONFIG.keep_s)
    assert next(ring.wire.tokens())[0].source == 2


def test_token_is_kept_for_so_many_pieces_and_no_longer(ring: Three) -> None:
    say(ring.cluster, 2, 1)
    until_at_rest(ring, 2)
    for number in range(2, 12):
        say(ring.cluster, 2, number)
    ring.cluster.run(0.0)
    assert len(ring.cluster.messages(2)) == 1 + 8  # the others wait for the token to come round
    ring.cluster.run(0.2)
    assert len(ring.cluster.messages(1)) == 11


def test_who_alone_sends_keeps_the_token_and_the_others_call_it(ring: Three) -> None:
    """It does so between its visits too, not only when the ring was idle before."""
    for number in range(40):
        say(ring.cluster, 2, number)
        ring.cluster.run(0.7 * CONFIG.keep_s)
    ring.wire.log.clear()
    say(ring.cluster, 2, 40)
    ring.cluster.run(CONFIG.keep_s)
    payload = say(ring.cluster, 1, 1)
    began = ring.cluster.now
    assert ring.cluster.run_until(lambda: payload in ring.cluster.messages(3))
    assert ring.cluster.now - began < 0.01
    assert (1, 2) in [(seen.source, seen.destination) for seen in ring.wire.log if seen.kind is Kind.WAKE]


@pytest.mark.parametrize("who", [1, 2])
def test_token_is_not_kept_while_two_send(ring: Three, who: int) -> None:
    for number in range(60):
        say(ring.cluster, 1, number)
        say(ring.cluster, 2, number)
        ring.cluster.run(0.5 * CONFIG.keep_s)
        if number == 20:
            ring.wire.log.clear()
    came: dict[int, float] = {}
    for seen, _ in ring.wire.tokens():
        if seen.source == who:
            assert seen.time - came.get(who, seen.time) < 0.5 * CONFIG.keep_s
        came[seen.destination] = seen.time
    assert came


def test_token_is_not_kept_while_a_message_waits_to_become_safe(ring: Three) -> None:
    say(ring.cluster, 2, 1)
    until_at_rest(ring, 2)
    payload = say(ring.cluster, 2, 2, guarantee=SAFE)
    began = ring.cluster.now
    everywhere = (1, 2, 3)
    assert ring.cluster.run_until(lambda: all(ring.cluster.messages(node)[-1:] == [payload] for node in everywhere))
    first = next(ring.wire.tokens())[0]
    assert (first.source, first.time) == (2, began)
    for (earlier, _), (later, _) in zip(ring.wire.tokens(), list(ring.wire.tokens())[1:], strict=False):
        assert later.time - earlier.time < 0.5 * CONFIG.keep_s


def test_keeping_can_be_switched_off(judged: list[Cluster]) -> None:
    ring = Three(judged, token_keep_s=0.0)
    say(ring.cluster, 2, 1)
    until_at_rest(ring, 2)
    say(ring.cluster, 2, 2)
    first = next(ring.wire.tokens())[0]
    assert (first.source, first.time) == (2, ring.cluster.now)


def test_resting_token_goes_on_by_itself_when_the_call_is_lost(ring: Three) -> None:
    ring.cluster.run(0.2)
    ring.wire.lose = lambda seen: seen.kind is Kind.WAKE
    payload = say(ring.cluster, 3, 1)
    assert ring.cluster.run_until(lambda: ring.cluster.messages(2) == [payload])
    assert history(ring.cluster, 2).count(("R", (1, 2, 3))) == 1
