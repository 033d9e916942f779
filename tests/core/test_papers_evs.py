"""Extended virtual synchrony: what is delivered in which configuration, and to whom."""

from __future__ import annotations

from papers import AGREED, SAFE, Three, audit, carries, deaf_to_data, say
from rings import DATAGRAM_SIZE, Seen, counted, history, read

from ringproto._core.wire.regular import CHUNK_SIZE, Kind, Phase
from ringproto.events import Message, RecoveryComplete, RegularConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import Guarantee


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
