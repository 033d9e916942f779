"""The promises of ``Transport`` as checks that anybody can run on a transport of their own.

Each check opens fresh transports, uses them as the ring does, closes them, and raises :class:`ContractError` with the
promise that was broken. No test framework is needed, and any can be used:

    async def open_transports(nodes):               # one for each node id, on a network of their own
        network = MyNetwork()
        return [await network.connect(node) for node in nodes]

    trio.run(check_transport, open_transports)      # all of them, one after the other

    @pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
    def test_my_transport_keeps_its_promises(check):
        trio.run(check, open_transports)

The network has to be one that loses nothing and doubles nothing while it is idle: the checks keep few datagrams under
way. No check depends on how fast the machine is; what never comes is given up after ``PATIENCE_S``.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import trio
import trio.testing

from ringproto.transports import EagerTransport, Transport

__all__ = ["CONTRACT", "Check", "ContractError", "OpenTransports", "check_transport"]

OpenTransports = Callable[[tuple[int, ...]], Awaitable[Sequence[Transport]]]
"""Opens one transport for each of the node ids, all on one network that nobody else is on. The check closes them."""

Check = Callable[[OpenTransports], Awaitable[None]]

PATIENCE_S = 10.0
"""What should arrive and does not is given up after so long."""
QUIET_S = 0.05
"""What should not arrive is waited for so long."""
NODES = (1, 2, 2**32 - 1)
HELLO = b"\0hello"


class ContractError(AssertionError):
    """The transport broke a promise."""


async def check_transport(open_transports: OpenTransports) -> None:
    """Run every check of the contract.

    Raises:
        ContractError: the first promise that was broken.

    Cancellation: closes what is open.
    """
    for check in CONTRACT:
        try:
            await check(open_transports)
        except (ContractError, trio.Cancelled):
            raise
        except Exception as error:
            raise ContractError(f"{check.__name__}: it raised {error!r}") from error


async def members_are_there(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        for node, transport in zip(NODES, transports, strict=True):
            _require(isinstance(transport, Transport), f"{transport!r} has not all the members of Transport")
            _require(transport.node == node, f"node is {transport.node!r}, and {node} was opened")
            size = transport.datagram_size_max
            _require(isinstance(size, int) and size >= 1, f"datagram_size_max must be a positive number, not {size!r}")


async def broadcast_reaches_every_other_and_not_the_sender(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        for sender in transports:
            datagram = b"to all from %d" % sender.node
            await sender.send([(0, datagram)])
            for other in transports:
                if other is not sender:
                    await _expect(other, [datagram], f"a broadcast of node {sender.node}")
            await _expect_nothing(sender, "its own broadcast")


async def unicast_reaches_one_only(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        for sender, destination, bystander in ((first, second, third), (second, third, first), (third, first, second)):
            datagram = b"from %d to %d" % (sender.node, destination.node)
            await sender.send([(destination.node, datagram)])
            await _expect(destination, [datagram], f"a unicast of node {sender.node}")
            await _expect_nothing(bystander, f"a unicast of node {sender.node} to node {destination.node}")
            await _expect_nothing(sender, "its own unicast")


async def batches_go_both_ways(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        there = [b"there %d" % number for number in range(40)]
        back = [b"back %d" % number for number in range(40)]
        await first.send([(second.node, datagram) for datagram in there])
        await second.send([(first.node, datagram) for datagram in back])
        await _expect(second, there, "a batch of unicasts")
        await _expect(first, back, "a batch of unicasts in answer")
        await first.send([])
        await _expect_nothing(second, "an empty batch")


async def one_sender_keeps_its_order(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        for what, destination, receivers in (("broadcasts", 0, (second, third)), ("unicasts", third.node, (third,))):
            for start in range(0, 200, 20):
                batch = [b"%s %d" % (what.encode(), number) for number in range(start, start + 20)]
                await first.send([(destination, datagram) for datagram in batch[:1]])
                await first.send([(destination, datagram) for datagram in batch[1:]])
                for receiver in receivers:
                    await _expect(receiver, batch, f"{what} of one sender")


async def every_size_arrives_unchanged(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        greatest = min(first.datagram_size_max, 2**20)
        sizes = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 255, 256, greatest // 3, greatest // 2, greatest - 1, greatest}
        for size in sorted(one for one in sizes if 1 <= one <= greatest):
            for start in (0, 1):  # a transport may cut those that begin with some byte
                datagram = _pattern(size, start)
                await first.send([(0, datagram), (second.node, datagram)])
                await _expect(second, [datagram, datagram], f"a datagram of {size} bytes")
                await _expect(third, [datagram], f"a datagram of {size} bytes")


async def misuse_raises_and_sends_nothing(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        good = (0, b"the good one")
        too_large = bytes(first.datagram_size_max + 1)
        wrong: list[tuple[Any, str, type[Exception]]] = [
            ((0, too_large), "a datagram that is too large", ValueError),
            ((second.node, too_large), "a datagram that is too large", ValueError),
            ((0, b""), "a datagram without bytes", ValueError),
            ((-1, b"x"), "the destination -1", ValueError),
            ((2**32, b"x"), "the destination 2**32", ValueError),
            ((0, "text"), "a datagram that is a string", TypeError),
            ((0, bytearray(b"x")), "a datagram that is a bytearray", TypeError),
        ]
        for transmit, what, error in wrong:
            for batch in ([good, transmit], [transmit, good]):
                try:
                    await first.send(batch)
                except error:
                    continue
                except Exception as exc:
                    raise ContractError(f"send() must raise {error.__name__} for {what}, not {exc!r}") from exc
                raise ContractError(f"send() must raise {error.__name__} for {what}")
        for receiver in (second, third):
            await _expect_nothing(receiver, "anything of a batch that was refused")
        await first.send([good])
        await _expect(second, [good[1]], "a datagram after a batch that was refused")


async def sending_without_waiting_keeps_the_same_promises(open_transports: OpenTransports) -> None:
    """For an :class:`EagerTransport`; there is nothing to see of another one."""
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        if not isinstance(first, EagerTransport):
            return
        good = (0, b"the good one")
        for transmit, what, error in (
            ((0, bytes(first.datagram_size_max + 1)), "a datagram that is too large", ValueError),
            ((-1, b"x"), "the destination -1", ValueError),
        ):
            try:
                first.send_nowait([good, transmit])
            except error:
                continue
            raise ContractError(f"send_nowait() must raise {error.__name__} for {what}")
        await _expect_nothing(second, "anything of a batch that was refused")
        datagrams = [b"%d" % number for number in range(40)]
        for start in range(0, 40, 8):
            batch = [(second.node, datagram) for datagram in datagrams[start : start + 4]]
            if not first.send_nowait(batch):
                await first.send([])
            await first.send([(second.node, datagram) for datagram in datagrams[start + 4 : start + 8]])
        await _expect(second, datagrams, "batches that were sent in both ways")
        await first.aclose()
        try:
            first.send_nowait([good])
        except trio.ClosedResourceError:
            return
        raise ContractError("send_nowait() on a closed transport must raise trio.ClosedResourceError")


async def nobody_is_no_error(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        await first.send([(first.node, b"to oneself")])
        for transport in transports:
            await _expect_nothing(transport, "a datagram that a processor sent to itself")
        stranger = b"to a stranger"
        await first.send([(77, stranger), (0, b"to all")])
        for receiver in (second, third):
            # A transport without a table may ask everybody.
            arrived = await _collect(
                receiver, lambda got: b"to all" in got, "a broadcast after a unicast to a stranger"
            )
            _require(set(arrived) <= {stranger, b"to all"}, f"nobody sent {arrived!r}")
            await _drain(receiver)
        await _expect_nothing(first, "a datagram to a stranger")


async def cancelled_receive_loses_nothing(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        sent: list[bytes] = []
        arrived: list[bytes] = []

        async def receive(scope: trio.CancelScope) -> None:
            with scope:
                arrived.extend(await second.receive())

        for turn in range(60):
            batch = [b"turn %d, %d" % (turn, number) for number in range(3)]
            sent += batch
            async with trio.open_nursery() as nursery:
                scope = trio.CancelScope()
                if turn % 3 == 0:
                    scope.cancel()  # cancelled before it begins
                nursery.start_soon(receive, scope)
                for _ in range(turn % 4):
                    await trio.lowlevel.checkpoint()
                await first.send([(second.node, datagram) for datagram in batch])
                for _ in range(turn % 5):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
        arrived += await _collect(
            second, lambda got: len(arrived) + len(got) >= len(sent), "what was under way when receive() was cancelled"
        )
        _require(arrived == sent, "a receive() that was cancelled lost, doubled or reordered datagrams")
        await _expect_nothing(second, "a second copy of what arrived")


async def cancelled_send_on_entry_sends_nothing(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        with trio.CancelScope() as scope:
            scope.cancel()
            await first.send([(0, b"too late")])
        _require(scope.cancelled_caught, "send() must notice on entry that it was cancelled")
        await _expect_nothing(second, "a datagram whose send() was cancelled on entry")
        await first.send([(0, b"again")])
        await _expect(second, [b"again"], "a datagram after a send() that was cancelled")


async def sending_and_receiving_at_once(open_transports: OpenTransports) -> None:
    rounds = 50
    async with _opened(open_transports) as transports:

        async def take_part(transport: Transport, left: Transport, right: Transport) -> None:
            # Each waits for the others before its next round, so that few datagrams are under way.
            got: dict[bytes, int] = {}
            for number in range(rounds):
                await transport.send([(0, b"%d %d" % (transport.node, number)), (right.node, b"unicast %d" % number)])
                due = {b"%d %d" % (left.node, number), b"%d %d" % (right.node, number), b"unicast %d" % number}
                while not due <= got.keys():
                    for datagram in await _receive(transport, f"round {number} of all processors at once"):
                        got[datagram] = got.get(datagram, 0) + 1
            _require(len(got) == 3 * rounds and set(got.values()) == {1}, "datagrams were doubled, or invented")

        first, second, third = transports
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_part, first, third, second)
            nursery.start_soon(take_part, second, first, third)
            nursery.start_soon(take_part, third, second, first)


async def a_waiting_receive_does_not_hinder_send(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        got: list[bytes] = []

        async def receive() -> None:
            got.extend(await _receive(first, "an answer"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await first.send([(second.node, b"question")])
            await _expect(second, [b"question"], "what was sent while the sender waited in receive()")
            await second.send([(first.node, b"answer")])
        _require(got == [b"answer"], f"the answer came out as {got!r}")


async def second_receive_is_refused(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        got: list[bytes] = []

        async def receive() -> None:
            got.extend(await _receive(first, "a datagram after a second receive() was refused"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(QUIET_S) as scope:
                try:
                    await first.receive()
                except trio.BusyResourceError:
                    pass
                else:
                    raise ContractError("a second receive() while one waits must raise trio.BusyResourceError")
            _require(not scope.cancelled_caught, "a second receive() while one waits must be refused, not wait too")
            await second.send([(first.node, b"x")])
        _require(got == [b"x"], "the first receive() did not go on")


async def other_tasks_run(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        ticks = 0

        async def tick(times: int) -> None:
            nonlocal ticks
            for _ in range(times):
                ticks += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            early = 0
            for number in range(40):
                await first.send([(second.node, b"%d" % number)])
                await trio.sleep(QUIET_S / 10)
                before = ticks
                nursery.start_soon(tick, 1)
                await _expect(second, [b"%d" % number], "a datagram")
                early += ticks > before
            # trio runs the tasks of one moment in random order, so half of the time the tick comes second.
            _require(early > 0, "receive() must let other tasks run, also when datagrams are there already")
            before = ticks
            nursery.start_soon(tick, 100)
            for _ in range(2000):
                await first.send([(second.node, b"x")] * 2)
            _require(ticks > before, "send() must let other tasks run at least once in some hundreds of datagrams")


async def closed_is_closed(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, third = transports
        await first.aclose()
        await first.aclose()
        for what, call in (("send()", lambda: first.send([(0, b"x")])), ("receive()", first.receive)):
            await _expect_closed(what, call)
        _require(isinstance(first.statistics(), dict), "statistics() must work on a closed transport")
        await _expect_nothing(second, "a datagram of a closed transport")
        # The others go on.
        await third.send([(0, b"on"), (first.node, b"to the closed one")])
        await _expect(second, [b"on"], "a broadcast after another processor closed its transport")


async def closing_wakes_a_waiting_receive(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first = transports[0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_closed, "a receive() that waits", first.receive)
            await trio.testing.wait_all_tasks_blocked()
            await first.aclose()


async def cancelled_aclose_closes(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first = transports[0]
        with trio.CancelScope() as scope:
            scope.cancel()
            await first.aclose()
        await _expect_closed("send() after a cancelled aclose()", lambda: first.send([(0, b"x")]))


async def statistics_count(open_transports: OpenTransports) -> None:
    async with _opened(open_transports) as transports:
        first, second, _ = transports
        before = [transport.statistics() for transport in transports]
        await first.send([(second.node, b"12345"), (second.node, b"678")])
        await _expect(second, [b"12345", b"678"], "two unicasts")
        after = [transport.statistics() for transport in transports]
        for place, kind in ((0, "sent"), (1, "received")):
            for name, due in ((f"datagrams_{kind}", 2), (f"bytes_{kind}", 8)):
                values = before[place].get(name), after[place].get(name)
                _require(
                    all(isinstance(value, int) for value in values), f"statistics() must have the counter {name!r}"
                )
                _require(after[place][name] - before[place][name] == due, f"{name} must rise by {due}: {values}")


CONTRACT: tuple[Check, ...] = (
    members_are_there,
    broadcast_reaches_every_other_and_not_the_sender,
    unicast_reaches_one_only,
    batches_go_both_ways,
    one_sender_keeps_its_order,
    every_size_arrives_unchanged,
    misuse_raises_and_sends_nothing,
    sending_without_waiting_keeps_the_same_promises,
    nobody_is_no_error,
    cancelled_receive_loses_nothing,
    cancelled_send_on_entry_sends_nothing,
    sending_and_receiving_at_once,
    a_waiting_receive_does_not_hinder_send,
    second_receive_is_refused,
    other_tasks_run,
    closed_is_closed,
    closing_wakes_a_waiting_receive,
    cancelled_aclose_closes,
    statistics_count,
)
"""Every check, in the order in which a new transport would pass them."""


@contextlib.asynccontextmanager
async def _opened(open_transports: OpenTransports) -> AsyncIterator[Sequence[Transport]]:
    """Three transports that have met, closed in the end."""
    transports = await open_transports(NODES)
    try:
        _require(len(transports) == len(NODES), f"{len(NODES)} transports were to be opened, not {len(transports)}")
        await _introduce(transports)
        yield transports
    except BaseException as exc:
        # Out of a nursery a broken promise comes wrapped.
        broken = _broken_promise(exc)
        if broken is None or broken is exc:
            raise
        raise broken from None
    finally:
        with trio.CancelScope(shield=True):
            for transport in transports:
                await transport.aclose()


def _broken_promise(error: BaseException) -> ContractError | None:
    if isinstance(error, ContractError):
        return error
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    return next((found for one in inner if (found := _broken_promise(one)) is not None), None)


async def _introduce(transports: Sequence[Transport]) -> None:
    """Let everybody hear of everybody, for transports that learn addresses from what arrives."""
    for transport in transports:
        await transport.send([(0, HELLO)])
    for transport in transports:
        await _expect(transport, [HELLO] * (len(transports) - 1), "the first broadcasts")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _pattern(size: int, start: int = 0) -> bytes:
    """Bytes in which nothing repeats at a usual distance; the first one is ``start``."""
    return bytes((place * place + place // 251 + start) % 256 for place in range(size))


async def _receive(transport: Transport, what: str) -> list[bytes]:
    """One batch, which has to come and to be one."""
    with trio.move_on_after(PATIENCE_S):
        batch = await transport.receive()
        _require(isinstance(batch, list) and len(batch) > 0, f"receive() must return a list with datagrams: {batch!r}")
        _require(all(type(one) is bytes for one in batch), "receive() must return datagrams as bytes")
        return batch
    raise ContractError(f"node {transport.node} did not receive {what}")


async def _collect(transport: Transport, enough: Callable[[list[bytes]], bool], what: str) -> list[bytes]:
    """All that arrives until it is enough."""
    got: list[bytes] = []
    while not enough(got):
        got += await _receive(transport, what)
    return got


async def _expect(transport: Transport, datagrams: Sequence[bytes], what: str) -> None:
    """Exactly these datagrams arrive, in this order."""
    got = await _collect(transport, lambda got: len(got) >= len(datagrams), what)
    if got != list(datagrams):
        raise ContractError(f"node {transport.node} received {_short(got)} instead of {what}, {_short(datagrams)}")


async def _expect_nothing(transport: Transport, what: str) -> None:
    got = await _drain(transport)
    _require(not got, f"node {transport.node} received {_short(got)}: it must not receive {what}")


async def _drain(transport: Transport) -> list[bytes]:
    """What arrives until it is quiet."""
    got: list[bytes] = []
    while True:
        with trio.move_on_after(QUIET_S):
            got += await transport.receive()
            continue
        return got


async def _expect_closed(what: str, call: Callable[[], Awaitable[object]]) -> None:
    with trio.move_on_after(PATIENCE_S):
        try:
            await call()
        except trio.ClosedResourceError:
            return
        raise ContractError(f"{what} on a closed transport must raise trio.ClosedResourceError")
    raise ContractError(f"{what} on a closed transport must raise trio.ClosedResourceError, and waits instead")


def _short(datagrams: Sequence[bytes]) -> str:
    shown = ", ".join(repr(one if len(one) <= 32 else one[:29] + b"...") for one in datagrams[:5])
    more = f" and {len(datagrams) - 5} more" if len(datagrams) > 5 else ""
    return f"[{shown}{more}]"
