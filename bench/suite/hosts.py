"""Test hosts as network namespaces on one bridge, which lives in a namespace of its own. Needs root and ip(8).

Host i has the interface ``eth0`` with 10.77.0.i/24. The names carry the id of this process, so runs do not meet.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["address", "enter", "namespaces", "why_not"]

_numbers = itertools.count(1)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30)


@functools.cache
def why_not() -> str | None:
    """Why namespaces cannot be made here; ``None`` if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need ip(8) of iproute2"
    try:
        with namespaces([1]):
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces cannot be made here: {error.stderr.strip()}"


def address(node: int) -> str:
    """The address of a host in its namespace."""
    return f"10.77.0.{node}"


def enter(namespace: str | None) -> list[str]:
    """What to put in front of a command that is to run in a namespace; ``None``: here."""
    return [] if namespace is None else ["ip", "netns", "exec", namespace]


@contextlib.contextmanager
def namespaces(nodes: Sequence[int], mtu: int = 1500) -> Iterator[Mapping[int, str]]:
    """A namespace for each node, by node; they are removed afterwards.

    Raises:
        subprocess.CalledProcessError: ip(8) refused.
    """
    prefix = f"rpb{os.getpid()}x{next(_numbers)}"
    bridge = f"{prefix}br"
    hosts = {node: f"{prefix}h{node}" for node in nodes}
    made: list[str] = []
    try:
        _add(bridge, made)
        # There is nobody who would ask for group memberships, so the bridge must not wait for answers.
        _ip("-n", bridge, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0", "stp_state", "0")
        _ip("-n", bridge, "link", "set", "br0", "mtu", str(mtu), "up")
        for node, host in hosts.items():
            _add(host, made)
            port, inner = f"v{node}", ("peer", "name", "eth0", "mtu", str(mtu), "netns", host)
            _ip("-n", bridge, "link", "add", port, "mtu", str(mtu), "type", "veth", *inner)
            _ip("-n", bridge, "link", "set", port, "master", "br0", "up")
            _ip("-n", host, "addr", "add", f"{address(node)}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", host, "route", "add", "224.0.0.0/4", "dev", "eth0")
        yield hosts
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30, check=False)


def _add(name: str, made: list[str]) -> None:
    _ip("netns", "add", name)
    made.append(name)
    _ip("-n", name, "link", "set", "lo", "up")
