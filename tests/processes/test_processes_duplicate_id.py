"""Two living processes with one node id, each on a host of its own, as after a machine was cloned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from namespaces import Hosts, hosts_on_a_bridge, missing
from process_ring import Process, multicast_between_hosts, open_processes

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

Wire = Callable[[int], dict[str, Any]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with hosts_on_a_bridge(4) as made:
        yield made


class Places:
    """Where processes run: node 3 on host 3, and its clone on host 4."""

    def __init__(self, hosts: Hosts, wire: Wire, driver: str) -> None:
        self.hosts = hosts
        self.cloned = False
        self._wire = wire
        self._driver = driver

    def host(self, node: int) -> str:
        return self.hosts[self.number(node)]

    def number(self, node: int) -> int:
        return 4 if self.cloned and node == 3 else node

    def wire(self, node: int) -> dict[str, Any]:
        return {**self._wire(node), "driver": self._driver}


def text_of(one: Process) -> str:
    """All that it wrote to standard error."""
    return one.log.with_suffix(".stderr").read_text()


@pytest.mark.parametrize("loaded", [True, False], ids=["loaded", "idle"])
@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_later_one_on_multicast_leaves_and_says_where_the_other_is(
    tmp_path: Path, hosts: Hosts, driver: str, loaded: bool
) -> None:
    places = Places(hosts, multicast_between_hosts(4), driver)
    async with open_processes(tmp_path, places.wire, places.host) as processes:
        members = await processes.start(1, 2, 3)
        await processes.together(*members)
        await processes.load(*members, on=loaded)
        rings = {(await one.status())["ring"] for one in members}
        for _ in range(2):
            places.cloned = True
            (clone,) = await processes.start(3)
            await clone.ended(1)
            last = text_of(clone)
            assert "DuplicateNodeError: another living process uses the node id 3, on a ring of 3" in last
            assert "This one is at 10.77.0.4:" in last and "the other at 10.77.0.3:" in last
        await processes.load(*members)
        await processes.more_delivered(100, *members)  # so tokens reach the one that was there before
        assert {(await one.status())["ring"] for one in members} == rings, "the ring keeps its configuration"
        assert members[2].last["statistics"]["transport_own_id_elsewhere"] > 0
        third = text_of(members[2])
        assert third.count("another living process uses the node id 3 of this one. This one is at 10.77.0.3:") >= 1
        assert third.count("datagrams from 10.77.0.4:") == 1, "once a minute at most"
        for one in members[:2]:
            said = [line for line in text_of(one).splitlines() if "two processes have one id" in line]
            assert len(said) == 1 and "10.77.0.3:" in said[0] and "10.77.0.4:" in said[0], text_of(one)
        await processes.quiet(*members)
        processes.lives = members
        await processes.judge(*members)


async def test_clone_on_unicast_is_not_in_the_table_and_changes_nothing(tmp_path: Path, hosts: Hosts) -> None:
    places = Places(hosts, lambda node: {}, "trio")

    def wire(node: int) -> dict[str, Any]:
        numbers = {one: 4 if places.cloned and one == 3 else one for one in (1, 2, 3)}
        return {"kind": "unicast", "peers": {str(one): (f"10.77.0.{number}", 5001) for one, number in numbers.items()}}

    async with open_processes(tmp_path, wire, places.host) as processes:
        members = await processes.start(1, 2, 3)
        await processes.together(*members)
        await processes.load(*members)
        rings = {(await one.status())["ring"] for one in members}
        places.cloned = True
        (clone,) = await processes.start(3)
        what = (
            "datagrams from 10.77.0.4:5001 are dropped: they are of node 3, which the table of peers has at 10.77.0.3"
        )
        await processes.until(
            lambda: all(what in text_of(one) for one in members[:2]) and "nothing came from any of" in text_of(clone),
            "members and clone say what is wrong",
            of=[*members, clone],
        )
        assert clone.last["members"] == [3]
        await processes.more_delivered(100, *members)
        assert {(await one.status())["ring"] for one in members} == rings, "the ring keeps its configuration"
        assert [text_of(one).count(what) for one in members] == [1, 1, 0], "once a minute at most"
        await processes.quiet(*members)
