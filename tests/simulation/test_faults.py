"""The classes of faults: each does what its name says, and a ring that suffers it keeps every rule."""

from __future__ import annotations

import random

import pytest

from ringproto._core import Processor
from ringproto.config import Config
from ringproto.testing.campaign import repeated_faults
from ringproto.testing.campaign.foreign_processors import KINDS, Strangers
from ringproto.testing.campaign.random_faults import CONDITIONS, DISTURBANCES, WEATHERS, Faults
from ringproto.testing.campaign.repeated_faults import Repeats
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.forgery import forge
from ringproto.testing.simulator.network import Weather
from ringproto.testing.simulator.observer import Watch
from ringproto.testing.simulator.system_calls import SystemCalls
from ringproto.testing.simulator.wire_reader import intact, kind_of
from ringproto.types import Priority

UNIT_S = Config.testing().token_timeout_s + Config.testing().consensus_timeout_s


@pytest.mark.parametrize("name", [*WEATHERS, *DISTURBANCES, *CONDITIONS, *repeated_faults.KINDS])
def test_a_ring_suffers_each_class_alone_and_forms_again(name):
    cluster = Cluster(5, Config.testing(), watch=Watch())
    nodes = (1, 2, 3)
    cluster.start(*nodes, habits=Habits(recovery_messages_max=5))
    faults = Faults(cluster, nodes, (name, "crash") if name in CONDITIONS else (name,), light=True)
    faults.begin()
    for _ in range(40):
        cluster.run(UNIT_S / 2)
        for node in nodes:
            if cluster.alive(node) and not cluster.processor(node).leaving:
                cluster.submit(node, cluster.application(node).payload(20), Priority.HIGH)
    faults.end()
    cluster.network.heal()
    cluster.network.calm(nodes)
    assert cluster.watch is not None
    assert name in faults.happened
    if name in DISTURBANCES:
        assert cluster.watch.happened["disturbance: " + name] > 0
    if name in repeated_faults.KINDS:
        assert cluster.watch.happened["disturbance: " + name] > 3
    for node in nodes:
        cluster.unpause(node)
        cluster.stop_reading(node, 0.0)
        if node in faults.leaving:
            cluster.crash(node)
        faults.restart(node)
    assert cluster.run_until_settled(nodes, 20 * UNIT_S)
    assert cluster.judge(nodes) == []


# Again and again


def suffer(kind: str, seconds: float) -> tuple[Cluster, int]:
    """A ring of four, one of whom suffers one thing again and again; and who that is."""
    cluster = Cluster(5, Config.lan())
    nodes = (1, 2, 3, 4)
    cluster.start(*nodes)
    assert cluster.run_until_settled(nodes)
    faults = Faults(cluster, nodes, (), light=True)
    Repeats(faults, kind, 3).begin()
    cluster.run(seconds)
    faults.end()
    return cluster, 3


def test_restarts_come_to_one_processor_again_and_again():
    cluster, victim = suffer("restarts", 60.0)
    lives = {node: host.lives for node, host in cluster.hosts.items()}
    assert lives.pop(victim) > 3
    assert set(lives.values()) == {1}


def test_stalls_come_to_one_processor_again_and_again(monkeypatch):
    paused: list[int] = []
    monkeypatch.setattr(Cluster, "pause", lambda cluster, node, seconds: paused.append(node))
    _, victim = suffer("stalls", 60.0)
    assert set(paused) == {victim}
    assert len(paused) > 3


def test_cuts_come_to_all_links_of_one_processor_and_are_mended():
    seen: set[frozenset[tuple[int, int]]] = set()
    cluster, victim = Cluster(6, Config.lan()), 2
    cluster.start(1, 2, 3)
    faults = Faults(cluster, (1, 2, 3), (), light=True)
    Repeats(faults, "cuts", victim).begin()
    for _ in range(600):
        cluster.run(0.1)
        seen.add(frozenset((link.source, link.destination) for link in cluster.network.links() if link.blocked))
    assert seen == {frozenset(), frozenset({(1, 2), (3, 2), (2, 1), (2, 3)})}


# Forged datagrams


def recorded() -> list[bytes]:
    """Datagrams of every kind, as a ring with a history sends them."""
    cluster = Cluster(2)
    kept: list[bytes] = []

    def keep(time: float, source: int, destination: int, datagram: bytes) -> bool:
        kept.append(datagram)
        return kind_of(datagram) != "token" or len(kept) % 50 != 0

    cluster.filter = keep
    cluster.start(1, 2, 3)
    cluster.start(9, config=cluster.config.replace(message_size_max=1000))
    for turn in range(60):
        cluster.submit(1 + turn % 3, b"%d.1.%d|%s" % (1 + turn % 3, turn, b"x" * (turn % 7) * 400))
        cluster.run(0.01)
    cluster.crash(3)
    cluster.run(1.0)
    cluster.leave(2)
    cluster.run(1.0)
    return kept


def test_every_kind_of_datagram_is_forged_and_every_forged_one_is_refused():
    kept = recorded()
    by_kind: dict[str, list[bytes]] = {}
    for datagram in kept:
        by_kind.setdefault(kind_of(datagram), []).append(datagram)
    assert set(by_kind) == {"data", "token", "join", "commit", "beacon", "wake", "leave", "refuse"} | {
        "acknowledgement",
        "challenge",
        "response",
    }
    draw = random.Random(11)
    ring = Cluster(3)
    ring.start(1, 2, 3)
    assert ring.run_until_settled({1, 2, 3})
    victim = ring.processor(2)
    now = ring.hosts[2].local_now()
    reasons: set[str] = set()
    for kind, datagrams in sorted(by_kind.items()):
        for _ in range(400):
            forged = forge(draw, draw.choice(datagrams), 2)
            before = victim.statistics()
            state, configuration, timeout = victim.state, victim.configuration, victim.next_timeout
            victim.turn([forged], now)
            after = victim.statistics()
            changed = {name for name, value in after.items() if value != before.get(name, 0)}
            dropped = {name for name in changed if name.startswith("dropped_") or name == "ignored"}
            assert dropped, (kind, forged.hex())
            assert changed <= dropped | {"refusals_sent", "challenges_sent"}
            assert (victim.state, victim.configuration, victim.next_timeout) == (state, configuration, timeout)
            reasons |= dropped
    assert {"dropped_" + reason for reason in ("version", "suite", "type", "flags", "sender", "range")} <= reasons
    assert {"dropped_own_id", "dropped_chunk", "dropped_length", "dropped_too_short"} <= reasons
    assert "dropped_checksum" not in reasons


def test_a_forged_token_of_the_present_ring_is_implausible():
    cluster = Cluster(4)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    draw = random.Random(1)
    tokens = []

    def forge_along(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if kind_of(datagram) == "token":
            tokens.append(datagram)
            for _ in range(3):
                host = cluster.hosts[destination]
                host._arrive(source, forge(draw, datagram, destination))
        return True

    before = cluster.configuration(1)
    cluster.filter = forge_along
    cluster.submit(1, b"1.1.1|")
    cluster.run(0.5)
    assert len(tokens) > 10
    assert cluster.configuration(1) == before
    assert sum(cluster.processor(node).statistics().get("dropped_implausible", 0) for node in (1, 2, 3)) > 0


def test_weather_with_forgery_adds_datagrams_with_right_checksums_and_takes_none_away():
    cluster = Cluster(6)
    cluster.start(1, 2)
    cluster.network.weather = Weather(forgery=1.0)
    cluster.run(1.0)
    assert cluster.settled({1, 2})
    statistics = cluster.processor(1).statistics()
    assert statistics.get("dropped_checksum", 0) == 0
    assert sum(count for name, count in statistics.items() if name.startswith("dropped_")) > 50


# System calls


def test_refused_sends_are_lost_and_nothing_else_is():
    calls = SystemCalls(refused=0.5)
    transmits = [(0, b"%d" % number) for number in range(1000)]
    taken = calls.sent(random.Random(1), transmits)
    assert 400 < len(taken) < 600
    assert taken == [transmit for transmit in transmits if transmit in set(taken)]
    assert SystemCalls().sent(random.Random(1), transmits) == transmits


def test_a_batch_that_is_cut_short_loses_its_end():
    calls = SystemCalls(cut_short=1.0)
    transmits = [(0, b"%d" % number) for number in range(10)]
    for _ in range(50):
        taken = calls.sent(random.Random(1), transmits)
        assert len(taken) < 10
        assert taken == transmits[: len(taken)]


def test_an_interface_that_goes_down_and_up_costs_two_configurations():
    cluster = Cluster(7)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    cluster.disturb_system_calls(3, SystemCalls(down=True))
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.settled({3}), 3.0)
    cluster.disturb_system_calls(3, None)
    assert cluster.run_until_settled({1, 2, 3}, 3.0)
    assert cluster.judge({1, 2, 3}) == []


def test_two_processors_of_another_version_form_a_ring_of_their_own():
    cluster = Cluster(8)
    cluster.start(1, 2)
    cluster.start(3, 4, system_calls=SystemCalls(version=2))
    assert cluster.run_until(lambda: cluster.settled({1, 2}) and cluster.settled({3, 4}), 3.0)
    cluster.run(1.0)
    assert cluster.settled({1, 2}) and cluster.settled({3, 4})
    assert cluster.processor(1).statistics()["dropped_version"] > 0
    assert cluster.processor(3).statistics()["dropped_version"] > 0


# Strangers


def test_strangers_with_other_limits_start_whatever_the_limits_are():
    for seed in range(20):  # which limit is another one is drawn
        cluster = Cluster(seed, Config.testing(quorum=3, members_max=3))
        strangers = Strangers(cluster, ("other limits",))
        strangers.start(Habits())
        assert all(cluster.alive(node) for node in strangers.nodes)


@pytest.mark.parametrize("kind", KINDS)
def test_strangers_disturb_nobody(kind):
    cluster = Cluster(9)
    cluster.start(1, 2, 3)
    assert cluster.run_until_settled({1, 2, 3})
    before = cluster.configuration(1)
    strangers = Strangers(cluster, (kind,))
    strangers.start(Habits())
    cluster.run(2.0)
    assert cluster.configuration(1) == before
    assert strangers.judge((1, 2, 3)) == []
    assert cluster.judge({1, 2, 3}) == []
    gone = [node for node in strangers.nodes if not cluster.alive(node)]
    assert gone == (list(strangers.nodes) if kind == "other limits" else [])


def test_processors_with_other_timeouts_belong_and_those_with_other_limits_do_not():
    cluster = Cluster(16)
    cluster.start(1, 2)
    cluster.start(3, config=cluster.config.replace(token_hold_s=0.001, retransmits_max=1))
    cluster.start(4, config=cluster.config.replace(window_size=16))
    assert cluster.run_until_settled({1, 2, 3})
    assert [cluster.belongs(node) for node in (1, 2, 3, 4)] == [True, True, True, False]
    cluster.submit(3, b"3.1.1|")
    assert cluster.run_until_settled({1, 2, 3})
    assert cluster.judge({1, 2, 3}) == []


def test_a_stranger_that_is_half_joined_is_found():
    cluster = Cluster(10)
    cluster.start(1, 2, *KINDS["another cluster"])  # with the same configuration as the others: they will join
    strangers = Strangers(cluster, ("another cluster",))
    assert cluster.run_until_settled({1, 2, *strangers.nodes})
    found = strangers.judge((1, 2))
    assert {violation.rule for violation in found} == {"mixed"}
    assert {violation.node for violation in found} == {1, 2, *strangers.nodes}


# Applications and storage


def test_a_recover_that_raises_makes_the_processor_leave_and_the_others_go_on():
    cluster = Cluster(11)
    cluster.start(1, 2)
    assert cluster.run_until_settled({1, 2})
    cluster.start(3, habits=Habits(raises=1.0))
    assert cluster.run_until(lambda: not cluster.alive(3), 3.0)
    assert cluster.run_until_settled({1, 2}, 3.0)
    assert cluster.hosts[3].finished[-1][-1] == ("STOP", "clean")


def test_a_flood_of_recovery_messages_comes_through_before_the_completion():
    cluster = Cluster(12)
    cluster.start(1, 2, habits=Habits(flood=3000))
    assert cluster.run_until_settled({1, 2}, 20.0)
    tags = [entry[0] for entry in cluster.hosts[1].audit]
    assert tags.count("DELV") == 6000
    assert tags[-1 - tags[::-1].index("DONE") :].count("DELV") == 0
    assert cluster.judge({1, 2}) == []


def test_an_application_answers_while_it_reads_and_answers_are_not_answered():
    cluster = Cluster(13)
    cluster.start(1, 2, 3, habits=Habits(replies=1.0))
    assert cluster.run_until_settled({1, 2, 3})
    cluster.submit(1, b"1.1.900|")
    assert cluster.run_until(lambda: len(cluster.messages(1)) == 3, 3.0)
    cluster.run(0.5)
    assert len(cluster.messages(1)) == 3
    assert cluster.judge({1, 2, 3}) == []


def test_torn_storage_is_made_of_bytes_that_are_kept_and_bytes_that_are_stale():
    seen = set()
    for seed in range(40):
        cluster = Cluster(seed)
        cluster.start(1, ring_sequence=0x1FFFE)
        cluster.run(1.0)
        for _ in range(3):
            cluster.restart(1)
            cluster.run(1.0)
        host = cluster.hosts[1]
        host.stored_sequence, host.sequence_at_start = 0x20003, 0x1FFFE
        host.crash()
        host.stored_sequence, host.sequence_at_start = 0x20003, 0x1FFFE
        cluster.restart(1, "torn")
        seen.add(host.sequence_at_start)
    assert seen <= {0x1FFFE, 0x1FF03, 0x100FE, 0x10003, 0x2FFFE, 0x2FF03, 0x200FE, 0x20003}
    assert len(seen) > 4


def test_what_was_stopped_on_a_clogged_link_may_come_out_in_another_order():
    cluster = Cluster(14)
    cluster.start(1, 2)
    arrived: list[bytes] = []
    link = cluster.network.link(1, 2)
    cluster.hosts[2].crash()
    link.arrive = lambda source, datagram: arrived.append(datagram)
    link.clogged_until, link.unclogs_s = cluster.now + 1.0, 0.5
    sent = [b"\1\1%d" % number for number in range(50)]
    for datagram in sent:
        cluster.network.send(1, 2, datagram)
    cluster.run(0.99)
    assert [datagram for datagram in arrived if datagram in sent] == []
    cluster.run(1.0)
    came = [datagram for datagram in arrived if datagram in sent]
    assert came != sent
    assert sorted(came) == sorted(sent)


def test_intact_knows_damage_and_forgery():
    good = recorded()[0]
    assert intact(good)
    assert not intact(good[:-1])
    assert not intact(bytes([good[0]]) + bytes([good[1] ^ 1]) + good[2:])


def test_a_processor_is_what_the_watch_sees():
    """The watch asks the face of the core alone."""
    cluster = Cluster(15, watch=Watch())
    cluster.start(1)
    assert isinstance(cluster.processor(1), Processor)
    assert cluster.watch is not None
    cluster.run(0.5)
    cluster.watch.finish(cluster.hosts)
    assert cluster.watch.lives[0].statistics["configurations"] == 1
    assert cluster.watch.happened["gather to operational"] == 1


def test_a_class_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no class of faults 'restart storm'; those that there are: .*storm"):
        Faults(Cluster(1), (1, 2), ("loss", "restart storm"), light=False)
