"""Whole rings over unicast whose tables name hosts that come later, that move, and that are not those of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from namespaces import hosts_on_a_bridge, missing
from process_ring import Process, Processes, free_ports, open_processes

Table = dict[int, str]


class Tables:
    """What each processor is told of where the others are: a table of its own, or the one of all."""

    def __init__(self, folder: Path, table: Table, driver: str = "trio") -> None:
        self.table = table
        self.own: dict[int, Table] = {}
        self._file = folder / "hosts.json"
        (self.port,) = free_ports("0.0.0.0", 1)
        self._driver = driver
        self.name()

    def name(self, **addresses: str) -> None:
        """From now on these host names have these addresses, and no others have any."""
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(addresses))
        new.replace(self._file)

    def wire(self, node: int) -> dict[str, Any]:
        table = self.own.get(node, self.table)
        peers = {str(peer): (host, self.port) for peer, host in table.items()}
        return {"kind": "unicast", "peers": peers, "hosts": str(self._file), "driver": self._driver}


async def says(processes: Processes, one: Process, *texts: str) -> None:
    """Wait until a process has written all of this to its log."""
    await processes.until(lambda: all(text in one.stderr() for text in texts), f"{one.node} says {texts}", of=[one])


@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_names_come_late_and_members_move(tmp_path: Path, driver: str) -> None:
    tables = Tables(tmp_path, {1: "pod1", 2: "pod2", 3: "pod3"}, driver)
    tables.name(pod1="127.0.0.1", pod2="127.0.0.2")
    async with open_processes(tmp_path, tables.wire) as processes:
        first, second = await processes.start(1, 2)
        await processes.together(first, second)
        await processes.load(first, second)
        await processes.more_delivered(50, first, second)
        assert "host 'pod3' of node 3 has no address that can be used" in first.stderr()
        tables.name(pod1="127.0.0.1", pod2="127.0.0.2", pod3="127.0.0.3")
        (third,) = await processes.start(3)
        await processes.together(first, second, third)
        processes.store_sequence(third)
        await third.kill()
        await processes.together(first, second)
        tables.name(pod1="127.0.0.1", pod2="127.0.0.2", pod3="127.0.0.43")
        (third,) = await processes.start(3)
        await processes.together(first, second, third)
        await processes.more_delivered(50, first, second, third)
        await processes.quiet(first, second, third)
        assert first.last["statistics"]["transport_addresses_changed"] == 1
        await processes.judge(first, second, third)


async def test_member_with_two_hosts_exchanged_says_which(tmp_path: Path) -> None:
    tables = Tables(tmp_path, {node: f"127.0.0.{node}" for node in (1, 2, 3)})
    tables.own[1] = {1: "127.0.0.1", 2: "127.0.0.3", 3: "127.0.0.2"}
    async with open_processes(tmp_path, tables.wire) as processes:
        first, *_ = await processes.start(1, 2, 3)
        await says(
            processes,
            first,
            f"datagrams from 127.0.0.3:{tables.port}, where the table of peers has node 2, are of node 3",
            f"datagrams from 127.0.0.2:{tables.port}, where the table of peers has node 3, are of node 2",
        )


async def test_member_that_knows_fewer_says_whom_it_does_not_know(tmp_path: Path) -> None:
    tables = Tables(tmp_path, {node: f"127.0.0.{node}" for node in (1, 2, 3)})
    tables.own[1] = {1: "127.0.0.1", 2: "127.0.0.2"}
    async with open_processes(tmp_path, tables.wire) as processes:
        first, *_ = await processes.start(1, 2, 3)
        await says(processes, first, f"datagrams from 127.0.0.3:{tables.port}, of node 3, are dropped")


async def test_second_process_with_one_id_is_told_of_by_all_and_changes_nothing(tmp_path: Path) -> None:
    tables = Tables(tmp_path, {node: f"127.0.0.{node}" for node in (1, 2, 3)})
    async with open_processes(tmp_path, tables.wire) as processes:
        members = await processes.start(1, 2, 3)
        await processes.together(*members)
        await processes.load(*members)
        before = [one.last["statistics"]["configurations"] for one in members]
        tables.own[3] = {1: "127.0.0.1", 2: "127.0.0.2", 3: "127.0.0.4"}
        (clone,) = await processes.start(3)
        for one in members[:2]:
            await says(
                processes,
                one,
                f"datagrams from 127.0.0.4:{tables.port} are dropped: they are of node 3, which the table of peers has "
                f"at 127.0.0.3:{tables.port}; two processes have that id",
            )
        await says(processes, clone, "nothing came from any of 2 peers for 5 s", f"node 3 at 127.0.0.4:{tables.port}")
        assert clone.last["members"] == [3]
        await processes.more_delivered(50, *members)
        await processes.together(*members)
        assert [one.last["statistics"]["configurations"] for one in members] == before
        assert members[0].stderr().count("two processes have that id") == 1


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_wildcard_of_a_host_that_others_know_by_another_address_is_told_by_all(tmp_path: Path) -> None:
    with hosts_on_a_bridge(2) as hosts:
        hosts.add_address(1, 101)
        tables = Tables(tmp_path, {1: "10.77.0.101", 2: "10.77.0.2"})
        tables.own[1] = {1: "0.0.0.0", 2: "10.77.0.2"}
        async with open_processes(tmp_path, tables.wire, lambda node: hosts[node]) as processes:
            first, second = await processes.start(1, 2)
            await says(
                processes,
                second,
                f"datagrams from 10.77.0.1:{tables.port} are dropped: they are of node 1, which the table of peers has "
                f"at 10.77.0.101:{tables.port}",
                "its own entry is a wildcard",
                "nothing came from any of 1 peers",
            )
            assert (await first.status())["members"] == [1]
            assert second.last["members"] == [2]
