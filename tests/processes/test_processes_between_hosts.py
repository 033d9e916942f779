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
