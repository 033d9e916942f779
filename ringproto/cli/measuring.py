"""Bringing the processors of a measurement up on one transport, and waiting for what they say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

from ringproto.cli.children import Child, Children, TaskChild
from ringproto.cli.opening import local_transport
from ringproto.transports import LoopbackNetwork

__all__ = ["FORM_TIMEOUT_S", "START_AHEAD_S", "start_members", "until_said"]

FORM_TIMEOUT_S = 30.0
"""How long processors may take to start and form their ring."""
START_AHEAD_S = 0.3
"""So far in the future a measurement is started, so that every processor knows of it in time."""


async def start_members(
    transport: str,
    children: Children,
    setup: Mapping[str, Any],
    heard: Mapping[int, dict[str, Any]],
    member: Callable[..., Awaitable[None]],
    module: str,
) -> list[Child | TaskChild]:
    """Start every processor of a measurement, on one transport.

    Args:
        transport: ``loopback``, ``unicast`` or ``multicast``.
        children: where they run.
        setup: what each is told, beside its node and transport.
        heard: for each node, where what it says is put.
        member: what a processor does, for one that is a task.
        module: the same as a program, for one that is a process.
    """
    if transport == "loopback":
        network = LoopbackNetwork(seed=1)
        return [
            children.start_task(
                f"processor {node}",
                partial(member, setup={**setup, "node": node}, transport=network.open(node=node)),
                said.update,
            )
            for node, said in heard.items()
        ]
    description = local_transport(transport, list(heard))
    return [
        await children.start(
            f"processor {node}", module, {**setup, "node": node, "transport": description}, said.update
        )
        for node, said in heard.items()
    ]


async def until_said(children: Children, heard: Mapping[int, dict[str, Any]], what: str, timeout_s: float) -> None:
    """Wait until every processor has said a word.

    Raises:
        RunFailedError: one failed, or the time was up.
    """
    await children.until(
        lambda: all(what in said for said in heard.values()),
        timeout_s=timeout_s,
        failure=lambda: f"no word «{what}» from processors {[n for n, said in heard.items() if what not in said]}",
    )
