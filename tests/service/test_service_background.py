"""What a transport has to do beside sending and receiving is a task of the ring's nursery, whatever drives the ring."""

from __future__ import annotations

import socket
import sys

import pytest
import trio

from ringproto import Config, RingError, open_ring
from ringproto.transports import BackgroundTransport, LoopbackNetwork, Transport, open_unicast_udp
from ringproto.transports.unicast_udp import UnicastUDP

if sys.version_info < (3, 11):
    from exceptiongroup import ExceptionGroup


class Busy:
    """A transport that does something in the background."""

    def __init__(self, inner: Transport) -> None:
        self.node = inner.node
        self.datagram_size_max = inner.datagram_size_max
        self.send = inner.send
        self.receive = inner.receive
        self.aclose = inner.aclose
        self.statistics = inner.statistics
        self.task: trio.lowlevel.Task | None = None
        self.failure: Exception | None = None
        self.ended = False

    async def run_background(self) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            if self.failure is not None:
                raise self.failure
            await trio.sleep_forever()
        finally:
            self.ended = True


async def test_background_work_runs_while_the_ring_is_open_and_is_nobody_s_task_beside() -> None:
    transport = Busy(LoopbackNetwork().open(1))
    assert isinstance(transport, BackgroundTransport)
    mine = trio.lowlevel.current_task()
    async with open_ring(transport, config=Config.testing()) as ring:
        await ring.recovery_complete.receive()
        assert transport.task is not None and not transport.ended
        assert transport.task.parent_nursery in mine.child_nurseries, "not a system task"
    assert transport.ended


async def test_background_work_that_fails_ends_the_ring_with_its_reason() -> None:
    transport = Busy(LoopbackNetwork().open(1))
    transport.failure = ValueError("a fault of the transport")
    with pytest.raises(RingError, match="ValueError: a fault of the transport"):
        async with open_ring(transport, config=Config.testing()):
            await trio.sleep_forever()


async def test_faults_in_a_nursery_of_the_background_work_are_named() -> None:
    transport = Busy(LoopbackNetwork().open(1))
    transport.failure = ExceptionGroup("nursery", [ExceptionGroup("nursery", [ValueError("one fault")])])
    with pytest.raises(RingError, match=r"service failed: ValueError: one fault$") as raised:
        async with open_ring(transport, config=Config.testing()):
            await trio.sleep_forever()
    assert isinstance(raised.value.__cause__, ValueError)
    transport = Busy(LoopbackNetwork().open(1))
    transport.failure = ExceptionGroup("nursery", [ValueError("one"), *[OSError("another")] * 4])
    with pytest.raises(RingError, match=r"ValueError: one; (OSError: another; ){3}and 1 more$"):
        async with open_ring(transport, config=Config.testing()):
            await trio.sleep_forever()


async def test_background_work_that_fails_while_it_is_cancelled_ends_the_ring_with_its_reason() -> None:
    class Stubborn(Busy):
        async def run_background(self) -> None:
            async def fail() -> None:
                try:
                    await trio.sleep_forever()
                finally:
                    raise ValueError("a fault at the end")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)
                self.task = trio.lowlevel.current_task()
                await trio.sleep_forever()

    transport = Stubborn(LoopbackNetwork().open(1))
    with pytest.raises(RingError, match=r"service failed: ValueError: a fault at the end$"):
        async with open_ring(transport, config=Config.testing()) as ring:
            await ring.recovery_complete.receive()
            assert transport.task is not None


@pytest.mark.parametrize("driver", ["trio", "thread"])
async def test_transports_over_udp_work_in_the_background_with_both_drivers(
    driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = trio.Event()
    run = UnicastUDP.run_background

    async def seen(self: UnicastUDP) -> None:
        started.set()
        await run(self)

    monkeypatch.setattr(UnicastUDP, "run_background", seen)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)})
    async with open_ring(transport, driver=driver):  # type: ignore[arg-type]
        await started.wait()
