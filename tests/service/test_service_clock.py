"""What a message costs that comes after a pause: the token goes round once for it, and no copy of it."""

from __future__ import annotations

import pytest
import trio
from service_cluster import Cluster, Program, trio_alone

from ringproto import Config, Guarantee, Priority, Recovery
from ringproto.transports import LoopbackNetwork

NODES = (1, 2, 3)
MESSAGES = 20
APART_S = 0.06
"""Longer than the token is given to come to the next one, and shorter than it rests where nothing is sent."""
LATENCY_S = (0.0001, 0.0002)


def count(programs: list[Program], name: str) -> float:
    return sum(program.ring.statistics().get(name, 0) for program in programs)


def copies(programs: list[Program]) -> dict[str, float]:
    return {name: count(programs, name) for name in ("tokens_retransmitted", "duplicate_tokens", "token_losses")}


@trio_alone
@pytest.mark.parametrize("guarantee", Guarantee)
async def test_message_after_a_pause_has_the_token_sent_once(cluster: Cluster, guarantee: Guarantee) -> None:
    cluster.network = LoopbackNetwork(seed=1, latency_s=LATENCY_S)
    programs = await cluster.form(*NODES, config=Config.lan())
    await trio.sleep(1.0)
    before = copies(programs)
    payloads = [b"1.%d|" % number for number in range(MESSAGES)]
    for payload in payloads:
        await programs[0].ring.sender(Priority.HIGH, guarantee).send(payload)
        await trio.sleep(APART_S)
    await cluster.delivered(payloads, *programs)
    assert copies(programs) == before


@trio_alone
async def test_recovery_message_after_a_pause_has_the_token_sent_once(cluster: Cluster) -> None:
    cluster.network = LoopbackNetwork(seed=1, latency_s=LATENCY_S)
    done: list[dict[str, float]] = []

    async def recover(recovery: Recovery) -> None:
        if recovery.configuration.members != NODES or done:
            return
        done.append(copies(programs))
        for number in range(MESSAGES):
            await trio.sleep(APART_S)
            await recovery.send(b"1.%d|" % number)
        await trio.sleep(APART_S)
        done.append(copies(programs))

    async def return_soon(recovery: Recovery) -> None:
        await trio.lowlevel.checkpoint()

    programs = [
        cluster.start(node, config=Config.lan(), recover=recover if node == 1 else return_soon) for node in NODES
    ]
    await cluster.settled(*programs)
    before, after = done
    assert after == before
