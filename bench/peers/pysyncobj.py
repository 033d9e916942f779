"""PySyncObj, a Raft in Python: what a Python program would take today for one order of messages."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.suite.processes import MemberProcess, end_all
from bench.suite.systems import Session, System, free_ports

__all__ = ["Pysyncobj"]


class Pysyncobj(System):
    """PySyncObj over TCP on loopback, with short ticks. It sends from its leader, where that costs it least."""

    family = "PySyncObj"
    name = "PySyncObj"
    network = "loopback"
    sizes_max = 256
    crashes = False

    def missing(self) -> str | None:
        if importlib.util.find_spec("pysyncobj") is None:
            return "pysyncobj is not installed (pip install 'ringproto[bench]')"
        return super().missing()

    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        addresses = {node: f"127.0.0.1:{port}" for node, port in free_ports(nodes, socket.SOCK_STREAM).items()}
        members: dict[int, MemberProcess] = {}
        stack.callback(lambda: end_all(list(members.values())))
        for node in nodes:
            log = str(folder / f"log{node}")
            others = [addresses[other] for other in nodes if other != node]
            command = [sys.executable, "-m", "bench.peers.pysyncobj_member", str(node), log, addresses[node], *others]
            members[node] = MemberProcess(f"{self.name} {node}", command, log)
        return Session(members, nodes[0])

    @contextlib.contextmanager
    def open(self, nodes: Sequence[int]) -> Iterator[Session]:
        with super().open(nodes) as session:
            leaders = [node for node, member in session.members.items() if member.last("complete").get("leads")]
            session.first_sender = leaders[0] if leaders else nodes[0]
            yield session
