"""Partitions, merges, crashes and quorums, as the programs see them."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from service_cluster import Cluster, Program, numbered, trio_alone, until

from ringproto import Config, Guarantee, Message, Priority, Recovery, TransitionalConfiguration


async def test_partition_makes_two_rings_and_heal_makes_one(cluster: Cluster) -> None:
    first, second, third = await cluster.form(1, 2, 3)
    cluster.network.partition({1, 2}, {3})
    await cluster.settled(first, second)
    await cluster.settled(third)
    assert first.configurations[-1].left == (3,)
    assert third.configurations[-1].left == (1, 2)
    await first.ring.high.send(b"there|")
    await third.ring.high.send(b"here|")
    await cluster.delivered([b"there|"], first, second)
    await cluster.delivered([b"here|"], third)
    cluster.network.heal()
    await cluster.settled(first, second, third)
    assert first.transitionals[-1].members == second.transitionals[-1].members == (1, 2)
    assert third.transitionals[-1].members == (3,)
    assert first.configurations[-1].joined == (3,)
    assert third.configurations[-1].joined == (1, 2)
    assert b"here|" not in first.payloads and b"there|" not in third.payloads
    await third.ring.low.send(b"everywhere|")
    await cluster.delivered([b"everywhere|"], first, second, third)


async def test_partition_under_load_loses_nothing_that_was_accepted(cluster: Cluster) -> None:
    cluster.network.loss = 0.02
    programs = await cluster.form(1, 2, 3)
    payloads: list[bytes] = []
    over = False

    async def load(program: Program) -> None:
        number = 0
        while not over:
            priority = Priority.HIGH if number % 2 else Priority.LOW
            payload = f"{program.node}.{number}|".encode() + bytes(300 * (number % 8))
            await program.ring.sender(priority, Guarantee(number % 3 // 2)).send(payload)
            payloads.append(payload)
            number += 1
            await trio.sleep(0.004)

    async with trio.open_nursery() as nursery:
        for program in programs:
            nursery.start_soon(load, program)
        for groups in (({1, 2}, {3}), ({1}, {2, 3}), ({1}, {2}, {3}), ({1, 3}, {2})):
            await trio.sleep(0.2)
            cluster.network.partition(*groups)
            await trio.sleep(0.2)
            cluster.network.heal()
        over = True
    await cluster.settled(*programs)
    for program in programs:
        mine = [payload for payload in payloads if payload.startswith(b"%d." % program.node)]
        await cluster.delivered(mine, program)
        assert len(program.payloads) == len(set(program.payloads)), "nothing twice"
    await programs[0].ring.high.send(b"the end|")
    await cluster.delivered([b"the end|"], *programs)


async def test_what_follows_the_transitional_configuration_is_of_the_ring_that_ended(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2, 3)
    async with trio.open_nursery() as nursery:
        for program in programs:
            sender = program.ring.sender(Priority.HIGH, Guarantee.SAFE)
            nursery.start_soon(sender.send_batch, numbered(f"{program.node}", 100, 1000))
        await trio.sleep(0.01)
        cluster.network.partition({1}, {2, 3})
    await cluster.settled(programs[0])
    await cluster.settled(programs[1], programs[2])
    for program in programs:
        ended = None
        for event in program.events:
            if isinstance(event, TransitionalConfiguration):
                ended = event.ring_id
            elif isinstance(event, Message) and ended is not None:
                assert event.ring_id == ended
            else:
                ended = None


@trio_alone
async def test_crash_is_noticed_and_the_id_can_come_back(cluster: Cluster) -> None:
    first, second, third = await cluster.form(1, 2, 3)
    third.crash()
    await cluster.settled(first, second)
    # One of them may hear from the other that the ring is broken before it misses the token itself.
    assert sum(program.ring.statistics().get("token_losses", 0) for program in (first, second)) >= 1
    again = cluster.start(3)
    await cluster.settled(first, second, again)
    assert first.configurations[-1].joined == (3,)
    assert again.transitionals[-1].members == (3,)


async def test_restart_that_is_faster_than_the_timeout_is_a_new_processor(cluster: Cluster) -> None:
    first, second, third = await cluster.form(1, 2, 3)
    await first.ring.high.send(b"before|")
    await cluster.delivered([b"before|"], first, second, third)
    third.crash()
    again = cluster.start(3)
    await cluster.settled(first, second, again)
    assert again.payloads == [], "it begins empty"
    assert again.transitionals[-1].members == (3,)
    assert first.transitionals[-1].members == (1, 2), "it did not come with the state of the dead one"


async def test_accepted_messages_survive_a_partition_in_the_queue(cluster: Cluster) -> None:
    config = Config.testing(quorum=2)
    cluster.quorum = 2
    first, second, third = await cluster.form(1, 2, 3, config=config)
    cluster.network.partition({1}, {2, 3})
    await until(lambda: first.ring.configuration.members == (1,), "it is alone")
    await cluster.settled(second, third)
    payloads = numbered("minority", 100)
    with trio.fail_after(1):
        await first.ring.high.send_batch(payloads)
    await second.ring.high.send(b"majority|")
    await cluster.delivered([b"majority|"], second, third)
    await trio.sleep(1.0)
    assert first.messages == []
    assert not first.configurations[-1].primary
    assert second.configurations[-1].primary
    cluster.network.heal()
    await cluster.settled(first, second, third)
    await cluster.delivered(payloads, first, second, third)
    assert first.payloads == payloads


async def test_ring_without_quorum_recovers_but_never_completes(cluster: Cluster) -> None:
    cluster.quorum = 2
    calls = 0

    async def recover(recovery: Recovery) -> None:
        nonlocal calls
        calls += 1
        await recovery.send(f"state.{calls}|".encode())

    alone = cluster.start(1, config=Config.testing(quorum=2), recover=recover)
    await until(lambda: bool(alone.messages), "its recovery message came")
    await trio.sleep(2.0)
    assert {message.priority for message in alone.messages} == {Priority.RECOVERY}
    assert alone.completions == []
    assert alone.ring.waiting_for == frozenset(), "it has unblocked, and that is not enough"
    assert not alone.ring.configuration.primary
    second = cluster.start(2, config=Config.testing(quorum=2))
    await cluster.settled(alone, second)
    assert alone.ring.configuration.primary


async def test_two_halves_never_both_go_on_with_a_quorum_of_more_than_half(cluster: Cluster) -> None:
    cluster.quorum = 3
    programs = await cluster.form(1, 2, 3, 4, config=Config.testing(quorum=3))
    cluster.network.partition({1, 2}, {3, 4})
    await until(lambda: all(len(p.ring.configuration.members) == 2 for p in programs), "they are apart")
    for program in programs:
        await program.ring.high.send(f"{program.node}|".encode())
    await trio.sleep(3.0)
    assert all(program.messages == [] for program in programs)
    cluster.network.heal()
    await cluster.settled(*programs)
    await cluster.delivered([b"1|", b"2|", b"3|", b"4|"], *programs)


@trio_alone
async def test_one_way_cut_does_not_make_memberships_flap(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2, 3)
    cluster.network.cut(1, 2)
    await trio.sleep(10.0)
    changes = [len(program.configurations) for program in programs]
    assert max(changes) < 40, f"configurations installed within ten seconds: {changes}"
    cluster.network.mend(1, 2)
    await cluster.settled(*programs, within_s=60)


LIVELY_S = 20 * (Config.testing().token_timeout_s + Config.testing().consensus_timeout_s)
"""Rule B15: so long after the last fault everybody who is connected is together."""


@pytest.mark.parametrize("how", ["leaves", "crashes"])
async def test_processor_that_comes_and_goes_is_let_in_every_time(cluster: Cluster, how: str) -> None:
    """A rolling restart is no bad link: nobody has to wait outside because of it."""
    steady = cluster.start(9)
    await cluster.settled(steady)
    for _ in range(8):
        guest = cluster.start(1)
        await cluster.settled(steady, guest, within_s=LIVELY_S)
        if how == "leaves":
            await guest.stop()
        else:
            guest.crash()
    await until(lambda: steady.ring.configuration.members == (9,), "it is alone again")
    last = cluster.start(1)
    await cluster.settled(steady, last, within_s=LIVELY_S)


@trio_alone
@pytest.mark.parametrize("cut_s", [0.5, 2.0, 5.0])
@pytest.mark.parametrize(
    "cuts", [((1, 2),), ((2, 1),), ((1, 2), (2, 1)), ((1, 2), (2, 3), (3, 1)), ((1, 2), (1, 3))], ids=str
)
async def test_ring_is_whole_again_in_time_when_bad_links_are_mended(
    cluster: Cluster, cuts: tuple[tuple[int, int], ...], cut_s: float
) -> None:
    programs = await cluster.form(1, 2, 3)
    for source, destination in cuts:
        cluster.network.cut(source, destination)
    await trio.sleep(cut_s)
    cluster.network.heal()
    await cluster.settled(*programs, within_s=LIVELY_S)


@trio_alone
async def test_two_that_parted_again_and_again_meet_in_time(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    for turn in range(10):
        cluster.network.partition({1}, {2})
        await trio.sleep(0.05 + 0.07 * turn)
        cluster.network.heal()
        await trio.sleep(0.02 + 0.05 * turn)
    await cluster.settled(first, second, within_s=LIVELY_S)


@pytest.mark.parametrize("latency_s", [(0.0001, 0.001), (0.001, 0.004)])
def test_whole_story_can_be_repeated(latency_s: tuple[float, float]) -> None:
    """The same seeds on the same network give the same stream, whatever order trio runs its tasks in.

    Each story begins with its own clock at 0, as each test of a user does: at another time the sums of deadlines are
    rounded in another way, and two that are due at one moment may change places.
    """
    stories = [trio.run(_story, latency_s, clock=trio.testing.MockClock(autojump_threshold=0)) for _ in range(3)]
    assert stories[0] == stories[1] == stories[2]


async def _story(latency_s: tuple[float, float]) -> list[object]:
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        cluster = Cluster(nursery, "trio")
        cluster.network.latency_s = latency_s
        cluster.network.loss = 0.01
        programs = await cluster.form(1, 2, 3)
        await programs[0].ring.high.send_batch(numbered("story", 20))
        await cluster.delivered(numbered("story", 20), *programs)
        cluster.network.partition({1}, {2, 3})
        await until(lambda: programs[0].ring.configuration.members == (1,), "apart")
        cluster.network.heal()
        await cluster.settled(*programs)
        stories: list[object] = [program.events for program in programs]
        await cluster.close()
    assert trio.current_time() > began
    return stories
