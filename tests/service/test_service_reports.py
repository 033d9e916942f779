"""What a ring says to the log: each kind with its cause, bounded, and never in the way of the ring."""

from __future__ import annotations

import itertools
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from service_cluster import Cluster, Program, numbered, trio_alone, until

from ringproto import Config, Recovery, RefusedError, Ring, SlowConsumerError
from ringproto.log import BoundedLog

CONFIG = Config.testing()
PAGE = (Path(__file__).parents[2] / "docs" / "logging.md").read_text()
FIELDS = {
    kind: set(re.findall(r"`(\w+)`", fields))
    for kind, fields in re.findall(r"^\| `(\w+)` \|.*\| ([^|]*)\|$", PAGE, re.MULTILINE)
}
"""By its kind, the fields that docs/logging.md promises of a line."""


class Lines:
    """The records of the logger."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def of(self, kind: str, node: int | None = None) -> list[Any]:
        return [
            record
            for record in self._caplog.records
            if getattr(record, "ringproto_kind", None) == kind and node in (None, record.ringproto_node)  # type: ignore[attr-defined]
        ]

    def all(self) -> list[Any]:
        return self._caplog.records

    def kinds(self) -> set[str]:
        return {record.ringproto_kind for record in self._caplog.records if record.name == "ringproto"}  # type: ignore[attr-defined]

    def clear(self) -> None:
        self._caplog.clear()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    caplog.set_level(logging.INFO, logger="ringproto")
    yield Lines(caplog)
    for record in caplog.get_records("call"):
        if record.name == "ringproto":
            named = {name.partition("_")[2] for name in vars(record) if name.startswith("ringproto_")}
            kind = record.ringproto_kind  # type: ignore[attr-defined]
            assert named - {"kind", "missed", "node"} == FIELDS[kind], kind


async def settle_down() -> None:
    """Longer than the spacing of lines of one kind."""
    await trio.sleep(1.2)


async def test_configurations_say_who_joined_and_who_left_and_why(cluster: Cluster, lines: Lines) -> None:
    first, second = await cluster.form(1, 2)
    await settle_down()
    lines.clear()
    await second.stop()
    await cluster.settled(first)
    (record,) = lines.of("configuration", 1)
    assert record.levelno == logging.INFO
    assert record.getMessage().startswith("node 1: configuration ")
    assert "left: 2 (left in an orderly way)" in record.getMessage()
    assert record.ringproto_members == (1,) and record.ringproto_left == {2: "left in an orderly way"}
    assert record.ringproto_ring_id == str(first.ring.configuration.ring_id)
    (left,) = lines.of("left", 2)
    assert left.levelno == logging.INFO and left.getMessage() == "node 2: left the ring"


async def test_completion_says_how_long_the_barrier_took_and_who_was_last(cluster: Cluster, lines: Lines) -> None:
    async def slow(recovery: Recovery) -> None:
        await trio.sleep(0.4)

    first, second = cluster.start(1), cluster.start(2, recover=slow)
    await cluster.settled(first, second)
    await settle_down()
    lines.clear()
    third = cluster.start(3)
    await cluster.settled(first, second, third)
    (record,) = lines.of("recovery_complete", 1)
    assert record.levelno == logging.INFO
    assert record.ringproto_last == 2 and "; 2 unblocked last" in record.getMessage()
    assert record.ringproto_members == (1, 2, 3)
    assert record.ringproto_seconds >= 0.4


async def test_log_ends_with_the_members_that_there_are(cluster: Cluster, lines: Lines) -> None:
    # They meet one after the other, in less than the second in which one line of a kind is written.
    programs = await cluster.form(1, 2, 3)
    first = programs[0]

    def are_told() -> bool:
        kinds = ("configuration", "recovery_complete")
        last = [lines.of(kind, node)[-1] for kind in kinds for node in (1, 2, 3)]
        return all(record.ringproto_members == (1, 2, 3) for record in last)

    await until(are_told, "the last configuration and its completion are in the log of each")
    said = len(lines.of("configuration", 1))
    for program in reversed(programs[1:]):
        await program.stop()  # all of them before a second is over
    await until(lambda: first.ring.configuration.members == (1,), "the first is alone")
    await first.stop()
    last, (left,) = lines.of("configuration", 1)[-1], lines.of("left", 1)
    assert last.ringproto_members == (1,) and len(lines.of("configuration", 1)) > said
    assert lines.all().index(last) < lines.all().index(left)
    assert first.error is None


@trio_alone
async def test_waiting_is_said_after_a_second_and_then_after_twice_as_long_up_to_a_minute(
    cluster: Cluster, lines: Lines
) -> None:
    ends = trio.Event()

    async def recover(recovery: Recovery) -> None:
        await ends.wait()

    config = Config.wan()  # which has few wake-ups
    first, second = cluster.start(1, config=config), cluster.start(2, config=config, recover=recover)
    await cluster.met(first, second)
    began = trio.current_time()
    said: list[float] = []
    while trio.current_time() < began + 200:
        await trio.sleep(0.25)
        if len(lines.of("waiting_for", 1)) > len(said):
            said.append(trio.current_time() - began)
    # Each is said when the driver is awake after its time, which it is within the interval of beacons.
    late_s = config.merge_detect_s + config.hold_s + 0.25
    assert 1 <= said[0] < 1 + late_s
    waits = [after - before for before, after in itertools.pairwise(said)]
    for wait, nominal in zip(waits, [2, 4, 8, 16, 32, 60, 60], strict=False):
        assert abs(wait - nominal) < late_s
    assert 7 <= len(said) <= 8
    records = lines.of("waiting_for", 1)
    assert [record.ringproto_seconds for record in records] == pytest.approx(said, abs=late_s)
    assert all(record.ringproto_waiting_for == (2,) for record in records)
    assert all(record.levelno == logging.WARNING for record in records)
    assert " still waits for 2" in records[0].getMessage() and "recover has not" not in records[0].getMessage()
    assert "here recover has not returned" in lines.of("waiting_for", 2)[0].getMessage()
    ends.set()
    await cluster.settled(first, second)
    lines.clear()
    await trio.sleep(70)
    assert lines.of("waiting_for") == []


@trio_alone
async def test_processor_that_finds_no_ring_says_so(cluster: Cluster, lines: Lines) -> None:
    """Its commit tokens are lost, so those who agree never form the ring."""
    commit = 4
    (program,) = await cluster.form(1)
    await trio.sleep(1.5)
    assert lines.of("no_ring") == []
    transport = cluster.network.open(2)
    programs = [program, cluster.start(2, transport=transport)]
    for each in programs:
        put = each.transport._put  # type: ignore[attr-defined]

        def loses_commits(transmits: Any, now: float, put: Callable[..., None] = put) -> None:
            put([(node, datagram) for node, datagram in transmits if datagram[1] != commit], now)

        each.transport._put = loses_commits  # type: ignore[attr-defined]
    await until(lambda: len(lines.of("no_ring")) > 2, "it was said")
    record = lines.of("no_ring")[0]
    assert record.levelno == logging.WARNING and "this processor is in " in record.getMessage()
    assert 1.0 <= record.ringproto_seconds < 3.0
    assert record.ringproto_state in ("gather", "commit")
    for each in programs:
        del each.transport._put  # type: ignore[attr-defined]
    await cluster.settled(*programs)
    lines.clear()
    await trio.sleep(5.0)
    assert lines.of("no_ring") == []


async def test_nothing_is_said_of_a_barrier_that_takes_less_than_a_second(cluster: Cluster, lines: Lines) -> None:
    """A machine that stands still while they form says so in at least one of three kinds of lines: then others are
    formed."""
    expected = {"configuration", "recovery_complete"}
    for node in range(1, 21, 2):
        lines.clear()
        programs = await cluster.form(node, node + 1)
        await trio.sleep(1.5)
        kinds = lines.kinds()
        for program in programs:
            await program.stop()
        if kinds <= expected:
            return
        assert kinds & {"stood_still", "recovery_stood_still", "recovery_patience"}
    pytest.fail("a ring that forms on a quiet machine says more than it should, or the machine stood still ten times")


async def test_configuration_without_quorum_is_said_for_what_it_is(cluster: Cluster, lines: Lines) -> None:
    program = cluster.start(1, config=CONFIG.replace(quorum=2))
    await until(lambda: len(lines.of("no_quorum")) == 1, "it was said")
    (record,) = lines.of("no_quorum", 1)
    assert record.levelno == logging.WARNING
    assert "1 of the 2 members that Config.quorum asks for" in record.getMessage()
    assert record.ringproto_quorum == 2 and record.ringproto_members == (1,)
    assert lines.of("waiting_for") == []
    assert program.error is None


class Skew:
    """Makes the clock of a ring's driver jump, which is what it sees when its process stood still."""

    def __init__(self, program: Program) -> None:
        self._driver = program.ring._driver
        self._clock = self._driver._clock
        self._ahead_s = 0.0
        self._driver._clock = self  # type: ignore[assignment]

    def __call__(self) -> float:
        return self._clock() + self._ahead_s

    def jump(self, seconds: float) -> None:
        self._ahead_s += seconds


async def stand_still(cluster: Cluster, program: Program, seconds: float) -> None:
    if cluster.driver == "trio":
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(seconds)  # nobody ran meanwhile
    else:
        Skew(program).jump(seconds)
    await trio.sleep(0.2)


async def test_process_that_stood_still_says_for_how_long(cluster: Cluster, lines: Lines) -> None:
    (program,) = await cluster.form(1)
    await settle_down()
    lines.clear()
    await stand_still(cluster, program, 0.7)
    await until(lambda: len(lines.of("stood_still")) > 0, "it was said")
    record = lines.of("stood_still", 1)[0]
    assert record.levelno == logging.WARNING
    assert "this process stood still for 0." in record.getMessage()
    assert "Config.token_timeout_s is 0.1 s" in record.getMessage()
    assert "something held trio's loop" in record.getMessage() and "recover" not in record.getMessage()
    # It was to wake within the interval of its beacons, and late by what is more than that.
    assert 0.7 - 2 * CONFIG.merge_detect_s < record.ringproto_seconds
    assert record.ringproto_recovering is False
    if cluster.driver == "trio":
        assert record.ringproto_seconds <= 0.7
        assert len(lines.of("stood_still")) == 1


async def test_standing_still_while_recover_runs_is_said_with_what_to_do(cluster: Cluster, lines: Lines) -> None:
    runs = trio.Event()
    goes_on = trio.Event()

    async def recover(recovery: Recovery) -> None:
        runs.set()
        await goes_on.wait()

    program = cluster.start(1, recover=recover)
    await runs.wait()
    await settle_down()
    lines.clear()
    await stand_still(cluster, program, 0.7)
    await until(lambda: len(lines.of("stood_still")) > 0, "it was said")
    record = lines.of("stood_still", 1)[0]
    assert "recover was running: if it computed meanwhile, encode and send its state in pieces" in record.getMessage()
    assert record.ringproto_recovering is True
    goes_on.set()


@trio_alone
async def test_recover_that_computes_for_long_is_said_though_it_returned_meanwhile(
    cluster: Cluster, lines: Lines
) -> None:
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)

    async def recover(recovery: Recovery) -> None:
        clock.jump(0.7)  # what json.dumps() of a large state does

    program = cluster.start(1, recover=recover)
    await cluster.settled(program)
    assert any("recover was running" in record.getMessage() for record in lines.of("stood_still", 1))


@trio_alone
async def test_short_pause_is_not_worth_a_line(cluster: Cluster, lines: Lines) -> None:
    await cluster.form(1)
    lines.clear()
    for _ in range(20):
        clock = trio.lowlevel.current_clock()
        assert isinstance(clock, trio.testing.MockClock)
        clock.jump(0.4 * CONFIG.token_timeout_s)
        await trio.sleep(0.05)
    await trio.sleep(1.0)
    assert lines.of("stood_still") == []


@trio_alone
async def test_wait_of_a_full_network_is_no_standstill(cluster: Cluster, lines: Lines) -> None:
    """The driver that waits to send has its deadline behind it, and the process runs all the same."""
    first, second = await cluster.form(1, 2)
    lines.clear()
    waits = trio.Event()
    send = second.transport.send

    async def slow(transmits: Any) -> None:
        waits.set()
        await trio.sleep(0.3)
        await send(transmits)

    second.ring._driver._eager = None  # type: ignore[attr-defined]
    second.transport.send = slow  # type: ignore[method-assign]
    await waits.wait()
    await trio.sleep(1.0)
    second.transport.send = send  # type: ignore[method-assign]
    await cluster.settled(first, second)
    assert lines.of("stood_still") == []


@trio_alone
async def test_token_timeout_too_near_the_rotation_is_said_with_one_that_would_do(
    cluster: Cluster, lines: Lines
) -> None:
    cluster.network = cluster.new_network(seed=7, latency_s=(0.08, 0.08))
    # A third of the timeout to miss a token is more than it has here: nothing is sent again for it.
    config = Config.testing(
        token_timeout_s=0.3, token_retransmit_s=0.25, consensus_timeout_s=0.5, merge_detect_s=0.3, join_timeout_s=0.2
    )
    programs = [cluster.start(node, config=config) for node in (1, 2)]
    await cluster.settled(*programs)
    for payload in numbered("busy", 200):
        await programs[0].ring.low.send(payload)
        await trio.sleep(0.05)
    records = lines.of("token_timeout_near", 1)
    assert records and records[0].levelno == logging.WARNING
    assert "of Config.token_timeout_s (0.3 s)" in records[0].getMessage()
    assert 0.15 < records[0].ringproto_rotation_s < 0.3
    assert records[0].ringproto_would_do_s == pytest.approx(4 * records[0].ringproto_rotation_s)
    # Three looks of a second, then after 2 and 4 seconds more.
    assert len(records) <= 3


async def test_ring_with_room_in_its_token_timeout_is_not_told_of(cluster: Cluster, lines: Lines) -> None:
    await cluster.form(1, 2, 3)
    await trio.sleep(5.0)
    assert lines.of("token_timeout_near") == []


async def test_slow_consumer_is_warned_before_it_leaves(cluster: Cluster, lines: Lines) -> None:
    config = CONFIG.replace(events_max=10, slow_consumer_timeout_s=4.0)

    async def reads_nothing(ring: Ring) -> None:
        await until(lambda: ring.configuration.ring_id.sequence > 1, "it runs")
        with trio.move_on_after(3.0):
            for payload in numbered("flood", 1000):
                await ring.low.send(payload)
        await trio.sleep_forever()

    program = cluster.start(1, config=config, body=reads_nothing)
    program.error_expected = True
    await until(lambda: len(lines.of("slow_consumer")) > 0, "it was said")
    record = lines.of("slow_consumer", 1)[0]
    assert program.error is None, "it is still on its ring"
    assert record.levelno == logging.WARNING
    assert "has taken no event for" in record.getMessage() and "Config.slow_consumer_timeout_s" in record.getMessage()
    assert record.ringproto_events_waiting >= 10
    assert 2.0 <= record.ringproto_seconds < 4.0
    assert record.ringproto_leaves_in_s == pytest.approx(4.0 - record.ringproto_seconds)
    await program.end()
    assert isinstance(program.error, SlowConsumerError)
    (failed,) = lines.of("failed", 1)
    assert failed.levelno == logging.WARNING
    assert failed.getMessage().startswith("node 1: left the ring: SlowConsumerError: the application took no event")
    assert failed.ringproto_error == "SlowConsumerError"


async def test_refusal_is_said_on_both_sides_with_the_field_and_both_values(cluster: Cluster, lines: Lines) -> None:
    await cluster.form(1, 2)
    stranger = cluster.start(3, config=CONFIG.replace(window_size=31))
    stranger.error_expected = True
    await stranger.end()
    cluster.drop_audit(stranger.audit)
    assert isinstance(stranger.error, RefusedError)
    (failed,) = lines.of("failed", 3)
    assert (
        "RefusedError: processor" in failed.getMessage()
        and "window_size is 32 there and 31 here" in failed.getMessage()
    )
    refused = [*lines.of("limits_refused", 1), *lines.of("limits_refused", 2)]
    assert refused and refused[0].levelno == logging.WARNING
    assert "processor 3 is not let in: window_size is 31 there and 32 here" in refused[0].getMessage()


# Logging is the program's, and the ring lives without it


class Hostile(logging.Handler):
    """A handler of a program, which does what it does."""

    def __init__(self, does: Callable[[logging.LogRecord], None]) -> None:
        super().__init__()
        self._does = does
        self.calls = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.calls += 1
        self._does(record)


@pytest.fixture
def handle_with() -> Any:
    logger = logging.getLogger("ringproto")
    before = logger.level
    logger.setLevel(logging.INFO)
    handlers = []

    def add(does: Callable[[logging.LogRecord], None]) -> Hostile:
        handlers.append(Hostile(does))
        logger.addHandler(handlers[-1])
        return handlers[-1]

    yield add
    for handler in handlers:
        logger.removeHandler(handler)
    logger.setLevel(before)


async def test_handler_that_raises_does_not_break_the_ring_and_is_counted(cluster: Cluster, handle_with: Any) -> None:
    def fails(record: logging.LogRecord) -> None:
        raise OSError("the disk is full")

    handler = handle_with(fails)
    first, second = await cluster.form(1, 2)
    await first.ring.high.send(b"delivered|")
    await cluster.delivered([b"delivered|"], first, second)
    assert handler.calls > 0
    assert first.ring.statistics()["log_failures"] > 0


async def test_handler_may_use_the_ring(cluster: Cluster, handle_with: Any) -> None:
    """No lock of the ring is held, and what it sends is sent."""
    sent: list[bytes] = []

    def sends(record: logging.LogRecord) -> None:
        for program in cluster.programs:
            if program._ring is not None and getattr(record, "ringproto_kind", "") == "configuration":
                payload = b"logged.%d|" % len(sent)
                sent.append(payload)  # sending may log, and call this again
                program.ring.high.send_nowait(payload)
                program.ring.statistics()

    handle_with(sends)
    first, second = await cluster.form(1, 2)
    assert sent
    await cluster.delivered(sent, first, second)


@trio_alone
async def test_handler_that_blocks_blocks_the_loop_and_nothing_else(cluster: Cluster, handle_with: Any) -> None:
    """As any code of the application does; docs/logging.md says so."""
    handler = handle_with(lambda record: time.sleep(0.02))
    first, second = await cluster.form(1, 2)
    await first.ring.high.send(b"delivered|")
    await cluster.delivered([b"delivered|"], first, second)
    assert handler.calls > 0


async def test_lines_are_written_by_the_thread_of_trio(cluster: Cluster, lines: Lines) -> None:
    program, _ = await cluster.form(1, 2)
    await settle_down()
    await stand_still(cluster, program, 0.7)
    await until(lambda: len(lines.of("stood_still")) > 0, "it was said")
    for kind in ("configuration", "recovery_complete", "stood_still"):
        assert lines.of(kind)
        assert {record.thread for record in lines.of(kind)} == {threading.get_ident()}


def test_fields_are_in_the_record_and_do_not_hide_its_own() -> None:
    records: list[logging.LogRecord] = []
    logger = logging.getLogger("ringproto.test")
    logger.setLevel(logging.INFO)
    handler = Hostile(records.append)
    logger.addHandler(handler)
    try:
        BoundedLog("ringproto.test", lambda: 0.0).info("kind", "text", message="x", name="y", args=3)
    finally:
        logger.removeHandler(handler)
    (record,) = records
    assert record.name == "ringproto.test" and record.getMessage() == "text"
    assert (record.ringproto_message, record.ringproto_name, record.ringproto_args) == ("x", "y", 3)  # type: ignore[attr-defined]
