"""What can be measured: a system makes sessions, and a session is a group of member processes that may send."""

from __future__ import annotations

import abc
import contextlib
import itertools
import json
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from bench.suite import hosts
from bench.suite.member import RunOrder
from bench.suite.processes import MemberProcess, end_all
from ringproto import Config

__all__ = ["Ringproto", "Session", "System", "free_ports"]

_FORM_TIMEOUT_S = 30.0


class Session:
    """A group of members, all of which stand in it. Made by ``System.open``."""

    def __init__(self, members: Mapping[int, MemberProcess], first_sender: int) -> None:
        self.members = members
        self.first_sender = first_sender
        """Who sends when one sends: where it costs the system least."""
        self.rounds = itertools.count(1)

    def kill(self, node: int) -> None:
        """End the processor of a node as a crash would."""
        self.members[node].kill()


class System(abc.ABC):
    """A way to bring messages to a group of processes."""

    name: str
    """For the tables, such as ``ringproto unicast``."""
    family: str
    """Whose it is; the ways of one family compete for its best figure."""
    network: str
    """``loopback`` or ``bridge`` (between namespaces)."""
    ordered: ClassVar[bool] = True
    """Whether it promises a total order."""
    lossy: ClassVar[bool] = False
    """Whether it may lose messages; then losses are reported, and are no failure."""
    kinds: ClassVar[frozenset[int]] = frozenset({RunOrder.SATURATE, RunOrder.PING, RunOrder.PACED, RunOrder.LISTEN})
    sizes_max: ClassVar[int] = 2**20
    crashes: ClassVar[bool] = True
    """Whether it notices the crash of a member, and says when the others may go on."""

    token_timeout_ms: float | None = None
    """After how long a member that says nothing is missed, where that is a setting."""

    def missing(self) -> str | None:
        """Why it cannot be measured here; ``None`` if it can."""
        return hosts.why_not() if self.network == "bridge" else None

    @abc.abstractmethod
    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        """Start what is needed, to be ended by ``stack``; the members need not be complete yet."""

    @contextlib.contextmanager
    def open(self, nodes: Sequence[int]) -> Iterator[Session]:
        """A session of this system.

        Raises:
            MemberFailedError: the members do not come together.
        """
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ringproto-bench-", dir=_memory())))
            namespaces: Mapping[int, str | None] = dict.fromkeys(nodes)
            if self.network == "bridge":
                namespaces = stack.enter_context(hosts.namespaces(nodes))
            session = self.start(stack, nodes, namespaces, folder)
            for member in session.members.values():
                member.wait_for("complete", _FORM_TIMEOUT_S, members=len(nodes))
            yield session

    def __repr__(self) -> str:
        return f"<{self.name} on {self.network}>"


class Ringproto(System):
    """The library of this tree."""

    family = "ringproto"

    def __init__(
        self, transport: str, network: str, config: Mapping[str, Any] | None = None, *, note: str | None = None
    ) -> None:
        self.name = f"ringproto {transport}" + (f", {note}" if note else "")
        self.network = network
        self._transport = transport
        self._config = dict(config or {})
        self.token_timeout_ms = 1000 * Config.lan(**self._config).token_timeout_s

    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        config = {"cluster": f"bench-{secrets.token_hex(8)}", "quorum": len(nodes) // 2 + 1, **self._config}
        members: dict[int, MemberProcess] = {}
        stack.callback(lambda: end_all(list(members.values())))
        transport = self._describe(nodes)
        for node in nodes:
            log = str(folder / f"log{node}")
            setup = {"node": node, "config": config, "transport": transport, "log": log}
            command = [sys.executable, "-m", "bench.suite.ring_member", json.dumps(setup)]
            members[node] = MemberProcess(f"{self.name} {node}", [*hosts.enter(namespaces[node]), *command], log)
        return Session(members, nodes[0])

    def _describe(self, nodes: Sequence[int]) -> dict[str, Any]:
        bridge = self.network == "bridge"
        ports = dict.fromkeys(nodes, 5405) if bridge else free_ports(nodes, socket.SOCK_DGRAM)
        if self._transport == "unicast":
            return {
                "kind": "unicast",
                "peers": {str(n): [hosts.address(n) if bridge else "127.0.0.1", ports[n]] for n in nodes},
            }
        group = f"239.192.{secrets.randbelow(254) + 1}.{secrets.randbelow(254) + 1}"
        interface = "eth0" if bridge else "127.0.0.1"
        return {"kind": "multicast", "group": group, "port": ports[nodes[0]], "interface": interface}


def free_ports(nodes: Sequence[int], kind: int) -> dict[int, int]:
    """A port of 127.0.0.1 for each node, free just now. ``kind``: ``socket.SOCK_DGRAM`` or ``socket.SOCK_STREAM``."""
    with contextlib.ExitStack() as held:
        ports = {}
        for node in nodes:
            probe = held.enter_context(socket.socket(socket.AF_INET, kind))
            probe.bind(("127.0.0.1", 0))
            ports[node] = probe.getsockname()[1]
        return ports


def _memory() -> str | None:
    """A folder in memory for the logs, if there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
