"""Real processes on hosts of their own: network namespaces on one bridge, with links that are cut and mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from namespaces import Hosts, hosts_on_a_bridge, missing
from process_ring import multicast_between_hosts, open_processes, unicast_between_hosts
from test_processes_one_host import kill_and_come_back

WHY_NOT = missing()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

Wire = Callable[[int], dict[str, Any]]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Hosts]:
    with hosts_on_a_bridge(3) as made:
        yield made


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(multicast_between_hosts(6), id="multicast IPv6"),
        pytest.param(unicast_between_hosts(3, 6), id="unicast IPv6"),
    ],
)
async def test_killed_process_comes_back_on_its_host(tmp_path: Path, hosts: Hosts, wire: Wire) -> None:
    async with open_processes(tmp_path, wire, lambda node: hosts[node]) as processes:
        await kill_and_come_back(processes)


async def test_three_processors_of_one_host_on_an_ipv6_group(tmp_path: Path, hosts: Hosts) -> None:
    async with open_processes(tmp_path, multicast_between_hosts(6), lambda node: hosts[1]) as processes:
        three = await processes.start(1, 2, 3)
        await processes.together(*three)
        await processes.load(*three)
        await processes.more_delivered(100, *three)
        await processes.quiet(*three)
        await processes.judge(*three)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(multicast_between_hosts(4), id="multicast IPv4"),
        pytest.param(unicast_between_hosts(3, 4), id="unicast IPv4"),
    ],
)
async def test_host_whose_link_is_down_goes_on_alone_and_comes_back(tmp_path: Path, hosts: Hosts, wire: Wire) -> None:
    async with open_processes(tmp_path, wire, lambda node: hosts[node]) as processes:
        first, second, third = await processes.start(1, 2, 3)
        await processes.together(first, second, third)
        await processes.load(first, second, third)
        await processes.more_delivered(100, first, second, third)
        hosts.set_link(3, "down")
        try:
            await processes.together(first, second)
            await processes.together(third)
            await processes.more_delivered(50, first, second)
            await processes.more_delivered(50, third)
        finally:
            hosts.set_link(3, "up")
        await processes.together(first, second, third)
        await processes.more_delivered(50, first, second, third)
        await processes.quiet(first, second, third)
        await processes.judge(first, second, third)


@pytest.mark.parametrize("whose", [(1, 2, 3), (2,)], ids=["all", "one host"])
@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(multicast_between_hosts(4), id="multicast IPv4"),
        pytest.param(unicast_between_hosts(3, 4), id="unicast IPv4"),
    ],
)
async def test_packets_become_smaller_while_a_ring_runs(
    tmp_path: Path, hosts: Hosts, wire: Wire, whose: tuple[int, ...]
) -> None:
    async with open_processes(tmp_path, wire, lambda node: hosts[node]) as processes:
        three = await processes.start(1, 2, 3)
        await processes.together(*three)
        await processes.load(*three)
        await processes.more_delivered(100, *three)
        for number in whose:
            hosts.set_mtu(number, 1280)
        try:
            await processes.until(
                lambda: all(one.last["statistics"]["transport_segment_bytes"] == 1252 for one in three),
                "everybody sends smaller segments",
                of=three,
            )
            await processes.together(*three)
            await processes.more_delivered(200, *three)
        finally:
            for number in whose:
                hosts.set_mtu(number, 1500)
        await processes.quiet(*three)
        await processes.judge(*three)


@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_host_that_gets_another_address_comes_back(tmp_path: Path, hosts: Hosts, driver: str) -> None:
    async with open_processes(tmp_path, multicast_between_hosts(4), lambda node: hosts[node]) as processes:
        three = await processes.start(1, 2, 3, driver=driver)
        await processes.together(*three)
        await processes.load(*three)
        hosts.remove_address(3)
        try:
            hosts.ip(3, "addr", "add", "10.77.0.33/24", "dev", "eth0")
            await processes.until(
                lambda: three[2].last["statistics"].get("transport_interface_changes", 0) == 1,
                "the third one has other sockets",
                of=three,
            )
            await processes.together(*three)
            await processes.more_delivered(50, *three)
            await processes.quiet(*three)
            await processes.judge(*three)
        finally:
            hosts.ip(3, "addr", "del", "10.77.0.33/24", "dev", "eth0")
            hosts.add_address(3)


async def test_ring_that_a_switch_parts_comes_together_again(tmp_path: Path) -> None:
    with hosts_on_a_bridge(3) as hosts:
        async with open_processes(tmp_path, multicast_between_hosts(4), lambda node: hosts[node]) as processes:
            three = await processes.start(1, 2, 3)
            await processes.together(*three)
            await processes.load(*three)
            await processes.more_delivered(50, *three)
            hosts.snoop(membership_s=2)
            await processes.until(
                lambda: any(len(one.last["members"]) < 3 for one in three), "the switch parts them", of=three
            )
            # Who reports from now on is remembered for the rest of the test.
            hosts.snoop(membership_s=600)
            await processes.together(*three)
            assert any(one.last["statistics"].get("transport_rejoins", 0) for one in three)
            await processes.more_delivered(50, *three)
            await processes.quiet(*three)
            await processes.judge(*three)
