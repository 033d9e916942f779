"""Replicas on real rings in one process: partition and merge, crash and return, on virtual time.

The network is the in-memory one and the clock jumps ahead, so these are the demonstration's replicas without its
processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
import trio.testing

from ringproto import Config, Guarantee, Priority, open_ring
from ringproto.cli.demo.checks import Expected, check_all
from ringproto.cli.demo.feed import Feed
from ringproto.cli.demo.log import Note, ProcessLog, StreamDigest
from ringproto.cli.demo.records import Record, share
from ringproto.cli.demo.replica import Replica, take_audit
from ringproto.cli.demo.store import contents_hash_of_records
from ringproto.transports import LoopbackNetwork

NODES = (1, 2, 3)
RECORDS = [Record(b"key %d" % i, b"value %d" % i * 10) for i in range(600)]


class Member:
    """A replica with its ring, as the demonstration's worker has it."""

    def __init__(self, network: LoopbackNetwork, node: int, life: int, quorum: int, seconds: float) -> None:
        self.feed = Feed(node, life, share(RECORDS, node, NODES), seconds)
        self.replica = Replica(node, self.feed, len(NODES))
        self.life = ProcessLog(node, life)
        self.audit: list[tuple[Any, ...]] = []
        self.scope = trio.CancelScope()
        self._transport = network.open(node=node)
        self._config = Config.testing(quorum=quorum)

    async def run(self) -> None:
        with self.scope:
            async with (
                open_ring(self._transport, config=self._config, recover=self.replica.recover, audit=self.audit) as ring,
                trio.open_nursery() as tasks,
            ):
                for letter, priority in (("h", Priority.HIGH), ("l", Priority.LOW)):
                    tasks.start_soon(self.feed.run, letter, ring.sender(priority, Guarantee.AGREED).send)
                while True:
                    for event in await ring.events.receive_batch():
                        self.replica.handle(event)

    def close_log(self) -> ProcessLog:
        self.life.entries = self.replica.log
        digest = StreamDigest()
        take_audit(self.audit, digest)
        self.life.audited = [digest.state()]
        store = self.replica.store
        self.life.accepted = dict(self.feed.accepted)
        self.life.report = {
            "state_hash": store.state_hash(),
            "contents_hash": store.contents_hash(),
            "revision": store.revision,
            "entries": len(store.entries),
        }
        return self.life


async def until(done: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not done():
            await trio.sleep(0.01)


def together(members: list[Member], nodes: tuple[int, ...]) -> Callable[[], bool]:
    def check() -> bool:
        return all(
            m.replica.complete and m.replica.configuration is not None and m.replica.configuration.members == nodes
            for m in members
        )

    return check


def run_on_virtual_time(scenario: Callable[[], Any]) -> None:
    trio.run(scenario, clock=trio.testing.MockClock(autojump_threshold=0.0))


def verdicts(members: list[Member], quorum: int, victim: int = 0) -> dict[str, list[str]]:
    expected = Expected(NODES, quorum, victim, len(RECORDS), contents_hash_of_records(RECORDS))
    checks = check_all([member.close_log() for member in members], expected)
    return {c.name: c.violations for c in checks if not c.held and (victim or c.name != "story")}


def notes(member: Member, what: str) -> list[Note]:
    return [entry for entry in member.replica.log if isinstance(entry, Note) and entry.what == what]


def test_three_replicas_come_to_one_state() -> None:
    async def scenario() -> None:
        network = LoopbackNetwork(seed=3, latency_s=(0.0001, 0.001), loss=0.02)
        members = [Member(network, node, 0, 2, 0.5) for node in NODES]
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.run)
            await until(lambda: all(m.feed.finished and m.replica.store.revision == len(RECORDS) for m in members))
            assert verdicts(members, 2) == {}
            nursery.cancel_scope.cancel()

    run_on_virtual_time(scenario)


def test_a_returned_replica_is_sent_the_state_and_sends_the_rest_of_its_share() -> None:
    async def scenario() -> None:
        network = LoopbackNetwork(seed=4, latency_s=(0.0001, 0.001))
        members = [Member(network, node, 0, 2, 2.0) for node in NODES]
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.run)
            await until(lambda: min(m.replica.store.revision for m in members) > 150)
            victim = members[1]
            # A partition of one, and then nobody: to the others that is a crash.
            network.partition({1, 3}, {2})
            victim.scope.cancel()
            await until(together([members[0], members[2]], (1, 3)))
            before = members[0].replica.store.revision
            await until(lambda: members[0].replica.store.revision > before + 50)
            network.heal()
            returned = Member(network, 2, 1, 2, 1.0)
            nursery.start_soon(returned.run)
            now = [members[0], members[2], returned]
            await until(lambda: all(m.feed.finished and m.replica.store.revision == len(RECORDS) for m in now))
            victim.life.killed = True
            assert verdicts([*now, victim], 2, victim=2) == {}
            assert len(notes(returned, "state taken over")) == 1
            assert 0 < sum(returned.feed.accepted.values()) < len(RECORDS) // 3
            nursery.cancel_scope.cancel()

    run_on_virtual_time(scenario)


def test_halves_that_both_went_on_merge_into_one_state_that_lacks_nothing() -> None:
    """Without a quorum both parts go on. One history wins; the others' senders send again what it lacks."""

    async def scenario() -> None:
        network = LoopbackNetwork(seed=5, latency_s=(0.0001, 0.001))
        members = [Member(network, node, 0, 1, 3.0) for node in NODES]
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.run)
            await until(lambda: min(m.replica.store.revision for m in members) > 100)
            network.partition({1, 2}, {3})
            await until(together(members[:2], (1, 2)))
            await until(together(members[2:], (3,)))
            await trio.sleep(0.5)
            network.heal()
            await until(lambda: all(m.feed.finished and m.replica.store.revision == len(RECORDS) for m in members))
            assert sum(m.feed.sent_again for m in members) > 0
            assert sum(len(notes(m, "state taken over")) for m in members) > 0
            assert verdicts(members, 1) == {}
            nursery.cancel_scope.cancel()

    run_on_virtual_time(scenario)


def test_a_part_without_the_quorum_waits_and_then_takes_over_the_main_line() -> None:
    async def scenario() -> None:
        network = LoopbackNetwork(seed=6, latency_s=(0.0001, 0.001))
        members = [Member(network, node, 0, 2, 3.0) for node in NODES]
        async with trio.open_nursery() as nursery:
            for member in members:
                nursery.start_soon(member.run)
            await until(lambda: min(m.replica.store.revision for m in members) > 100)
            network.partition({1}, {2, 3})
            await until(together(members[1:], (2, 3)))
            await until(lambda: (c := members[0].replica.configuration) is not None and c.members == (1,))
            left_at = members[0].replica.store.revision
            await trio.sleep(0.5)
            assert members[0].replica.store.revision == left_at
            assert members[1].replica.store.revision > left_at
            network.heal()
            await until(lambda: all(m.feed.finished and m.replica.store.revision == len(RECORDS) for m in members))
            assert len(notes(members[0], "state taken over")) == 1
            assert verdicts(members, 2) == {}
            nursery.cancel_scope.cancel()

    run_on_virtual_time(scenario)


def test_a_change_in_the_middle_of_the_transfer_leaves_every_state_as_it_was() -> None:
    """The leader is cut off while its state is on its way; the newcomer must not keep a part of it."""

    async def scenario() -> None:
        # So slow a network that the state takes many rotations.
        network = LoopbackNetwork(seed=7, latency_s=0.004)
        members = [Member(network, node, 0, 2, 1.0) for node in NODES]
        async with trio.open_nursery() as nursery:
            for member in members[:1]:
                for record in RECORDS:
                    member.replica.store.put(record.key, record.value * 50)
                nursery.start_soon(member.run)
            for member in members[1:]:
                nursery.start_soon(member.run)
            newcomer = members[2].replica
            await until(lambda: newcomer.round is not None and newcomer.round.state_bytes > 0)
            assert not newcomer.complete and newcomer.store.revision == 0
            network.partition({1}, {2, 3})
            await until(together(members[1:], (2, 3)))
            assert newcomer.store.revision == 0 and not newcomer.store.entries
            network.heal()
            await until(together(members, NODES))
            assert {m.replica.store.entries.keys() >= members[0].replica.store.entries.keys() for m in members} == {
                True
            }
            nursery.cancel_scope.cancel()

    run_on_virtual_time(scenario)
