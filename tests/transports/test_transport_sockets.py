"""Trouble on sockets is counted by name; it is never raised and never a busy loop."""

from __future__ import annotations

import errno
import logging
import os
import socket
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing
from transport_openers import free_ports

from ringproto.log import BoundedLog
from ringproto.transports import open_unicast_udp
from ringproto.transports._addresses import format_address, pack_address, unpack_address
from ringproto.transports._paths import LOOK_EVERY_S, PLAIN_FOR_S
from ringproto.transports._readable import Readable
from ringproto.transports._sockets import BATCHED, SEND_WAIT_S, DatagramSocket
from ringproto.transports._traffic import ERROR_PAUSE_MAX_S, LOOK_EVERY
from ringproto.transports.unicast_udp import UnicastUDP

_SO_NO_CHECK = 11


@pytest.fixture
async def pair() -> AsyncIterator[tuple[UnicastUDP, UnicastUDP]]:
    """Two processors on this host."""
    peers = {node: ("127.0.0.1", port) for node, port in zip((1, 2), free_ports(2), strict=True)}
    first, second = [await open_unicast_udp(node, peers) for node in (1, 2)]
    yield first, second
    await first.aclose()
    await second.aclose()


@pytest.fixture
def never_writable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for room in a send buffer waits for ever."""

    async def wait_writable(_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio.lowlevel, "wait_writable", wait_writable)


Pair = tuple[UnicastUDP, UnicastUDP]


class ScriptedSender:
    """Answers from a script, then sends for real."""

    def __init__(self, real: Any, script: list[int]) -> None:
        self.real = real
        self.script = script
        self.calls = 0

    def send(self, addresses: list[bytes], heads: list[bytes], datagrams: list[bytes], start: int) -> int:
        self.calls += 1
        if self.script:
            answer = self.script.pop(0)
            if answer <= 0:
                return answer
            end = start + answer
            taken: int = self.real.send(addresses[:end], heads[:end], datagrams[:end], start)
            return taken
        sent: int = self.real.send(addresses, heads, datagrams, start)
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class ScriptedReceiver:
    """Answers by a function; ``None`` from it means: read for real."""

    def __init__(self, real: Any, answer: Callable[[], int | None]) -> None:
        self.real = real
        self.answer = answer
        self.calls = 0

    def receive(self, *where_to: Any) -> int:
        self.calls += 1
        answer = self.answer()
        return self.real.receive(*where_to) if answer is None else answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def script_sender(transport: UnicastUDP, *script: int) -> ScriptedSender:
    scripted = ScriptedSender(transport._socket.sender, list(script))
    transport._socket.sender = scripted  # type: ignore[assignment]
    return scripted


def script_receiver(transport: UnicastUDP, answer: Callable[[], int | None]) -> ScriptedReceiver:
    scripted = ScriptedReceiver(transport._socket.receiver, answer)
    transport._socket.receiver = scripted  # type: ignore[assignment]
    return scripted


@pytest.mark.parametrize(
    "error", [errno.ENOBUFS, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EPERM, errno.EMSGSIZE, errno.ENETDOWN]
)
async def test_error_on_sending_costs_its_datagram_and_is_counted_by_name(pair: Pair, error: int) -> None:
    first, second = pair
    script_sender(first, 1, -error)
    await first.send([(2, b"a"), (2, b"b"), (2, b"c")])
    assert await second.receive() == [b"a", b"c"]
    assert first.statistics()["send_errors_" + errno.errorcode[error]] == 1
    assert first.statistics()["datagrams_sent"] == 2


async def test_error_on_sending_is_logged_with_where_it_was_to_go_and_how_many_were_lost(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = pair
    address = format_address(unpack_address(first._addresses[2]))
    script_sender(first, -errno.ENETUNREACH, -errno.ENETUNREACH, -errno.EPERM)
    with caplog.at_level(logging.INFO, "ringproto.transports"):
        await first.send([(2, b"a"), (2, b"b")])
        await first.send([(2, b"c")])
    assert caplog.messages == [
        f"a datagram to {address} could not be sent: ENETUNREACH, {os.strerror(errno.ENETUNREACH)} "
        "(2 since the transport was opened)",
        f"a datagram to {address} could not be sent: EPERM, {os.strerror(errno.EPERM)} "
        "(1 since the transport was opened)",
    ]
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert [record.ringproto_kind for record in caplog.records] == ["send ENETUNREACH", "send EPERM"]  # type: ignore[attr-defined]


@pytest.mark.skipif(not BATCHED, reason="only the compiled module sends runs")
async def test_runs_that_the_system_refuses_go_as_datagrams_and_are_tried_again_after_a_while(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await in_segments()
    await one.send([(2, bytes([1]) * 1000)])
    # Without checksums the system takes no runs; the path's MTU has nothing to do with it.
    one._socket.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
    for number in range(2, 10):
        await one.send([(2, bytes([number]) * 1000)])
    assert await receive_all(two, 9) == [bytes([number]) * 1000 for number in range(1, 10)]
    numbers = one.statistics()
    assert (numbers["offload_sending"], numbers["runs_refused_EINVAL"]) == (0, 2)
    assert not [name for name in numbers if name.startswith("send_errors")]
    (line,) = caplog.messages
    assert line.startswith("the system does not take runs of datagrams to 127.0.0.1:") and "EINVAL" in line
    one._socket.socket.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 0)
    await trio.sleep(PLAIN_FOR_S - 1.0)
    await one.send([(2, b"still one by one")])
    assert one.statistics()["offload_sending"] == 0
    await trio.sleep(LOOK_EVERY_S + 1.0)
    for _ in range(LOOK_EVERY):
        await one.send([(2, b"in runs again")])
    assert one.statistics()["offload_sending"] == 1
    for transport in (one, two):
        await transport.aclose()


async def test_connection_refused_speaks_of_an_earlier_datagram(pair: Pair) -> None:
    first, second = pair
    script_sender(first, -errno.ECONNREFUSED)
    await first.send([(2, b"a"), (2, b"b")])
    assert await second.receive() == [b"a", b"b"]
    assert first.statistics()["send_errors_ECONNREFUSED"] == 1


async def test_connection_refused_again_gives_the_datagram_up(pair: Pair) -> None:
    first, second = pair
    script_sender(first, -errno.ECONNREFUSED, -errno.ECONNREFUSED)
    await first.send([(2, b"a"), (2, b"b")])
    assert await second.receive() == [b"b"]
    assert first.statistics()["send_errors_ECONNREFUSED"] == 2


async def test_error_without_a_name_is_counted_by_number(pair: Pair) -> None:
    first, _ = pair
    script_sender(first, -9999)
    await first.send([(2, b"a")])
    assert first.statistics()["send_errors_9999"] == 1


async def test_full_send_buffer_is_waited_for(pair: Pair) -> None:
    first, second = pair
    script_sender(first, 1, -errno.EAGAIN, 1, -errno.EAGAIN)
    await first.send([(2, b"a"), (2, b"b"), (2, b"c")])
    assert await second.receive() == [b"a", b"b", b"c"]
    assert first.statistics()["send_waits"] == 1, "one call waits once, however often the buffer fills up"


async def in_segments() -> Pair:
    """Two processors that cut what is larger than 100 bytes."""
    peers = {node: ("127.0.0.1", port) for node, port in zip((1, 2), free_ports(2), strict=True)}
    first, second = [await open_unicast_udp(node, peers, segment_size=100) for node in (1, 2)]
    return first, second


async def receive_all(transport: UnicastUDP, count: int) -> list[bytes]:
    got: list[bytes] = []
    with trio.fail_after(10):
        while len(got) < count:
            got += await transport.receive()
    return got


@pytest.mark.parametrize("script", [[1, -errno.EAGAIN], [3, -errno.EAGAIN, 4, -errno.EAGAIN], [-errno.ECONNREFUSED]])
@pytest.mark.parametrize("at_once", [True, False])
async def test_full_send_buffer_within_a_datagram_repeats_no_segment_and_leaves_none_out(
    script: list[int], at_once: bool
) -> None:
    first, second = await in_segments()
    script_sender(first, *script)
    sent = [bytes([number]) * 450 for number in range(1, 4)]
    if not at_once or not first.send_nowait([(2, datagram) for datagram in sent]):
        await first.send([] if at_once else [(2, datagram) for datagram in sent])
    assert await receive_all(second, 3) == sent
    assert first.statistics()["datagrams_sent"] == 15
    assert not [name for name, number in second.statistics().items() if name.startswith("drops") and number]
    await first.aclose()
    await second.aclose()


async def test_error_within_a_datagram_costs_that_one_segment() -> None:
    first, second = await in_segments()
    script_sender(first, 2, -errno.EPERM)
    await first.send([(2, bytes([number]) * 450) for number in range(1, 4)])
    assert await receive_all(second, 2) == [b"\2" * 450, b"\3" * 450]
    assert first.statistics()["datagrams_sent"] == 14
    assert second.statistics()["drops_incomplete"] == 1
    await first.aclose()
    await second.aclose()


async def test_send_buffer_that_stays_full_drops_the_rest_and_counts_each_segment(
    never_writable: None, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = await in_segments()
    script_sender(first, 2, -errno.EAGAIN)
    await first.send([(2, b"x" * 450), (2, b"y"), (2, b"z" * 450)])
    assert first.statistics()["drops_send_buffer_full"] == 3 + 1 + 5
    await first.aclose()
    await second.aclose()


@pytest.mark.skipif(not BATCHED, reason="the socket module takes one piece of memory, so each segment is copied")
async def test_what_is_cut_is_not_copied() -> None:
    peers = {node: ("127.0.0.1", port) for node, port in zip((1, 2), free_ports(2), strict=True)}
    first = await open_unicast_udp(1, peers, datagram_size=60_000, segment_size=1000)
    batch = [(2, b"x" * 60_000)] * 20
    tracemalloc.start()
    try:
        await first.send(batch)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    assert first.statistics()["datagrams_sent"] > 1200
    await first.aclose()


async def test_send_buffer_that_stays_full_drops_the_rest_within_a_bounded_time(
    pair: Pair, never_writable: None, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = pair
    script_sender(first, 1, -errno.EAGAIN)
    start = trio.current_time()
    await first.send([(2, b"a"), (2, b"b"), (2, b"c")])
    assert trio.current_time() - start == pytest.approx(SEND_WAIT_S)
    assert first.statistics()["drops_send_buffer_full"] == 2
    assert await second.receive() == [b"a"]
    await first.send([(2, b"d")])
    assert await second.receive() == [b"d"]


async def test_what_cannot_be_sent_at_once_is_kept_and_goes_first(pair: Pair) -> None:
    first, second = pair
    script_sender(first, 1, -errno.EAGAIN)
    assert not first.send_nowait([(2, b"a"), (2, b"b"), (2, b"c")])
    with pytest.raises(trio.BusyResourceError):
        first.send_nowait([(2, b"too early")])
    await first.send([(2, b"d")])
    assert await second.receive() == [b"a", b"b", b"c", b"d"]
    assert first.send_nowait([(2, b"e")])
    assert await second.receive() == [b"e"]


async def test_cancelled_with_something_kept_drops_that_and_the_rest(
    pair: Pair, never_writable: None, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = pair
    script_sender(first, 1, -errno.EAGAIN)
    assert not first.send_nowait([(2, b"a"), (2, b"b")])
    with trio.move_on_after(SEND_WAIT_S / 2):
        await first.send([(2, b"c"), (2, b"d")])
    assert first.statistics()["drops_cancelled"] == 3
    assert first.send_nowait([(2, b"e")])
    assert await second.receive() == [b"a", b"e"]


async def test_socket_that_says_writable_and_is_not_does_not_spin(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    first, _ = pair
    scripted = ScriptedSender(first._socket.sender, [])
    clock_step_s = SEND_WAIT_S / 10

    def always_full(*what: Any) -> int:
        scripted.calls += 1
        autojump_clock.jump(clock_step_s)
        return -errno.EAGAIN

    scripted.send = always_full  # type: ignore[method-assign]
    first._socket.sender = scripted  # type: ignore[assignment]
    await first.send([(2, b"a")])
    assert scripted.calls <= 12
    assert first.statistics()["drops_send_buffer_full"] == 1


async def test_cancelled_while_the_send_buffer_is_full_drops_the_rest(
    pair: Pair, never_writable: None, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = pair
    script_sender(first, 1, -errno.EAGAIN)
    with trio.move_on_after(SEND_WAIT_S / 2) as scope:
        await first.send([(2, b"a"), (2, b"b"), (2, b"c")])
    assert scope.cancelled_caught
    assert first.statistics()["drops_cancelled"] == 2
    assert await second.receive() == [b"a"]
    await first.send([(2, b"d")])  # and it is not busy afterwards
    assert await second.receive() == [b"d"]


async def test_second_sender_is_refused_while_one_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = pair
    go_on = trio.Event()

    async def slowly_writable(_: object) -> None:
        await go_on.wait()

    monkeypatch.setattr(trio.lowlevel, "wait_writable", slowly_writable)
    script_sender(first, -errno.EAGAIN)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.send, [(2, b"a")])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await first.send([(2, b"b")])
        go_on.set()


async def test_closing_ends_a_send_that_waits(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = pair
    # A pipe that is full stands for a socket with a full send buffer.
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    real_wait, real_closing = trio.lowlevel.wait_writable, trio.lowlevel.notify_closing

    async def wait_for_the_pipe(_: object) -> None:
        await real_wait(writing)

    def close_the_pipe_too(what: Any) -> None:
        real_closing(writing)
        real_closing(what)

    monkeypatch.setattr(trio.lowlevel, "wait_writable", wait_for_the_pipe)
    monkeypatch.setattr(trio.lowlevel, "notify_closing", close_the_pipe_too)
    monkeypatch.setattr("ringproto.transports._sockets.SEND_WAIT_S", 60.0)
    script_sender(first, -errno.EAGAIN)
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await first.send([(2, b"a")])

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await first.aclose()
    os.close(reading)
    os.close(writing)


async def test_error_on_receiving_is_counted_and_the_next_datagram_arrives(pair: Pair) -> None:
    first, second = pair
    answers = [-errno.ECONNREFUSED, -errno.ENETDOWN]
    script_receiver(second, lambda: answers.pop(0) if answers else None)
    await first.send([(2, b"a")])
    assert await second.receive() == [b"a"]
    assert second.statistics()["receive_errors_ECONNREFUSED"] == 1
    assert second.statistics()["receive_errors_ENETDOWN"] == 1


async def test_socket_that_only_fails_is_left_alone_between_tries(
    pair: Pair, autojump_clock: trio.testing.MockClock
) -> None:
    first, second = pair
    scripted = script_receiver(second, lambda: -errno.ENETDOWN)
    await first.send([(2, b"readable for ever, as nobody reads it")])
    duration_s = 10.0
    with trio.move_on_after(duration_s):
        await second.receive()
    assert 10 < scripted.calls <= duration_s / ERROR_PAUSE_MAX_S + 20
    scripted.answer = lambda: None
    assert len(await second.receive()) == 1
    assert second._socket.pause_s() == 0.0, "a socket that works again is not left alone"


async def test_closing_ends_a_receive_that_pauses(pair: Pair, autojump_clock: trio.testing.MockClock) -> None:
    first, second = pair
    script_receiver(second, lambda: -errno.ENETDOWN)
    await first.send([(2, b"x")])
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await second.receive()

        nursery.start_soon(receive)
        await trio.sleep(1)
        await second.aclose()


async def test_flood_of_strangers_lets_other_tasks_run(pair: Pair) -> None:
    first, second = pair
    own_port = second._socket.socket.getsockname()[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for _ in range(300):
            stranger.sendto(b"x", ("127.0.0.1", own_port))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await first.send([(2, b"the real one")])
        assert await second.receive() == [b"the real one"]
        nursery.cancel_scope.cancel()
    assert second.statistics()["drops_unknown_source"] == 300
    assert ticks >= 300 // second._socket.receiver.count


async def test_small_receive_buffer_is_reported_and_hinted_at(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatagramSocket, "buffer_bytes", lambda self, option: 4096)
    (port,) = free_ports(1)
    with caplog.at_level(logging.WARNING, "ringproto.transports"):
        transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)}, receive_buffer=8192)
    assert "a receive buffer of 8192 bytes was asked for and 4096 given" in caplog.text
    assert "net.core.rmem_max=8192" in caplog.text
    assert transport.statistics()["receive_buffer_bytes"] == 4096
    await transport.aclose()


async def test_receive_buffer_that_was_given_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    (port,) = free_ports(1)
    transport = await open_unicast_udp(1, {1: ("127.0.0.1", port)}, receive_buffer=65_536)
    assert transport.statistics()["receive_buffer_bytes"] >= 65_536
    assert not caplog.records
    await transport.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how many datagrams it dropped")
async def test_drops_of_the_system_are_counted() -> None:
    peers = {node: ("127.0.0.1", port) for node, port in zip((1, 2), free_ports(2), strict=True)}
    # With offload the system counts runs.
    first = await open_unicast_udp(1, peers, offload=False)
    second = await open_unicast_udp(2, peers, receive_buffer=8192, offload=False)
    # More than any buffer of 8 KiB takes, even if the system rounds it up.
    await first.send([(2, bytes(1000))] * 200)
    arrived = 0
    with trio.move_on_after(0.2):
        while True:
            arrived += len(await second.receive())
    assert 0 < arrived < 200
    assert second.statistics()["drops_receive_buffer_full"] == 200 - arrived
    await first.aclose()
    await second.aclose()
    assert second.statistics()["drops_receive_buffer_full"] == 200 - arrived, "and are known after closing"


@pytest.mark.parametrize("with_epoll", [True, False], ids=["epoll", "nursery"])
async def test_either_of_two_sockets_wakes(with_epoll: bool) -> None:
    if with_epoll and sys.platform != "linux":
        pytest.skip("there is no epoll on this system")
    counts: Counter[str] = Counter()
    sockets = []
    for _ in range(2):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        sockets.append(DatagramSocket(sock, size=100, senders_max=2, counts=counts, offload=True, log=BoundedLog()))
    readable = Readable(sockets, use_epoll=with_epoll)
    assert (readable._epoll is not None) == with_epoll
    for one in sockets:
        with trio.move_on_after(0.01) as scope:
            await readable.wait()
        assert scope.cancelled_caught, "nothing is there"
        address = one.socket.getsockname()
        assert one.write_some([pack_address(address)], [b""], [b"x"], 0) == 1
        await readable.wait()
        assert one.read({pack_address(address)}, lambda origin: False) == [b"x"]
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await readable.wait()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        readable.close()
        for one in sockets:
            one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the compiled module is for Linux")
def test_compiled_module_is_used_unless_asked_otherwise() -> None:
    command = [sys.executable, "-c", "from ringproto.transports._sockets import BATCHED; print(BATCHED)"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for value, answer in (("", "True"), ("0", "True"), ("1", "False")):
        run = subprocess.run(
            command,
            env={**environment, "RINGPROTO_INTERPRETED": value},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert run.stdout.strip() == answer
    asked_otherwise = os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0")
    assert BATCHED is not asked_otherwise


async def test_numbers_can_be_asked_for_while_the_transport_closes(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may be in the middle of asking the sockets."""
    first, _ = pair
    before = first.statistics()
    real = first._gauges

    def closed_meanwhile() -> dict[str, int]:
        monkeypatch.setattr(first, "_gauges", real)
        first._last_gauges = real()
        first._closed = True
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(first, "_gauges", closed_meanwhile)
    assert first.statistics() == before
    first._closed = False


async def test_error_that_has_nothing_to_do_with_closing_is_raised(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = pair

    def fails() -> dict[str, int]:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(first, "_gauges", fails)
        with pytest.raises(OSError, match="Input/output error"):
            first.statistics()


async def test_handler_that_raises_is_counted(pair: Pair) -> None:
    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("disk full")

    first, _ = pair
    assert "log_failures" not in first.statistics()
    logger, handler = logging.getLogger("ringproto"), Broken()
    logger.addHandler(handler)
    try:
        first._log.warning("one", "text")
        first._peers_log.warning("two", "text")
        first._say()
    finally:
        logger.removeHandler(handler)
    assert first.statistics()["log_failures"] == 2


async def test_last_lines_are_written_though_it_is_closed_while_it_waits_for_room(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = pair

    async def write_rest(self: DatagramSocket, *rest: Any) -> None:
        await trio.lowlevel.wait_readable(self.socket)  # for ever, until it is closed

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await first.send([])

    monkeypatch.setattr(DatagramSocket, "write_rest", write_rest)
    first._kept = ([], [], [], 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        first._log.warning("offload", "something happened meanwhile")
        await first.aclose()
    assert caplog.messages == ["something happened meanwhile"]


async def test_handler_that_sends_comes_when_no_batch_is_half_sent(pair: Pair) -> None:
    first, second = pair
    sender = first._writer.sender
    answers = [-errno.EPERM, -errno.EAGAIN, -errno.EAGAIN]
    # One datagram is refused, which is worth a line, and then the buffer is full.

    class Refusing:
        refused = 0

        def send(self, *arguments: Any) -> int:
            return answers.pop(0) if answers else int(sender.send(*arguments))

        def __getattr__(self, name: str) -> Any:
            return getattr(sender, name)

    class Sends(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sent.append(first.send_nowait([(2, b"of the handler")]))

    sent: list[bool] = []
    logger, handler = logging.getLogger("ringproto"), Sends()
    logger.addHandler(handler)
    first._writer.sender = Refusing()  # type: ignore[assignment]
    try:
        assert not first.send_nowait([(2, b"refused"), (2, b"kept")])
        assert sent == [], "the handler is not called yet"
        await first.send([])
        assert sent == [True]
    finally:
        logger.removeHandler(handler)
    got = await second.receive()
    while len(got) < 2:
        got += await second.receive()
    assert got == [b"kept", b"of the handler"]
    assert "log_failures" not in first.statistics()
