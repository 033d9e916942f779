"""What the driver that is a task does at one wake-up, and in which order: a core and a network that follow a script."""

from __future__ import annotations

import math
import socket
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from ringproto import Config, Guarantee, Priority, open_ring
from ringproto._core import Processor, Ready
from ringproto._service.driver import Listener
from ringproto._service.trio_driver import TrioDriver
from ringproto.transports import open_unicast_udp

TOKEN = [(2, b"token")]


class ScriptedCore:
    """Answers each batch with a token to pass on; has ``events`` to be taken, and leaves after the last batch."""

    node = 1
    failure = None
    config = Config.testing()
    # What a look at it finds: all is well.
    state = "operational"
    complete = True
    rotation_s = 0.0
    consumer_deadline = math.inf
    next_timeout = math.inf
    wants_turn = False

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.events = 0
        self.left = False

    def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
        if not datagrams:
            return self.ready([])
        self.batches -= 1
        self.left = self.batches == 0
        self.events += 1
        return self.ready(TOKEN)

    def ready(self, transmits: list[tuple[int, bytes]], *, unfinished: bool = False) -> Ready:
        return Ready(list(transmits), unfinished, [], [], self.events, self.left, self.next_timeout)

    def take_events(self, limit: int) -> list[Any]:
        taken = min(limit, self.events)
        self.events -= taken
        return [None] * taken


class ScriptedNetwork:
    """A transport without :meth:`send_nowait`: it writes down what is sent."""

    node = 1
    datagram_size_max = 1352

    def __init__(self, log: list[str]) -> None:
        self.log = log

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        await trio.lowlevel.checkpoint()
        self.log += ["sent" for _ in transmits]

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        return [b"data"]

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def statistics(self) -> dict[str, int]:
        return {}


class EagerNetwork(ScriptedNetwork):
    """One that takes everything at once, or keeps it until :meth:`send` of nothing."""

    def __init__(self, log: list[str], *, takes: bool) -> None:
        super().__init__(log)
        self.takes = takes
        self.kept = 0

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        if self.takes:
            self.log += ["sent" for _ in transmits]
        else:
            self.kept += len(transmits)
        return self.takes

    async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
        self.log += ["sent"] * self.kept
        self.kept = 0
        await super().send(transmits)


async def drive(
    network: ScriptedNetwork, batches: int, *, reads: bool, core: type[ScriptedCore] = ScriptedCore
) -> list[str]:
    driver = TrioDriver(network, trio.current_time, core(batches), unblocks=False)  # type: ignore[arg-type]

    def came() -> None:
        network.log.append("told")
        while reads and driver.take_events(1):
            pass

    driver.listen(Listener(lambda change: None, came, lambda failure: network.log.append(f"ended {failure}")))
    await driver.run()
    return network.log


async def test_token_goes_on_before_the_application_hears_of_anything() -> None:
    assert await drive(EagerNetwork([], takes=True), 3, reads=True) == ["sent", "told"] * 3 + ["ended None"]


async def test_application_that_does_not_come_for_its_events_is_told_once() -> None:
    log = await drive(EagerNetwork([], takes=True), 4, reads=False)
    assert log == ["sent", "told", "sent", "sent", "sent", "ended None"]


@pytest.mark.parametrize("network", [EagerNetwork([], takes=False), ScriptedNetwork([])], ids=["kept", "not eager"])
async def test_what_the_network_does_not_take_at_once_is_sent_by_a_call_that_waits(network: ScriptedNetwork) -> None:
    log = await drive(network, 3, reads=True)
    assert log.count("sent") == 3 and log.count("told") == 3 and log[-1] == "ended None"


class CoreOfPieces(ScriptedCore):
    """Sends three pieces for each batch, the token with the last."""

    pieces = 0

    def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
        if datagrams:
            self.batches -= 1
            self.events += 1
            self.pieces = 3
        elif not self.pieces:
            return self.ready([])
        self.pieces -= 1
        self.left = self.batches == 0 and not self.pieces
        return self.ready(TOKEN, unfinished=self.pieces > 0)


@pytest.mark.parametrize("reads", [True, False])
async def test_all_pieces_are_sent_before_anything_is_waited_for_or_the_application_hears_of_it(reads: bool) -> None:
    network = EagerNetwork([], takes=True)
    log = await drive(network, 2, reads=reads, core=CoreOfPieces)
    pieces = ["sent", "sent", "sent"]
    assert log == [*pieces, "told", *pieces, *(["told"] if reads else []), "ended None"]


@pytest.mark.parametrize("network", [EagerNetwork([], takes=False), ScriptedNetwork([])], ids=["kept", "not eager"])
async def test_pieces_that_have_to_wait_are_all_sent_before_the_next_batch(network: ScriptedNetwork) -> None:
    log = await drive(network, 3, reads=True, core=CoreOfPieces)
    assert [entry for entry in log if entry != "told"] == ["sent"] * 9 + ["ended None"]
    assert log.index("told", log.index("sent")) > 3, "a batch was read before all was sent"


class AskedCore(ScriptedCore):
    """Has a token to pass on after each message that is submitted, while nothing comes from the network."""

    leaving = False
    more = 0
    """How many pieces follow the first."""

    def __init__(self) -> None:
        super().__init__(0)
        self.pieces = 0
        self.turns: list[float] = []

    def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
        self.wants_turn = True
        return True

    def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
        self.turns.append(now)
        if self.wants_turn:
            self.wants_turn = False
            self.pieces = 1 + self.more
        if not self.pieces:
            return self.ready([])
        self.pieces -= 1
        return self.ready(TOKEN, unfinished=self.pieces > 0)


class AskedCoreOfPieces(AskedCore):
    """Has two pieces more to send after each message."""

    more = 2


class QuietNetwork(EagerNetwork):
    """From which nothing ever comes."""

    failure: Exception | None = None

    def send_nowait(self, transmits: Sequence[tuple[int, bytes]]) -> bool:
        if self.failure is not None:
            raise self.failure
        assert not self.kept, "what it keeps has to be sent by a call that waits first"
        return super().send_nowait(transmits)

    async def receive(self) -> list[bytes]:
        await trio.sleep_forever()
        raise AssertionError


async def submitting(
    network: QuietNetwork, calls: int, core: type[AskedCore] = AskedCore
) -> tuple[list[str], list[BaseException | None]]:
    """Submit so many messages in a row while the driver waits; the log right after, and what ended the driver."""
    driver = TrioDriver(network, trio.current_time, core(), unblocks=False)  # type: ignore[arg-type]
    ended: list[BaseException | None] = []
    driver.listen(Listener(lambda change: None, lambda: None, ended.append))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(calls):
            assert driver.submit(b"payload", Priority.HIGH, Guarantee.AGREED)
        at_once = list(network.log)
        await trio.testing.wait_all_tasks_blocked()
        driver.stop()
    return at_once, ended


async def test_what_a_message_makes_the_core_send_leaves_before_submit_returns() -> None:
    network = QuietNetwork([], takes=True)
    assert await submitting(network, 3) == (["sent"] * 3, [None])
    assert network.log == ["sent"] * 3


async def test_visit_that_a_message_begins_goes_on_by_itself() -> None:
    network = QuietNetwork([], takes=True)
    assert await submitting(network, 1, AskedCoreOfPieces) == (["sent"], [None])
    assert network.log == ["sent"] * 3


async def test_what_the_network_does_not_take_from_submit_is_sent_by_the_loop() -> None:
    network = QuietNetwork([], takes=False)
    # The first turn is taken in passing. The others wait until its datagram was sent, and are one turn then.
    assert await submitting(network, 3) == ([], [None])
    assert network.log == ["sent"] * 2


async def test_what_the_transport_raises_is_not_raised_at_who_submits() -> None:
    network = QuietNetwork([], takes=True)
    network.failure = OSError("the network is gone")
    at_once, ended = await submitting(network, 2)
    assert at_once == [] and len(ended) == 1
    assert "the network is gone" in repr((ended[0], getattr(ended[0], "__cause__", None)))


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


async def test_visits_are_no_longer_than_the_receive_buffer_of_the_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    visits = []

    class Noted(Processor):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            visits.append(self.config.windows[1])

    monkeypatch.setattr("ringproto._service.ring.Processor", Noted)
    for receive_buffer in (4 * 2**20, 200_000):
        transport = await open_unicast_udp(1, {1: ("127.0.0.1", free_port())}, receive_buffer=receive_buffer)
        size, given = transport.datagram_size_max, transport.statistics()["receive_buffer_bytes"]
        async with open_ring(transport, config=Config.lan()):
            pass
        assert visits.pop() == Config.lan().fitted(size, given).windows[1] <= given * 3 // 4 // size


async def test_timer_that_is_overdue_is_handled_after_a_look_at_what_has_arrived() -> None:
    """A processor that stood still must not judge others by what waits in its own socket."""
    datagrams: list[int] = []

    class Overdue(ScriptedCore):
        next_timeout = -1.0

        def turn(self, batch: Sequence[bytes], now: float) -> Ready:
            datagrams.append(len(batch))
            return super().turn(batch, now)

    await drive(EagerNetwork([], takes=True), 2, reads=True, core=Overdue)
    assert datagrams[:3] == [0, 1, 1], "the first turn is the one with which the driver begins"


class LateCore(AskedCore):
    """Its timer is due ``due_s`` after it began."""

    due_s = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.next_timeout = trio.current_time() + self.due_s

    def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
        if now >= self.next_timeout:
            self.next_timeout = math.inf
        return super().turn(datagrams, now)


@pytest.mark.parametrize("due_s", [1.0, 10.0])
async def test_call_of_the_application_takes_no_turn_while_a_timer_is_overdue(
    due_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program kept trio's loop busy for five seconds, and then sends: what came meanwhile was not read yet."""
    monkeypatch.setattr(LateCore, "due_s", due_s)
    core = LateCore()
    network = QuietNetwork([], takes=True)
    clock_s = 0.0
    driver = TrioDriver(network, lambda: trio.current_time() + clock_s, core, unblocks=False)  # type: ignore[arg-type]
    driver.listen(Listener(lambda change: None, lambda: None, lambda failure: None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.testing.wait_all_tasks_blocked()
        before = len(core.turns)
        clock_s = 5.0
        assert driver.submit(b"payload", Priority.HIGH, Guarantee.AGREED)
        overdue = due_s < clock_s
        assert len(core.turns) - before == (0 if overdue else 1)
        assert network.log == ([] if overdue else ["sent"])
        with trio.fail_after(60.0):
            while not network.log:
                await trio.sleep(0.1)
        driver.stop()
    assert network.log == ["sent"]


@pytest.mark.parametrize("due_s", [1.0, 10.0])
async def test_application_that_is_told_of_events_causes_no_turn_while_a_timer_is_overdue(due_s: float) -> None:
    """It keeps trio's loop busy for five seconds while it is told, and sends: what came meanwhile was not read yet."""
    clock_s = 0.0
    turns: list[str] = []

    class Told(ScriptedCore):
        leaving = False
        next_timeout = due_s

        def submit(self, payload: bytes, priority: Priority, guarantee: Guarantee) -> bool:
            self.wants_turn = True
            return True

        def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
            turns.append("read" if datagrams else "wanted" if self.wants_turn else "begun")
            self.wants_turn = False
            return super().turn(datagrams, now)

    def came() -> None:
        nonlocal clock_s
        driver.take_events(1)
        if clock_s == 0.0:
            clock_s = 5.0
            driver.submit(b"payload", Priority.HIGH, Guarantee.AGREED)

    network = EagerNetwork([], takes=True)
    driver = TrioDriver(network, lambda: clock_s, Told(2), unblocks=False)  # type: ignore[arg-type]
    driver.listen(Listener(lambda change: None, came, lambda failure: None))
    await driver.run()
    assert turns == ["begun", "read", *(["wanted"] if due_s > 5.0 else []), "read"]


async def test_deadline_that_comes_nearer_while_the_driver_waits_is_kept() -> None:
    class Leaving(AskedCore):
        """Leaves a moment after the turn of its only message."""

        def turn(self, datagrams: Sequence[bytes], now: float) -> Ready:
            self.left = now >= self.next_timeout
            if self.wants_turn:
                self.next_timeout = now + 0.01
            return super().turn(datagrams, now)

    core = Leaving()
    driver = TrioDriver(QuietNetwork([], takes=True), trio.current_time, core, unblocks=False)  # type: ignore[arg-type]
    driver.listen(Listener(lambda change: None, lambda: None, lambda failure: None))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.run)
        await trio.testing.wait_all_tasks_blocked()
        assert driver.submit(b"payload", Priority.HIGH, Guarantee.AGREED)
        with trio.fail_after(3600.0):
            await driver.left.wait()
    assert core.turns[2] == pytest.approx(core.turns[1] + 0.01)
