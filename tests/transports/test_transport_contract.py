"""Every transport of ours keeps the promises, and the contract notices each promise that is broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import namespaces
import pytest
import trio
import trio.testing
from transport_openers import (
    GROUP,
    ipv6_reason,
    multicast_opener,
    open_loopback,
    open_slow_loopback,
    unicast_opener,
)

from ringproto.testing.transport_contract import CONTRACT, Check, ContractError, OpenTransports, check_transport
from ringproto.transports import EagerTransport, Transport

by_name = pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)


@by_name
async def test_loopback_keeps_the_contract(check: Check, autojump_clock: trio.testing.MockClock) -> None:
    await check(open_loopback)


@by_name
async def test_loopback_with_latency_keeps_the_contract(check: Check, autojump_clock: trio.testing.MockClock) -> None:
    await check(open_slow_loopback)


@by_name
async def test_loopback_on_the_real_clock_keeps_the_contract(check: Check) -> None:
    await check(open_slow_loopback)


@by_name
async def test_unicast_ipv4_keeps_the_contract(check: Check) -> None:
    await check(unicast_opener("127.0.0.1"))


@pytest.mark.skipif(ipv6_reason() is not None, reason=str(ipv6_reason()))
@by_name
async def test_unicast_ipv6_keeps_the_contract(check: Check) -> None:
    await check(unicast_opener("::1"))


@by_name
async def test_unicast_without_offload_keeps_the_contract(check: Check) -> None:
    await check(unicast_opener("127.0.0.1", offload=False))


@by_name
async def test_multicast_ipv4_keeps_the_contract(check: Check) -> None:
    await check(multicast_opener(GROUP, "127.0.0.1"))


@by_name
async def test_multicast_without_offload_keeps_the_contract(check: Check) -> None:
    await check(multicast_opener(GROUP, "127.0.0.1", offload=False))


@pytest.mark.skipif(namespaces.missing() is not None, reason=str(namespaces.missing()))
@pytest.mark.parametrize("group", ["ff15::7:1", "ff12::7:1"], ids=["site", "link"])
async def test_multicast_ipv6_keeps_the_contract(group: str) -> None:
    # IPv6 multicast does not work over the loopback interface, so it needs an interface of its own.
    with namespaces.hosts_on_a_bridge(1) as hosts:
        async with namespaces.peer_in(hosts[1]) as peer:
            for number, check in enumerate(CONTRACT):
                await peer.call(
                    "check_multicast", check=check.__name__, group=group, interface="eth0", port=6000 + number
                )


class Broken:
    """A good transport with one promise broken by a subclass."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.node = inner.node
        self.datagram_size_max = inner.datagram_size_max

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send(transmits)

    async def receive(self) -> list[bytes]:
        return await self.inner.receive()

    async def aclose(self) -> None:
        await self.inner.aclose()

    def statistics(self) -> dict[str, int]:
        return self.inner.statistics()


class OtherNode(Broken):
    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.node = 5


class Echoes(Broken):
    """Gives a sender its own broadcasts."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.own: list[bytes] = []

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send(transmits)
        self.own += [datagram for destination, datagram in transmits if destination == 0]

    async def receive(self) -> list[bytes]:
        if self.own:
            await trio.lowlevel.checkpoint()
            own, self.own = self.own, []
            return own
        return await self.inner.receive()


class Shouts(Broken):
    """Sends every unicast to everybody."""

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send([(destination if destination > 2**32 else 0, one) for destination, one in transmits])


class Backwards(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send(list(transmits)[::-1])


class Doubles(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send(list(transmits) * 2)


class CutsShort(Broken):
    """Loses what is beyond 64 bytes."""

    async def receive(self) -> list[bytes]:
        return [datagram[:64] for datagram in await self.inner.receive()]


class SendsHalfOfABadBatch(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        for transmit in transmits:
            await self.inner.send([transmit])


class TakesAnySize(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send([one for one in transmits if 0 < len(one[1]) <= self.datagram_size_max])


class LosesOnCancellation(Broken):
    async def receive(self) -> list[bytes]:
        batch = await self.inner.receive()
        await trio.lowlevel.checkpoint()
        return batch


class IgnoresCancellation(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        with trio.CancelScope(shield=True):
            await self.inner.send(transmits)


class KeepsForGood(Broken):
    """Says that it keeps what could not be sent at once, and never sends it."""

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        assert isinstance(self.inner, EagerTransport)
        self.inner.send_nowait(transmits[:1])
        return len(transmits) == 1


class ChecksLate(Broken):
    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        assert isinstance(self.inner, EagerTransport)
        return all(self.inner.send_nowait([transmit]) for transmit in transmits)


class ReturnsNothing(Broken):
    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        return []


class NeverYields(Broken):
    """Keeps the thread for itself while it sends."""

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await self.inner.send(transmits)
        self.inner._sent_since_yield = 0  # type: ignore[attr-defined]


class Queues(Broken):
    """Lets a second receiver wait."""

    def __init__(self, inner: Transport) -> None:
        super().__init__(inner)
        self.lock = trio.Lock()

    async def receive(self) -> list[bytes]:
        async with self.lock:
            return await self.inner.receive()


class OpenAfterClose(Broken):
    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        try:
            await self.inner.send(transmits)
        except trio.ClosedResourceError:
            return


class ClosesLate(Broken):
    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        await self.inner.aclose()


class CountsNothing(Broken):
    def statistics(self) -> dict[str, int]:
        return {}


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (OtherNode, "members_are_there"),
        (Echoes, "broadcast_reaches_every_other_and_not_the_sender"),
        (Shouts, "unicast_reaches_one_only"),
        (Doubles, "batches_go_both_ways"),
        (Backwards, "one_sender_keeps_its_order"),
        (CutsShort, "every_size_arrives_unchanged"),
        (SendsHalfOfABadBatch, "misuse_raises_and_sends_nothing"),
        (TakesAnySize, "misuse_raises_and_sends_nothing"),
        (KeepsForGood, "sending_without_waiting_keeps_the_same_promises"),
        (ChecksLate, "sending_without_waiting_keeps_the_same_promises"),
        (LosesOnCancellation, "cancelled_receive_loses_nothing"),
        (IgnoresCancellation, "cancelled_send_on_entry_sends_nothing"),
        (Doubles, "sending_and_receiving_at_once"),
        (ReturnsNothing, "batches_go_both_ways"),
        (Queues, "second_receive_is_refused"),
        (NeverYields, "other_tasks_run"),
        (OpenAfterClose, "closed_is_closed"),
        (ClosesLate, "cancelled_aclose_closes"),
        (CountsNothing, "statistics_count"),
    ],
)
async def test_broken_promise_is_noticed(
    broken: type[Broken], check: str, autojump_clock: trio.testing.MockClock
) -> None:
    async def open_broken(nodes: tuple[int, ...]) -> Sequence[Transport]:
        return [broken(transport) for transport in await open_loopback(nodes)]

    (chosen,) = (one for one in CONTRACT if one.__name__ == check)
    with pytest.raises(ContractError):
        await chosen(open_broken)


async def test_silent_transport_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    class Silent(Broken):
        async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
            await trio.lowlevel.checkpoint()

    async def open_silent(nodes: tuple[int, ...]) -> Sequence[Transport]:
        return [Silent(transport) for transport in await open_loopback(nodes)]

    with pytest.raises(ContractError, match="node 1 did not receive the first broadcasts"):
        await check_transport(open_silent)


async def test_transport_that_raises_what_it_should_count_breaks_the_contract(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Raises(Broken):
        async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
            if any(destination == 77 for destination, _ in transmits):
                raise OSError("no route to 77")
            await super().send(transmits)

    async def open_raising(nodes: tuple[int, ...]) -> Sequence[Transport]:
        return [Raises(transport) for transport in await open_loopback(nodes)]

    with pytest.raises(ContractError, match=r"nobody_is_no_error: it raised OSError\('no route to 77'\)"):
        await check_transport(open_raising)


async def test_whole_contract_runs_as_one_call(autojump_clock: trio.testing.MockClock) -> None:
    opened: list[Any] = []

    async def open_transports(nodes: tuple[int, ...]) -> Sequence[Transport]:
        transports = await open_loopback(nodes)
        opened.append(transports)
        return transports

    opener: OpenTransports = open_transports
    await check_transport(opener)
    assert len(opened) == len(CONTRACT)
