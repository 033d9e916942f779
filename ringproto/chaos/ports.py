"""UDP ports, and a multicast group, that a round of chaos has for itself as long as it lasts.

A processor that is killed leaves its port free until it is started again, and so does one whose process has not come to
its sockets yet. So the ports come from a range of which the system gives nobody any by itself, and in blocks: the
supervisor holds the last port of a block, which no processor uses, for the whole round. Rounds that are played at the
same time, by one command or by several, find it taken and draw another block. The system's own table of ports is so the
only list of claims, and forgets those of a supervisor that was killed.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ringproto._processes.failures import RunFailedError

__all__ = ["BLOCK", "claim_ports", "claim_transport"]

BLOCK = 16
"""Ports in a block; all but the last can be given to processors."""
_FIRST, _END = 16_000, 30_000
_TRIES = 64
_LOOPBACK = "127.0.0.1"


@contextmanager
def claim_transport(kind: str, nodes: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """As ``_processes.transports.local_transport``, for the length of the block.

    Rounds over multicast that are played at once have ports that differ, so none hears another's datagrams, whatever
    their groups are.

    Raises:
        RunFailedError: no ports were found.
    """
    with claim_ports(len(nodes)) as ports:
        if kind == "unicast":
            peers = {str(node): [_LOOPBACK, port] for node, port in zip(nodes, ports, strict=True)}
            yield {"kind": kind, "peers": peers}
        else:
            group = f"239.192.{random.randrange(1, 255)}.{random.randrange(1, 255)}"
            yield {"kind": kind, "group": group, "port": ports[0], "interface": _LOOPBACK}


@contextmanager
def claim_ports(count: int) -> Iterator[list[int]]:
    """So many ports, at most ``BLOCK - 1``, that are free now and that no other claim is given before the block ends.

    Raises:
        RunFailedError: no ports were found.
    """
    assert 0 < count < BLOCK
    for first in random.sample(range(_FIRST, _END, BLOCK), _TRIES):
        ports = list(range(first, first + count))
        with ExitStack() as claim:
            try:
                _hold(claim, first + BLOCK - 1)
                with ExitStack() as probe:
                    for port in ports:
                        _hold(probe, port)
            except OSError:
                continue
            yield ports
            return
    raise RunFailedError(f"found no {count} free UDP ports between {_FIRST} and {_END}")


def _hold(held: ExitStack, port: int) -> None:
    held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind((_LOOPBACK, port))
