"""Programs find each other and are one ring: what each sees of it, in which order, and through which names."""

from __future__ import annotations

import pytest
import trio
from service_cluster import Cluster, until

import ringproto
from ringproto import (
    Config,
    RecoveryComplete,
    RegularConfiguration,
    RingId,
    TransitionalConfiguration,
    open_ring,
)
from ringproto.transports import LoopbackNetwork


async def test_three_programs_form_one_ring(cluster: Cluster) -> None:
    programs = await cluster.form(3, 1, 2)
    configuration = programs[0].ring.configuration
    assert configuration.members == (1, 2, 3)
    assert configuration.primary
    for program in programs:
        assert program.ring.node == program.node
        assert program.ring.configuration.ring_id == configuration.ring_id
        assert program.ring.configuration.members == (1, 2, 3)
        assert program.ring.waiting_for == frozenset()


async def test_program_alone_is_a_ring_of_one(cluster: Cluster) -> None:
    (alone,) = await cluster.form(7)
    assert alone.events[0] == alone.configurations[0]
    assert alone.configurations[0].members == (7,)
    assert alone.configurations[0].joined == (7,)
    await alone.ring.high.send(b"to myself|")
    await cluster.delivered([b"to myself|"], alone)
    assert alone.messages[0].sender == 7


async def test_stream_begins_with_the_singleton_configuration_and_its_end(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    for program in (first, second):
        kinds = [type(event) for event in program.events]
        assert kinds[0] is RegularConfiguration
        assert program.configurations[0].members == (program.node,)
        assert program.configurations[0].left == ()
        (transitional,) = program.transitionals
        assert transitional == TransitionalConfiguration(program.configurations[0].ring_id, (program.node,))
        assert kinds[-3:] == [TransitionalConfiguration, RegularConfiguration, RecoveryComplete]
        other = 3 - program.node
        last = program.configurations[-1]
        assert (last.members, last.joined, last.left) == ((1, 2), (other,), ())


async def test_completion_is_the_same_event_at_every_member(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2, 3)
    assert len({program.completions[-1] for program in programs}) == 1
    completion = programs[0].completions[-1]
    assert completion.ring_id == programs[0].configurations[-1].ring_id
    assert completion.members == (1, 2, 3)
    assert completion.seq == 3, "three unblocks, and nothing before them"


async def test_latecomer_is_let_in_and_named_in_joined(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    third = cluster.start(3)
    await cluster.settled(first, second, third)
    for program in (first, second):
        assert program.configurations[-1].joined == (3,)
        assert program.transitionals[-1].members == (1, 2)
    assert third.configurations[-1].joined == (1, 2)
    assert third.transitionals[-1].members == (3,)


async def test_ring_forms_on_the_network_of_the_documentation(cluster: Cluster) -> None:
    cluster.network = cluster.new_network(seed=7, latency_s=(0.0001, 0.001), loss=0.02, duplication=0.01)
    programs = await cluster.form(1, 2, 3)
    for number in range(50):
        await programs[number % 3].ring.high.send(b"%d|" % number)
    await cluster.delivered([b"%d|" % number for number in range(50)], *programs)


async def test_ring_forms_on_a_network_without_latency(cluster: Cluster) -> None:
    cluster.network = cluster.new_network()
    programs = await cluster.form(1, 2, 3)
    await programs[0].ring.high.send(b"at once|")
    await cluster.delivered([b"at once|"], *programs)


async def test_ring_ids_rise_and_survive_a_restart_that_gives_the_stored_sequence(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    stored = second.ring.ring_sequence
    assert stored >= second.ring.configuration.ring_id.sequence
    await second.stop()
    again = cluster.start(2, ring_sequence=stored)
    await cluster.settled(first, again)
    assert again.configurations[0].ring_id.sequence > stored
    for program in (first, second, again):
        ids = [configuration.ring_id for configuration in program.configurations]
        assert ids == sorted(set(ids))


async def test_configuration_before_the_first_event_is_the_singleton() -> None:
    network = LoopbackNetwork()
    async with open_ring(network.open(5), config=Config.testing()) as ring:
        assert ring.configuration.members == (5,)
        assert ring.configuration == await ring.events.receive()
        assert ring.waiting_for <= {5}


async def test_default_configuration_is_that_of_a_lan() -> None:
    network = LoopbackNetwork(latency_s=0.0001)
    async with open_ring(network.open(1)) as first, open_ring(network.open(2)) as second:
        await until(lambda: first.configuration.members == second.configuration.members == (1, 2), "they meet")
        await until(lambda: not first.waiting_for and not second.waiting_for, "both unblock")


async def test_ring_has_the_names_of_the_issue(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    ring = program.ring
    for sender in (ring.high, ring.low, ring.sender(ringproto.Priority.HIGH, ringproto.Guarantee.SAFE)):
        assert isinstance(sender, trio.abc.SendChannel)
        assert callable(sender.send_nowait)
        assert callable(sender.send_batch)
    assert isinstance(ring.events, trio.abc.ReceiveChannel)
    assert callable(ring.events.receive_batch)
    assert isinstance(ring.recovery_complete, trio.abc.ReceiveChannel)
    assert isinstance(ring.waiting_for, frozenset)
    assert isinstance(ring.configuration.ring_id, RingId)
    assert ring.configuration._fields == ("ring_id", "members", "joined", "left", "primary")
    assert ringproto.TransitionalConfiguration._fields == ("ring_id", "members")
    assert ringproto.RecoveryComplete._fields == ("ring_id", "seq", "members")
    assert ringproto.Message._fields == ("payload", "sender", "priority", "guarantee", "ring_id", "seq")
    assert "1" in repr(ring)


async def test_other_clusters_on_the_same_network_are_ignored(cluster: Cluster) -> None:
    ours = await cluster.form(1, 2)
    theirs = [cluster.start(node, config=Config.testing(cluster="another")) for node in (3, 4)]
    await cluster.settled(*theirs)
    await trio.sleep(2.0)
    await cluster.settled(*ours)
    assert all(len(program.configurations) == 2 for program in ours + theirs), "nobody reformed because of the others"


async def test_two_rings_nested_in_one_program() -> None:
    inside, outside = LoopbackNetwork(latency_s=0.0001), LoopbackNetwork(latency_s=0.0001)
    config = Config.testing()
    async with (
        open_ring(outside.open(1), config=config.replace(cluster="outside")) as outer,
        open_ring(inside.open(1), config=config.replace(cluster="inside")) as inner,
        open_ring(outside.open(2), config=config.replace(cluster="outside")) as outer_peer,
        open_ring(inside.open(2), config=config.replace(cluster="inside")) as inner_peer,
    ):
        await until(lambda: all(r.configuration.members == (1, 2) for r in (outer, inner, outer_peer, inner_peer)), "")
        await outer.high.send(b"out")
        await inner.high.send(b"in")
        for ring, payload in ((outer_peer, b"out"), (inner_peer, b"in"), (outer, b"out"), (inner, b"in")):
            async for event in ring.events:
                if isinstance(event, ringproto.Message):
                    assert event.payload == payload
                    break


@pytest.mark.parametrize("count", [8])
async def test_programs_that_start_together_form_one_ring(cluster: Cluster, count: int) -> None:
    programs = await cluster.form(*range(1, count + 1))
    assert programs[0].configurations[-1].members == tuple(range(1, count + 1))
