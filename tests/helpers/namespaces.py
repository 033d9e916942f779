"""Hosts that are network namespaces on one bridge, and processes in them that tests drive from outside.

The bridge lives in a namespace of its own, so nothing of the host is touched. Names carry the id of this process.
Host i has the interface ``eth0`` with 10.77.0.i/24, fd77::i/64 and fe80::i/64.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import trio

PEER = Path(__file__).with_name("namespace_peer.py")
_numbers = itertools.count(1)


@functools.cache
def missing() -> str | None:
    """Why namespaces cannot be made here; ``None`` if they can."""
    if sys.platform != "linux":
        return "network namespaces are a thing of Linux"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need ip(8), which is not installed"
    name = f"rpt{os.getpid()}probe"
    try:
        _ip("netns", "add", name)
        try:
            _ip("-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        finally:
            _ip("netns", "del", name)
    except subprocess.CalledProcessError as exc:
        return f"network namespaces cannot be made here: {exc.stderr.strip()}"
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)


class Hosts:
    """Some namespaces on one bridge; ``hosts[1]`` is the name of the first."""

    def __init__(self, count: int, mtu: int) -> None:
        self._prefix = f"rpt{os.getpid()}x{next(_numbers)}"
        self._count = count
        self._mtu = mtu

    def __getitem__(self, number: int) -> str:
        return f"{self._prefix}h{number}"

    @property
    def _bridge(self) -> str:
        return f"{self._prefix}br"

    def up(self) -> None:
        mtu = str(self._mtu)
        _ip("netns", "add", self._bridge)
        _ip(
            *("-n", self._bridge, "link", "add", "br0", "type", "bridge"),
            *("mcast_snooping", "0", "stp_state", "0", "forward_delay", "0"),
        )
        _ip("-n", self._bridge, "link", "set", "br0", "mtu", mtu, "up")
        for number in range(1, self._count + 1):
            _ip("netns", "add", self[number])
            self.add_interface(number)
            _ip("-n", self[number], "link", "set", "lo", "up")

    def add_interface(self, number: int, name: str = "eth0") -> None:
        """Give host ``number`` its interface."""
        mtu, host = str(self._mtu), self[number]
        _ip(
            *("-n", self._bridge, "link", "add", f"v{number}", "mtu", mtu, "type", "veth"),
            *("peer", "name", name, "mtu", mtu, "netns", host),
        )
        _ip("-n", self._bridge, "link", "set", f"v{number}", "master", "br0", "up")
        # Addresses are usable at once: no duplicate address detection.
        subprocess.run(
            ["ip", "netns", "exec", host, "sysctl", "-qw", f"net.ipv6.conf.{name}.accept_dad=0"],
            check=True,
            capture_output=True,
            timeout=30,
        )
        _ip("-n", host, "link", "set", name, "up")
        self.add_address(number, name=name)
        _ip("-n", host, "addr", "add", f"fd77::{number}/64", "dev", name, "nodad")
        _ip("-n", host, "addr", "add", f"fe80::{number}/64", "dev", name, "nodad")

    def add_address(self, number: int, last: int | None = None, *, name: str = "eth0") -> None:
        """Give host ``number`` the address 10.77.0.``last``, its own number unless it is said otherwise."""
        _ip("-n", self[number], "addr", "add", f"10.77.0.{last or number}/24", "dev", name)

    def remove_address(self, number: int) -> None:
        _ip("-n", self[number], "addr", "del", f"10.77.0.{number}/24", "dev", "eth0")

    def remove_interface(self, number: int) -> None:
        _ip("-n", self[number], "link", "del", "eth0")

    def set_mtu(self, number: int, mtu: int) -> None:
        _ip("-n", self[number], "link", "set", "eth0", "mtu", str(mtu))

    def ip(self, number: int, *arguments: str) -> None:
        """Call ip(8) on a host."""
        _ip("-n", self[number], *arguments)

    def sysctl(self, number: int, **settings: int) -> None:
        """Set what is under ``net`` on a host, with two underscores for a dot."""
        for name, value in settings.items():
            setting = f"net.{name.replace('__', '.')}={value}"
            subprocess.run(
                ["ip", "netns", "exec", self[number], "sysctl", "-qw", setting],
                check=True,
                capture_output=True,
                timeout=30,
            )

    def snoop(self, membership_s: int) -> None:
        """Let the bridge forward multicasts to those alone who reported in the last ``membership_s`` seconds.

        It is a querier, or it would forward everything, but after the start it asks once in an hour only.
        """
        subprocess.run(
            ["ip", "-n", self._bridge, "addr", "replace", "10.77.0.254/24", "dev", "br0"],
            check=True,
            capture_output=True,
            timeout=30,
        )
        settings = "mcast_query_response_interval 10 mcast_startup_query_count 1 mcast_startup_query_interval 360000"
        settings += f" mcast_query_interval 360000 mcast_membership_interval {100 * membership_s}"
        settings += " mcast_querier 1 mcast_snooping 1"
        _ip("-n", self._bridge, "link", "set", "br0", "type", "bridge", *settings.split())

    def set_link(self, number: int, state: str) -> None:
        """Set ``eth0`` of a host "up" or "down"."""
        _ip("-n", self[number], "link", "set", "eth0", state)

    def set_names(self, number: int, **addresses: str) -> None:
        """The whole of /etc/hosts of a host, also for processes that run already."""
        folder = Path("/etc/netns") / self[number]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in addresses.items()))

    def down(self) -> None:
        for name in (self._bridge, *(self[number] for number in range(1, self._count + 1))):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30)
            shutil.rmtree(Path("/etc/netns") / name, ignore_errors=True)


@contextlib.contextmanager
def hosts_on_a_bridge(count: int, mtu: int = 1500) -> Iterator[Hosts]:
    hosts = Hosts(count, mtu)
    try:
        hosts.up()
        yield hosts
    finally:
        hosts.down()


class RemoteError(Exception):
    """What the peer's call raised, as text."""


class Peer:
    """A process with one transport; each call is a line of JSON to it and one back."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._rest = b""

    async def call(self, command: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        with trio.fail_after(60):
            await self._process.stdin.send_all(json.dumps([command, arguments]).encode() + b"\n")
            while b"\n" not in self._rest:
                more = await self._process.stdout.receive_some()
                if not more:
                    raise RemoteError(f"the peer ended in {command}, exit code {await self._process.wait()}")
                self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "error" in answer:
            raise RemoteError(answer["error"])
        return answer["result"]

    async def send(self, *transmits: tuple[int, str]) -> None:
        await self.call("send", transmits=transmits)

    async def receive(self, count: int, patience_s: float = 10.0) -> list[str]:
        """What arrives, until there are ``count`` datagrams or patience is over."""
        got: list[str] = await self.call("receive", count=count, patience_s=patience_s)
        return got

    async def logged(self) -> list[str]:
        """What the transport logged since the process began, a line each."""
        lines: list[str] = await self.call("logged")
        return lines

    async def statistics(self) -> dict[str, int]:
        numbers: dict[str, int] = await self.call("statistics")
        return numbers


@contextlib.asynccontextmanager
async def peer_in(namespace: str | None, **variables: str) -> AsyncIterator[Peer]:
    """A process in a namespace (``None``: here) with these environment variables too, ended afterwards."""
    command = [sys.executable, str(PEER)]
    if namespace is not None:
        command = ["ip", "netns", "exec", namespace, *command]
    # The peer imports what this process imports, however that was installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    try:
        yield Peer(process)
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None and process.stdout is not None
            await process.stdin.aclose()  # the peer ends at the end of its input
            with trio.move_on_after(10) as scope:
                await process.wait()
            if scope.cancelled_caught:
                process.kill()
                await process.wait()
            await process.stdout.aclose()
