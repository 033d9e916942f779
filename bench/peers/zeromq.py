"""ZeroMQ's PUB/SUB, from Python with pyzmq: no order between senders and no membership, so an upper bound."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.suite import hosts
from bench.suite.member import RunOrder
from bench.suite.processes import MemberProcess, end_all
from bench.suite.systems import Session, System, free_ports

__all__ = ["Zeromq"]

_PORT = 5405


class Zeromq(System):
    """PUB/SUB over ``ipc`` (unix sockets) or ``tcp``."""

    family = "ZeroMQ"
    ordered = False
    kinds = frozenset({RunOrder.SATURATE, RunOrder.PACED})
    crashes = False

    def __init__(self, transport: str, network: str = "loopback") -> None:
        self.name = f"ZeroMQ {transport}"
        self.network = network
        self._transport = transport

    def missing(self) -> str | None:
        if importlib.util.find_spec("zmq") is None:
            return "pyzmq is not installed (pip install 'ringproto[bench]')"
        return super().missing()

    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        if self._transport == "ipc":
            endpoints = {node: f"ipc://{folder}/{node}" for node in nodes}
        elif self.network == "bridge":
            endpoints = {node: f"tcp://{hosts.address(node)}:{_PORT}" for node in nodes}
        else:
            endpoints = {
                node: f"tcp://127.0.0.1:{port}" for node, port in free_ports(nodes, socket.SOCK_STREAM).items()
            }
        members: dict[int, MemberProcess] = {}
        stack.callback(lambda: end_all(list(members.values())))
        for node in nodes:
            log = str(folder / f"log{node}")
            others = [endpoints[other] for other in nodes if other != node]
            command = [sys.executable, "-m", "bench.peers.zeromq_member", str(node), log, endpoints[node], *others]
            members[node] = MemberProcess(f"{self.name} {node}", [*hosts.enter(namespaces[node]), *command], log)
        return Session(members, nodes[0])
