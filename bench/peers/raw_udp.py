"""Bare UDP multicast from C: no protocol at all, so what the kernel allows, with and without segmentation offload."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers.programs import ProgramError, program
from bench.suite import hosts
from bench.suite.member import RunOrder
from bench.suite.processes import MemberProcess, end_all
from bench.suite.systems import Session, System, free_ports

__all__ = ["RawUdp"]

_PORT = 5405


class RawUdp(System):
    """Datagrams, as fast as they go."""

    family = "raw UDP"
    ordered = False
    lossy = True
    kinds = frozenset({RunOrder.SATURATE})
    crashes = False

    def __init__(self, network: str, *, offload: bool) -> None:
        self.name = "raw UDP with offload" if offload else "raw UDP"
        self.network = network
        self._offload = offload

    def missing(self) -> str | None:
        try:
            program("raw_udp_member")
        except ProgramError as error:
            return str(error)
        return super().missing()

    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        bridge = self.network == "bridge"
        port = _PORT if bridge else free_ports(nodes[:1], socket.SOCK_DGRAM)[nodes[0]]
        members: dict[int, MemberProcess] = {}
        stack.callback(lambda: end_all(list(members.values())))
        for node in nodes:
            log = str(folder / f"log{node}")
            interface = hosts.address(node) if bridge else "127.0.0.1"
            shared = [log, str(folder / "progress"), interface, str(port), str(int(self._offload))]
            command = [program("raw_udp_member"), str(node), str(len(nodes)), *shared]
            members[node] = MemberProcess(f"{self.name} {node}", [*hosts.enter(namespaces[node]), *command], log)
        return Session(members, nodes[0])
