"""Calls from other threads: what changes something raises before anything is done, what only reads works.

The tables below name every public method of what the application holds, and a test looks for methods that they do not
name: a new one has to be put in one of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio
from service_cluster import Cluster, Program, until

from ringproto import (
    CompletionChannel,
    EventChannel,
    Recovery,
    RegularConfiguration,
    Ring,
    Sender,
    TransitionalConfiguration,
)

CHANGES: dict[type, dict[str, tuple[Any, ...]]] = {
    Ring: {},
    Sender: {
        "send": (b"never|",),
        "send_nowait": (b"never|",),
        "send_batch": ([b"never|", b"and never|"],),
        "close": (),
        "aclose": (),
        "__aexit__": (None, None, None),
    },
    EventChannel: {
        "receive": (),
        "receive_batch": (),
        "receive_nowait": (),
        "close": (),
        "aclose": (),
        "wake": (),
        "wait_until_read": (None,),
        "__anext__": (),
        "__aexit__": (None, None, None),
    },
    CompletionChannel: {
        "receive": (),
        "put": (None,),
        "end": (),
        "aclose": (),
        "__anext__": (),
        "__aexit__": (None, None, None),
    },
    Recovery: {"send": (b"never|",)},
}
"""Of each class the methods that change something, with arguments that are right."""

READS: dict[type, set[str]] = {
    Ring: {
        "configuration",
        "events",
        "high",
        "low",
        "node",
        "recovery_complete",
        "ring_sequence",
        "sender",
        "statistics",
        "waiting_for",
    },
    Sender: {"guarantee", "priority", "__aenter__"},
    EventChannel: {"__aenter__", "__aiter__"},
    CompletionChannel: {"__aenter__", "__aiter__"},
    Recovery: {"configuration", "transitional"},
}
"""Those that any thread may use. To enter an end of a channel does nothing but return it."""

CALLS = [
    pytest.param(kind, name, arguments, id=f"{kind.__name__}.{name}")
    for kind, methods in CHANGES.items()
    for name, arguments in methods.items()
]


WRONG = [
    (Sender, "send", ("text",)),
    (Sender, "send_nowait", ("text",)),
    (Sender, "send_batch", (7,)),
    (EventChannel, "receive_batch", (0,)),
    (Recovery, "send", (b"never|", 99)),
]
"""Calls with an argument that is refused in the right thread."""


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_every_public_method_is_in_one_of_the_tables(kind: type) -> None:
    channel = {"__aenter__", "__aexit__", "__aiter__", "__anext__", "__enter__", "__exit__", "__call__", "__del__"}
    public = {name for name in dir(kind) if not name.startswith("_") or name in channel}
    assert public == READS[kind] | set(CHANGES[kind])
    assert READS[kind].isdisjoint(CHANGES[kind])


def test_every_public_class_of_the_service_is_in_the_tables() -> None:
    import ringproto

    services = (
        "ringproto._service.ring",
        "ringproto._service.channels",
        "ringproto._service.recovery",
        "ringproto._service.driver",
    )
    classes = {
        value
        for value in vars(ringproto).values()
        if isinstance(value, type) and value.__module__.startswith(services) and value.__name__ in ringproto.__all__
    }
    assert classes == set(CHANGES)


def of(ring: Ring, kind: type, recovery: Recovery) -> Any:
    """The object of this kind that the application holds."""
    if kind is Sender:
        return ring.high
    if kind is EventChannel:
        return ring.events
    if kind is CompletionChannel:
        return ring.recovery_complete
    return recovery


def in_a_step(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call it, and if that gives a coroutine, let it run to its first wait or its end."""
    result = call(*arguments)
    if hasattr(result, "send"):
        try:
            result.send(None)
        finally:
            result.close()


def in_a_run(call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Call it in another trio run, in this thread."""

    async def other_run() -> None:
        result = call(*arguments)
        if hasattr(result, "send"):
            await result

    trio.run(other_run)


async def open_held(cluster: Cluster) -> tuple[Program, Recovery, trio.Event]:
    """A ring of one whose barrier is down until the event is set, with its recovery."""
    recoveries: list[Recovery] = []
    goes_on = trio.Event()

    async def recover(recovery: Recovery) -> None:
        recoveries.append(recovery)
        await goes_on.wait()

    async def idles(ring: Ring) -> None:
        # It has come for events, so recover is called, and took none that count.
        await program.reading.wait()
        while True:
            program.events += await ring.events.receive_batch()

    program = cluster.start(1, reads=False, body=idles, recover=recover)
    await until(lambda: len(program.ring.configuration.members) == 1 if program._ring else False, "it runs")
    await until(lambda: len(recoveries) > 0, "recover was called")
    # The first configuration of all is followed by the first ring.
    await until(lambda: recoveries[-1].configuration.ring_id.sequence > 1, "the first ring is there")
    return program, recoveries[-1], goes_on


def seen(program: Program) -> dict[str, Any]:
    """What a call that is refused must not change."""
    statistics = program.ring.statistics()
    kept = ("queue_", "senders_waiting", "events_waiting", "messages_delivered", "configurations")
    numbers = {name: value for name, value in statistics.items() if name.startswith(kept)}
    objects = (program.ring.events, program.ring.recovery_complete, program.ring.high)
    flags = [{name: value for name, value in vars(each).items() if isinstance(value, (bool, int))} for each in objects]
    return {**numbers, "flags": flags, "completions": list(program.ring.recovery_complete._completions)}


@pytest.mark.parametrize("step", [in_a_step, in_a_run])
@pytest.mark.parametrize(("kind", "name", "arguments"), CALLS)
async def test_call_from_another_thread_raises_and_changes_nothing(
    cluster: Cluster, kind: type, name: str, arguments: tuple[Any, ...], step: Callable[..., None]
) -> None:
    program, recovery, goes_on = await open_held(cluster)
    ring = program.ring
    before = seen(program)
    with pytest.raises(RuntimeError, match=r"trio\.from_thread\.run_sync.*trio\.from_thread\.run\("):
        await trio.to_thread.run_sync(step, getattr(of(ring, kind, recovery), name), arguments)
    assert seen(program) == before
    # All goes on: what is right is sent and delivered, and the end of the test leaves the ring in order.
    await recovery.send(b"recovery|")
    goes_on.set()
    program.reading.set()
    await ring.high.send(b"high|")
    await cluster.delivered([b"recovery|", b"high|"], program)
    assert (await ring.recovery_complete.receive()).members == (1,)
    assert set(program.payloads) == {b"recovery|", b"high|"}


@pytest.mark.parametrize(("kind", "name", "arguments"), WRONG)
async def test_thread_is_checked_before_the_arguments(
    cluster: Cluster, kind: type, name: str, arguments: tuple[Any, ...]
) -> None:
    program, recovery, goes_on = await open_held(cluster)
    call = getattr(of(program.ring, kind, recovery), name)
    with pytest.raises((TypeError, ValueError)):
        await call(*arguments)
    with pytest.raises(RuntimeError, match=r"from_thread"):
        await trio.to_thread.run_sync(in_a_step, call, arguments)
    goes_on.set()
    program.reading.set()


async def test_error_says_which_thread_called(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    errors: list[BaseException] = []

    def call() -> None:
        try:
            program.ring.low.send_nowait(b"never|")
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call, name="accountant")
    thread.start()
    await until(lambda: not thread.is_alive(), "the thread ended")
    assert "accountant" in str(errors[0]) and "trio_token" in str(errors[0])


async def test_what_the_error_advises_works(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    ring = program.ring

    def work() -> None:
        trio.from_thread.run_sync(ring.high.send_nowait, b"1|")
        trio.from_thread.run(ring.high.send, b"2|")
        trio.from_thread.run(ring.high.send_batch, [b"3|", b"4|"])

    await trio.to_thread.run_sync(work)
    await cluster.delivered([b"1|", b"2|", b"3|", b"4|"], program)
    assert program.payloads == [b"1|", b"2|", b"3|", b"4|"]


async def test_task_that_waits_for_events_is_woken_after_a_refused_call(cluster: Cluster) -> None:
    """What happened once: the call from the thread was accepted, woke a task of another thread, and nothing ended."""
    (program,) = await cluster.form(1)

    def work() -> None:
        with pytest.raises(RuntimeError, match=r"from_thread"):
            program.ring.events.close()
        with pytest.raises(RuntimeError, match=r"from_thread"):
            program.ring.high.send_nowait(b"never|")

    await trio.to_thread.run_sync(work)
    program.ring.high.send_nowait(b"woken|")
    await cluster.delivered([b"woken|"], program)
    assert program.payloads == [b"woken|"]
    await program.stop()
    assert program.error is None


async def test_what_only_reads_may_be_called_by_any_thread(cluster: Cluster) -> None:
    programs = await cluster.form(1, 2)
    ring = programs[0].ring

    def read() -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(50):
            for name in READS[Ring] - {"sender"}:
                value = getattr(ring, name)
                found[name] = value() if name == "statistics" else value
            found["repr"] = repr(ring)
        return found

    found = await trio.to_thread.run_sync(read)
    assert found["node"] == 1 and found["waiting_for"] == frozenset()
    assert found["configuration"] == ring.configuration
    assert found["statistics"]["configurations"] >= 1
    assert "members 1, 2" in found["repr"]


async def test_recovery_may_be_read_by_any_thread(cluster: Cluster) -> None:
    program, recovery, goes_on = await open_held(cluster)
    configuration = await trio.to_thread.run_sync(lambda: recovery.configuration)
    transitional = await trio.to_thread.run_sync(lambda: recovery.transitional)
    assert isinstance(configuration, RegularConfiguration) and configuration == program.ring.configuration
    assert isinstance(transitional, TransitionalConfiguration)
    goes_on.set()
