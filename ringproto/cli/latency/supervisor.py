"""The supervisor's side of a measurement: it brings the processors up, waits for what they say, and judges the counts.

worker.py is what each of the processors does.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import trio

from ringproto._processes.child import Conversation
from ringproto._processes.parent import Child, Children, TaskChild, open_children
from ringproto._processes.transports import local_transport
from ringproto.cli.latency.worker import MeasuringMember
from ringproto.transports import LoopbackNetwork, Transport

__all__ = [
    "DRAIN_S",
    "FORM_TIMEOUT_S",
    "START_AHEAD_S",
    "common_setup",
    "conduct",
    "failure_of",
    "start_members",
    "until_said",
]

Found = TypeVar("Found")

DRAIN_S = 10.0
"""How long a processor waits for more, when not everything was delivered."""

FORM_TIMEOUT_S = 30.0
"""How long processors may take to start and form their ring."""
START_AHEAD_S = 0.3
"""So far in the future a measurement is started, so that every processor knows of it in time."""


def conduct(args: argparse.Namespace, measure: Callable[[argparse.Namespace, Children], Awaitable[Found]]) -> Found:
    """Run ``measure`` under trio, with children that end with it and on signals; returns what it found."""

    async def main() -> Found:
        async with open_children() as children:
            await children.on_signals()
            return await measure(args, children)

    return trio.run(main)


def common_setup(args: argparse.Namespace) -> dict[str, Any]:
    """What every processor of every measurement is told."""
    return {
        "nodes": list(range(1, args.nodes + 1)),
        "config": {"cluster": f"latency-{secrets.token_hex(8)}", "quorum": args.nodes},
        "rate": args.rate,
        "size": args.size,
        "guarantee": args.guarantee.upper(),
        "warmup_s": args.warmup,
        "drain_s": DRAIN_S,
    }


def failure_of(counts: Mapping[str, int], measured: bool) -> str | None:
    """What is wrong with a measurement; ``None`` if nothing is.

    ``counts`` is what was lost and the like; ``measured`` whether there is anything to speak of.
    """
    faults = [f"{count} {what}" for what, count in counts.items() if count]
    if faults:
        return f"not every message was delivered everywhere, once and in order: {', '.join(faults)}"
    return None if measured else "no message fell into the time that is measured: raise --rate or --duration"


async def start_members(
    transport: str,
    children: Children,
    setup: Mapping[str, Any],
    heard: Mapping[int, dict[str, Any]],
    kind: Callable[[Conversation, Mapping[str, Any]], MeasuringMember],
) -> list[Child | TaskChild]:
    """Start every processor of a measurement, on one transport.

    Args:
        transport: ``loopback``, ``unicast`` or ``multicast``.
        children: where they run.
        setup: what each is told, beside its node and transport.
        heard: for each node, where what it says is put.
        kind: what each of them is; the module that it is of is also a program, for those that are processes.
    """
    if transport == "loopback":
        network = LoopbackNetwork(seed=1)

        def task(node: int, transport: Transport) -> Callable[[Conversation], Awaitable[None]]:
            return lambda line: kind(line, {**setup, "node": node}).run(transport)

        return [
            children.start_task(f"processor {node}", task(node, network.open(node=node)), said.update)
            for node, said in heard.items()
        ]
    module = kind.__module__
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
