"""What ends a ring from within or from the body, and as which exception it reaches the caller."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
import trio
import trio.testing
from service_cluster import BaseExceptionGroup, Cluster, Program, numbered, until

from ringproto import (
    Config,
    Message,
    RefusedError,
    Ring,
    RingClosedError,
    RingError,
    SlowConsumerError,
    open_ring,
)
from ringproto.transports import BlockingTransport, LoopbackNetwork, Transport

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


async def caught_from(opening: Callable[[], Awaitable[None]]) -> BaseException | None:
    """What comes out of it, whatever it is."""
    try:
        await opening()
    except BaseException as error:
        return error
    return None


# Slow consumers


async def _waits(ring: Ring) -> None:
    await trio.sleep_forever()


async def _has_tasks(ring: Ring) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(trio.sleep_forever)


async def _sends(ring: Ring) -> None:
    for number in range(1_000_000):
        await ring.low.send(f"mine.{number}|".encode())


async def _is_shielded(ring: Ring) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(5.0)


@pytest.mark.parametrize("body", [_waits, _has_tasks, _sends, _is_shielded])
async def test_slow_consumer_leaves_with_its_error_bare_and_the_others_go_on(
    cluster: Cluster, body: Callable[[Ring], Awaitable[None]]
) -> None:
    config = Config.testing(events_max=32)
    slow = cluster.start(3, body=body, config=config)
    slow.error_expected = True
    first, second = cluster.start(1, config=config), cluster.start(2, config=config)
    await cluster.met(first, second, slow)
    payloads = numbered("flood", 1000, 500)
    with trio.fail_after(60):
        await first.ring.high.send_batch(payloads)
    await slow.end(within_s=60)
    assert type(slow.error) is SlowConsumerError, repr(slow.error)
    assert "ring.events" in str(slow.error)
    await cluster.delivered(payloads, first, second)
    both = (first, second)
    await until(lambda: all(any(3 in one.left for one in program.configurations) for program in both), "it was missed")
    assert first.payloads == second.payloads
    for program in both:
        if cluster.driver == "trio":  # in real time a busy machine loses tokens by itself
            assert program.ring.statistics().get("token_losses", 0) == 0, "it said that it leaves"


async def test_consumer_that_reads_a_little_is_not_slow(cluster: Cluster) -> None:
    config = Config.testing(events_max=32)

    async def body(ring: Ring) -> None:
        while True:
            lazy.events.append(await ring.events.receive())
            await trio.sleep(0.02 if len(lazy.events) > 20 else 0.0)

    lazy: Program = cluster.start(2, body=body, config=config)
    first = cluster.start(1, config=config)
    await cluster.settled(first, lazy)
    payloads = numbered("drip", 150)
    await first.ring.high.send_batch(payloads)
    await cluster.delivered(payloads, first, lazy, within_s=100)
    assert lazy.payloads == payloads
    assert len(lazy.configurations) == len(first.configurations), "nobody left"


async def test_slow_consumer_slows_the_sender_down(cluster: Cluster) -> None:
    config = Config.testing(events_max=32, send_queue_max=16, slow_consumer_timeout_s=1000.0)
    first, second = await cluster.form(1, 2, config=config)
    second.reading = trio.Event()
    payloads = numbered("pressed", 2000)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for payload in payloads:
            await first.ring.low.send(payload)
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(2.0)
        stalled_at = sent
        assert stalled_at < len(payloads), "the sender has to wait for the slow reader"
        await trio.sleep(2.0)
        assert sent == stalled_at
        assert first.ring.statistics()["senders_waiting_low"] == 1
        second.reading.set()
    await cluster.delivered(payloads, first, second)
    assert second.payloads == payloads, "and nothing is lost"


@pytest.mark.parametrize("slow_node", [1, 3])
async def test_ring_that_waits_for_a_slow_reader_lets_time_pass(cluster: Cluster, slow_node: int) -> None:
    """Without latency a token that never rests would stop the clock (and on a real host burn a core)."""
    cluster.network.latency_s = 0.0
    config = Config.testing(events_max=16, slow_consumer_timeout_s=1000.0)
    programs = await cluster.form(1, 2, 3, config=config)
    slow = programs[slow_node - 1]
    sender = programs[slow_node % 3]
    slow.reading = trio.Event()
    for payload in numbered("held", 250, 600):
        sender.ring.low.send_nowait(payload)
    await trio.sleep(1.0)
    before = sender.ring.statistics()["rotations"]
    await trio.sleep(1.0)
    turns = sender.ring.statistics()["rotations"] - before
    assert turns <= 2 / config.token_hold_s, "the token rests while nothing can be sent"
    slow.reading.set()
    await cluster.delivered(numbered("held", 250, 600), *programs)


# Being refused


@pytest.mark.parametrize(
    ("field", "value"), [("quorum", 2), ("members_max", 32), ("message_size_max", 4096), ("window_size", 33)]
)
async def test_processor_with_other_limits_is_refused_with_the_reason(cluster: Cluster, field: str, value: int) -> None:
    first, second = await cluster.form(1, 2)
    stranger = cluster.start(3, config=Config.testing(**{field: value}))
    stranger.error_expected = True
    await stranger.end()
    cluster.drop_audit(stranger.audit)
    assert type(stranger.error) is RefusedError, repr(stranger.error)
    ours = getattr(Config.testing(), field)
    text = str(stranger.error)
    assert field in text and str(value) in text and str(ours) in text
    await trio.sleep(1.0)
    await cluster.settled(first, second)
    assert len(first.configurations) == len(second.configurations) == 2, "it was not half-joined"


async def test_processor_with_another_datagram_size_is_refused(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    stranger = cluster.start(3, config=Config.testing(datagram_size=1000))
    stranger.error_expected = True
    await stranger.end()
    assert type(stranger.error) is RefusedError
    assert "datagram_size" in str(stranger.error) and "1000" in str(stranger.error)
    await cluster.settled(first, second)


async def test_timeouts_may_differ(cluster: Cluster) -> None:
    first = cluster.start(1, config=Config.testing(token_timeout_s=0.2, events_max=100))
    second = cluster.start(2, config=Config.testing(send_queue_max=7))
    await cluster.settled(first, second)


# The transport


class BrokenTransport:
    """A transport of somebody's own that breaks its promises when it is told to."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self.node = inner.node
        self.datagram_size_max = inner.datagram_size_max
        self.break_send: BaseException | None = None
        self.break_receive: BaseException | None = None
        self.break_close: BaseException | None = None
        self.before_receive: Callable[[], None] | None = None
        self.closed = False

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        if self.break_send is not None:
            raise self.break_send
        await self.inner.send(transmits)

    async def receive(self) -> list[bytes]:
        batch = await self.inner.receive()
        if self.break_receive is not None:
            raise self.break_receive
        if self.before_receive is not None:
            self.before_receive()
        return batch

    def begin_blocking(self) -> None:
        assert isinstance(self.inner, BlockingTransport)
        self.inner.begin_blocking()

    def send_blocking(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        assert isinstance(self.inner, BlockingTransport)
        if self.break_send is not None:
            raise self.break_send
        self.inner.send_blocking(transmits)

    def receive_blocking(self, timeout_s: float) -> list[bytes]:
        assert isinstance(self.inner, BlockingTransport)
        batch = self.inner.receive_blocking(timeout_s)
        if batch and self.break_receive is not None:
            raise self.break_receive
        if batch and self.before_receive is not None:
            self.before_receive()
        return batch

    def interrupt(self) -> None:
        assert isinstance(self.inner, BlockingTransport)
        self.inner.interrupt()

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()
        if self.break_close is not None:
            raise self.break_close

    def statistics(self) -> dict[str, int]:
        return self.inner.statistics()


@pytest.mark.parametrize("body", [_waits, _has_tasks, _sends, _is_shielded])
@pytest.mark.parametrize("where", ["send", "receive"])
async def test_failure_of_the_transport_is_one_ring_error_bare(
    cluster: Cluster, where: str, body: Callable[[Ring], Awaitable[None]]
) -> None:
    transport = BrokenTransport(cluster.network.open(1))
    reason = OSError("the cable is cut")
    first = cluster.start(1, body=body, transport=transport)
    first.error_expected = True
    second = cluster.start(2)
    await cluster.met(first, second)
    setattr(transport, f"break_{where}", reason)
    await first.end()
    assert isinstance(first.error, RingError), repr(first.error)
    assert not isinstance(first.error, trio.ClosedResourceError)
    assert "the cable is cut" in str(first.error)
    assert first.error.__cause__ is reason
    assert transport.closed
    cluster.end_audit(first.audit)
    await cluster.settled(second)


async def test_everybody_who_waits_for_room_outside_of_the_body_is_told_that_the_ring_has_failed(
    cluster: Cluster,
) -> None:
    ended = trio.Event()

    async def body(ring: Ring) -> None:
        with trio.CancelScope(shield=True):
            await ended.wait()

    transport = BrokenTransport(cluster.network.open(1))
    config = Config.testing(send_queue_max=2, quorum=3)
    program = cluster.start(1, body=body, transport=transport, config=config)
    program.error_expected = True
    second = cluster.start(2, config=config)
    await cluster.met(program, second)
    told: list[BaseException] = []

    async def send(sender: Any, number: int) -> None:
        try:
            await sender.send(b"word.%d|" % number)
        except RingClosedError as error:
            told.append(error)

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(4):
                nursery.start_soon(send, program.ring.high, number)
                nursery.start_soon(send, program.ring.low, 4 + number)
            numbers = program.ring.statistics
            await until(lambda: numbers()["senders_waiting_high"] + numbers()["senders_waiting_low"] == 4, "they wait")
            transport.break_receive = OSError("the cable is cut")
            try:
                await until(lambda: len(told) == 4, "they are told while the body still runs", within_s=5)
            finally:
                ended.set()
            await program.end()
    cluster.end_audit(program.audit)


async def test_transport_that_was_closed_under_the_ring_is_a_ring_error(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    program.error_expected = True
    await program.transport.aclose()
    await program.end()
    assert isinstance(program.error, RingError), repr(program.error)
    assert isinstance(program.error.__cause__, trio.ClosedResourceError)
    cluster.end_audit(program.audit)


async def test_transport_that_cannot_be_closed_does_not_hide_the_error_of_the_body(cluster: Cluster) -> None:
    transport = BrokenTransport(cluster.network.open(1))
    transport.break_close = OSError("will not close")

    async def body(ring: Ring) -> None:
        raise ValueError("of the body")

    program = cluster.start(1, body=body, transport=transport)
    program.error_expected = True
    await program.end()
    assert isinstance(program.error, ValueError), repr(program.error)


async def test_transport_that_cannot_be_closed_is_a_ring_error(cluster: Cluster) -> None:
    transport = BrokenTransport(cluster.network.open(1))
    transport.break_close = OSError("will not close")

    async def body(ring: Ring) -> None:
        await trio.sleep(0.1)

    program = cluster.start(1, body=body, transport=transport)
    program.error_expected = True
    await program.end()
    assert isinstance(program.error, RingError), repr(program.error)


async def test_rest_of_the_stream_can_be_read_after_a_failure(cluster: Cluster) -> None:
    transport = BrokenTransport(cluster.network.open(1))
    rings: list[Ring] = []

    async def body(ring: Ring) -> None:
        rings.append(ring)
        await trio.sleep_forever()

    first = cluster.start(1, body=body, transport=transport)
    first.error_expected = True
    second = cluster.start(2)
    await cluster.met(first, second)
    await until(lambda: bool(second.completions) and second.completions[-1].members == (1, 2), "complete")
    await second.ring.high.send(b"before the end|")
    await cluster.delivered([b"before the end|"], second)
    await trio.sleep(0.2)
    transport.break_receive = OSError("gone")
    await first.end()
    cluster.end_audit(first.audit)
    rest = [event async for event in rings[0].events]
    assert [event.payload for event in rest if isinstance(event, Message)] == [b"before the end|"]
    with pytest.raises(RingClosedError):
        await rings[0].high.send(b"after it")


async def test_reason_is_not_lost_when_the_body_runs_into_the_closed_ring(cluster: Cluster) -> None:
    transport = BrokenTransport(cluster.network.open(1))

    async def body(ring: Ring) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(2.0)
            ring.high.send_nowait(b"into the void")

    program = cluster.start(1, body=body, transport=transport)
    program.error_expected = True
    await until(lambda: program._ring is not None, "it runs")
    transport.break_send = OSError("the cable is cut")
    await program.end()
    cluster.end_audit(program.audit)
    chain: list[str] = []
    error = program.error
    while error is not None:
        chain.append(str(error))
        error = error.__cause__ or error.__context__
    assert any("the cable is cut" in text for text in chain), chain


# The body


class Special(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("plain"),
        trio.WouldBlock(),
        trio.ClosedResourceError("another one's"),
        RingError("of the body"),
        ExceptionGroup("a group", [ValueError("one"), KeyError("two")]),
        StopIteration(),
        StopAsyncIteration(),
        KeyboardInterrupt(),
        SystemExit(3),
        GeneratorExit(),
        Special(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_what_the_body_raises_leaves_unchanged(cluster: Cluster, error: BaseException) -> None:
    (other,) = await cluster.form(2)

    caught = None
    try:
        async with open_ring(
            cluster.network.open(1), driver=cluster.driver, config=Config.testing(), audit=cluster.new_audit()
        ):
            await trio.sleep(0.5)
            raise error
    except BaseException as one:
        caught = one
    assert caught is error
    await until(lambda: other.configurations[-1].left == (1,), "it left")
    assert other.ring.statistics().get("token_losses", 0) == 0


async def test_what_a_nursery_of_the_body_raises_leaves_as_its_group(cluster: Cluster) -> None:
    async def fails() -> None:
        await trio.sleep(0.1)
        raise ValueError("in a task")

    async def opening() -> None:
        async with (
            open_ring(cluster.network.open(1), driver=cluster.driver, config=Config.testing()),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(fails)
            nursery.start_soon(trio.sleep_forever)

    caught = await caught_from(opening)
    assert isinstance(caught, ExceptionGroup)
    assert [type(error) for error in caught.exceptions] == [ValueError]


async def test_no_cancellation_leaks_with_an_error_of_a_cancelled_body(cluster: Cluster) -> None:
    """The ring fails, that cancels the body, and the body raises something of its own beside."""
    transport = BrokenTransport(cluster.network.open(1))

    async def fails_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("cleanup")

    async def body(ring: Ring) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(trio.sleep_forever)

    program = cluster.start(1, body=body, transport=transport)
    program.error_expected = True
    await until(lambda: program._ring is not None, "it runs")
    transport.break_send = OSError("the cable is cut")
    await program.end()
    cluster.end_audit(program.audit)
    assert program.error is not None
    leaves = list(_leaves(program.error))
    assert not any(isinstance(error, trio.Cancelled) for error in leaves), leaves
    assert any(isinstance(error, (ValueError, RingError)) for error in leaves)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for one in error.exceptions for leaf in _leaves(one)]
    return [error]


async def test_failure_of_an_outer_ring_ends_an_inner_ring_and_is_bare(cluster: Cluster) -> None:
    transport = BrokenTransport(cluster.network.open(1))
    inside = LoopbackNetwork(latency_s=0.0001)

    async def body(ring: Ring) -> None:
        async with open_ring(inside.open(1), config=Config.testing(cluster="inside")):
            await trio.sleep_forever()

    program = cluster.start(1, body=body, transport=transport)
    program.error_expected = True
    await until(lambda: program._ring is not None, "it runs")
    await trio.sleep(0.5)
    transport.break_receive = transport.break_send = OSError("the cable is cut")
    await program.end()
    cluster.end_audit(program.audit)
    assert isinstance(program.error, RingError), repr(program.error)
    assert inside.nodes == (), "the inner ring was left too"


async def test_failure_of_an_inner_ring_passes_through_an_outer_ring_bare(cluster: Cluster) -> None:
    inside = LoopbackNetwork(latency_s=0.0001)
    transport = BrokenTransport(inside.open(1))
    transport.break_receive = transport.break_send = OSError("the cable is cut")

    async def body(ring: Ring) -> None:
        async with open_ring(transport, config=Config.testing(cluster="inside")):
            await trio.sleep_forever()

    program = cluster.start(1, body=body)
    program.error_expected = True
    await program.end()
    assert type(program.error) is RingError, repr(program.error)


def _run(main: Callable[[], Awaitable[None]]) -> BaseException | None:
    try:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseException as error:
        return error
    return None


def test_keyboard_interrupt_in_the_body_leaves_in_an_orderly_way_and_bare() -> None:
    network = LoopbackNetwork(latency_s=0.0001)
    left: list[object] = []

    async def main() -> None:
        async with open_ring(network.open(1), config=Config.testing()) as ring:
            await trio.sleep(0.5)
            left.append(ring)
            signal.raise_signal(signal.SIGINT)
            await trio.sleep(1.0)

    error = _run(main)
    assert type(error) is KeyboardInterrupt, repr(error)
    assert left and network.nodes == ()


def test_keyboard_interrupt_that_comes_while_the_driver_runs_is_as_one_in_the_body() -> None:
    """A signal is handled wherever Python happens to be; it must not tear the core apart nor come in a group."""
    network = LoopbackNetwork(latency_s=0.0001)
    transport = BrokenTransport(network.open(1))
    others: list[Ring] = []

    async def main() -> None:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async with open_ring(network.open(2), config=Config.testing()) as ring:
                    others.append(ring)
                    with trio.CancelScope(shield=True):
                        await trio.sleep(3.0)

            nursery.start_soon(watch)
            await trio.sleep(0.5)
            try:
                async with open_ring(transport, config=Config.testing()):
                    await trio.sleep(1.0)
                    transport.before_receive = interrupt
                    await trio.sleep(1.0)
            except BaseException as error:
                caught.append(error)

    def interrupt() -> None:
        transport.before_receive = None
        signal.raise_signal(signal.SIGINT)

    caught: list[BaseException] = []
    error = _run(main)
    # trio may hand the signal to the main task, which is in the body, or keep it for the end.
    everything = [*caught, *([error] if error is not None else [])]
    assert [type(one) for one in everything] == [KeyboardInterrupt], everything
    assert others[0].statistics().get("token_losses", 0) == 0, "it left in an orderly way"
