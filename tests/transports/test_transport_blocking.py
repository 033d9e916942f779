"""The face for a thread that trio does not know, which the transports over UDP have (``BlockingTransport``)."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from transport_openers import GROUP, multicast_opener, unicast_opener

from ringproto.transports import BlockingTransport, LoopbackNetwork
from ringproto.transports._paths import LOOK_EVERY_S
from ringproto.transports._sockets import BATCHED, SEND_WAIT_S, SocketTransport
from ringproto.transports._traffic import ERRORS_IN_A_ROW

PATIENCE_S = 20.0

Two = tuple[SocketTransport, SocketTransport]


@pytest.fixture(params=["unicast", "multicast", "unicast without offload"])
async def two(request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    openers = {
        "unicast": unicast_opener("127.0.0.1"),
        "multicast": multicast_opener(GROUP, "lo"),
        "unicast without offload": unicast_opener("127.0.0.1", offload=False),
    }
    first, second = await openers[request.param]((1, 2))
    assert isinstance(first, SocketTransport) and isinstance(second, SocketTransport)
    for transport in (first, second):
        transport.begin_blocking()
    yield first, second
    await first.aclose()
    await second.aclose()


def receive(transport: SocketTransport, count: int) -> list[bytes]:
    """That many datagrams, if they come."""
    got: list[bytes] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(got) < count and time.monotonic() < deadline:
        got += transport.receive_blocking(0.5)
    return got


async def test_times_that_were_noted_before_the_thread_began_are_of_its_clock(two: Two) -> None:
    for transport in two:
        # Its own clock is somewhere else; a second is more than begin_blocking() takes.
        assert abs(transport._now() - trio.current_time()) < 1.0
        assert transport._look_at_paths_at - transport._now() <= LOOK_EVERY_S


async def test_who_has_the_face(two: Two) -> None:
    assert isinstance(two[0], BlockingTransport)
    assert not isinstance(LoopbackNetwork().open(1), BlockingTransport)


async def test_datagrams_go_both_ways_in_order(two: Two) -> None:
    first, second = two
    sent = [b"%d" % number for number in range(300)]
    first.send_blocking([(0, datagram) for datagram in sent])
    assert receive(second, 300) == sent
    second.send_blocking([(1, b"back"), (1, b"and back")])
    assert receive(first, 2) == [b"back", b"and back"]
    assert second.statistics()["datagrams_received"] == 300
    assert second.statistics()["bytes_received"] == sum(map(len, sent))


async def test_what_came_before_is_returned_however_short_the_time_is(two: Two) -> None:
    first, second = two
    await trio.sleep(0)
    first.send_blocking([(0, b"early")])
    deadline = time.monotonic() + PATIENCE_S
    got: list[bytes] = []
    while not got and time.monotonic() < deadline:
        got = second.receive_blocking(-1.0)
    assert got == [b"early"]


async def test_time_that_passes_returns_nothing(two: Two) -> None:
    _, second = two
    began = time.monotonic()
    assert second.receive_blocking(0.02) == []
    assert time.monotonic() - began >= 0.019


async def test_interrupt_ends_a_wait_and_the_next_one_if_there_was_none(two: Two) -> None:
    _, second = two
    answers: list[list[bytes]] = []
    thread = threading.Thread(target=lambda: answers.append(second.receive_blocking(3600.0)), daemon=True)
    thread.start()
    second.interrupt()
    thread.join(PATIENCE_S)
    assert answers == [[]]
    for _ in range(100_000):
        second.interrupt()  # more than a pipe holds
    assert second.receive_blocking(3600.0) == []
    began = time.monotonic()
    while second.receive_blocking(0.01) == [] and time.monotonic() - began < 0.01:
        pass  # an interrupt may be heard more than once, and is over then
    assert second.receive_blocking(0.01) == []


async def test_closed_transport_raises(two: Two) -> None:
    first, _ = two
    await first.aclose()
    with pytest.raises(trio.ClosedResourceError):
        first.send_blocking([(2, b"x")])
    with pytest.raises(trio.ClosedResourceError):
        first.receive_blocking(0.0)
    with pytest.raises(trio.ClosedResourceError):
        first.begin_blocking()
    first.interrupt()  # does nothing


async def test_closing_ends_a_wait(two: Two) -> None:
    _, second = two
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            second.receive_blocking(3600.0)
        except trio.ClosedResourceError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    await trio.sleep(0.05)
    await second.aclose()
    thread.join(PATIENCE_S)
    assert len(raised) == 1


@pytest.mark.parametrize("wrong", [(2, b""), (-1, b"x"), (2, "x")])
async def test_what_cannot_be_sent_is_refused(two: Two, wrong: Any) -> None:
    first, second = two
    with pytest.raises((ValueError, TypeError)):
        first.send_blocking([(2, b"fine"), wrong])
    assert second.receive_blocking(0.02) == []


class Scripted:
    """Answers as it is told to, then sends."""

    def __init__(self, real: Any, *answers: int) -> None:
        self.real = real
        self.answers = list(answers)

    def send(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], start: int) -> int:
        if self.answers:
            return self.answers.pop(0)
        sent: int = self.real.send(addresses, heads, datagrams, start)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


async def test_full_send_buffer_is_waited_for(two: Two) -> None:
    first, second = two
    first._writer.sender = Scripted(first._writer.sender, -errno.EAGAIN, -errno.EAGAIN)  # type: ignore[assignment]
    first.send_blocking([(0, b"a"), (0, b"b")])
    assert receive(second, 2) == [b"a", b"b"]
    assert first.statistics()["send_waits"] == 1


async def test_send_buffer_that_stays_full_costs_the_rest_and_not_more_than_a_moment(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = two
    monkeypatch.setattr("ringproto.transports._sockets.wait_for_room", lambda one, left_s: time.sleep(left_s))
    first._writer.sender = Scripted(first._writer.sender, *[-errno.EAGAIN] * 1000)  # type: ignore[assignment]
    began = time.monotonic()
    first.send_blocking([(0, b"a"), (0, b"b")])
    assert time.monotonic() - began >= SEND_WAIT_S * 0.9
    assert first.statistics()["drops_send_buffer_full"] == 2


async def test_error_costs_the_datagram_it_belongs_to(two: Two) -> None:
    first, second = two
    first._writer.sender = Scripted(first._writer.sender, -errno.EPERM)  # type: ignore[assignment]
    first.send_blocking([(0, b"lost"), (0, b"sent")])
    assert receive(second, 1) == [b"sent"]
    assert first.statistics()["send_errors_EPERM"] == 1


async def test_socket_that_keeps_failing_is_left_alone_for_a_moment(two: Two) -> None:
    _, second = two
    calls = 0

    class Failing:
        def __init__(self, real: Any) -> None:
            self.real = real

        def receive(self, *where_to: Any) -> int:
            nonlocal calls
            calls += 1
            return -errno.ENETDOWN

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    for one in second._sockets:
        one.receiver = Failing(one.receiver)  # type: ignore[assignment]
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        fails = all(one.errors_in_a_row >= ERRORS_IN_A_ROW for one in second._sockets)
        second.receive_blocking(3600.0 if fails else 0.0)
    assert calls < 40, "the pause doubles"


@pytest.mark.skipif(not BATCHED, reason="the socket module lets Python's lock go at every call")
async def test_reading_and_writing_keep_python_s_lock(two: Two) -> None:
    assert all(one.receiver.keeps_gil and one.sender.keeps_gil for one in two[0]._sockets)


async def test_without_a_thread_the_lock_is_let_go() -> None:
    (transport,) = await unicast_opener("127.0.0.1")((1,))
    assert isinstance(transport, SocketTransport)
    assert not any(one.receiver.keeps_gil or one.sender.keeps_gil for one in transport._sockets)
    await transport.aclose()
