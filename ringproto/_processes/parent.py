"""JSON lines between a command and the processes that it starts: the parent's end.

A child is the module that it runs, a setup as its first line, and then lines both ways. Children end with the block
that opened them: when it is left, in whatever way, every child that still runs is killed and waited for. What speaks
the same lines can also run as a task of this process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio

from ringproto._processes.child import Conversation, split_lines
from ringproto._processes.ending_signals import listen_for_end
from ringproto._processes.failures import InterruptedRunError, RunFailedError, describe_error, one_line

__all__ = ["Child", "Children", "TaskChild", "open_children"]

_STDERR_KEPT = 4096
_EXIT_TIMEOUT_S = 10.0
_REQUESTS_MAX = 16
_STACK_WAIT_S = 0.5
_FRAMES_SHOWN = 4


class Child:
    """One process that was started."""

    def __init__(self, name: str, process: trio.Process) -> None:
        self.name = name
        self.process = process
        self.killed = False
        """Whether :meth:`kill` was called: then its end is no failure."""
        self.dismissed = False
        """Whether its end is expected."""
        self.gone = trio.Event()
        """Set when the process has ended and all that it wrote was read."""
        self.stderr_tail = b""

    async def send(self, message: Mapping[str, Any], /) -> None:
        """Send one object. A child that is gone does not hear it, and that is seen elsewhere."""
        assert self.process.stdin is not None
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.process.stdin.send_all(json.dumps(message).encode() + b"\n")

    def kill(self) -> None:
        """SIGKILL."""
        self.killed = True
        self.process.kill()

    async def dismiss(self) -> None:
        """Close its input and wait for its end.

        Raises:
            RunFailedError: it does not end in time.
        """
        self.dismissed = True
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        try:
            await _wait_for_end(self.name, self.gone)
        except RunFailedError as error:
            raise RunFailedError(f"{error}{await self._where()}") from None

    async def _where(self) -> str:
        """Where a child that does not end is: it is asked for the frames of its stack (see ``run_worker``)."""
        self.process.send_signal(signal.SIGUSR1)
        await trio.sleep(_STACK_WAIT_S)
        frames = [line.strip() for line in self.stderr_tail.decode(errors="replace").splitlines() if "  File " in line]
        return f"; it is at {' < '.join(frames[:_FRAMES_SHOWN])}" if frames else ""

    def last_words(self) -> str:
        """The last line that it wrote to standard error, for messages."""
        lines = self.stderr_tail.decode(errors="replace").strip().splitlines()
        return f": {one_line(lines[-1])}" if lines else ""


class TaskChild:
    """What speaks as a child does, and is a task of this process."""

    def __init__(self, name: str, on_message: Callable[[dict[str, Any]], None], wake: Callable[[], None]) -> None:
        self.name = name
        self.gone = trio.Event()
        self._on_message = on_message
        self._wake = wake
        self._requests, self._to_do = trio.open_memory_channel[dict[str, Any]](_REQUESTS_MAX)

    async def send(self, message: dict[str, Any], /) -> None:
        """Send one object."""
        await self._requests.send(message)

    async def dismiss(self) -> None:
        """Tell it that it is over and wait for its end.

        Raises:
            RunFailedError: it does not end in time.
        """
        self._requests.close()
        await _wait_for_end(self.name, self.gone)

    @property
    def line(self) -> Conversation:
        """The task's end of the conversation."""
        return _TaskLine(self._to_do, self._on_message, self._wake)


class _TaskLine:
    def __init__(
        self,
        to_do: trio.MemoryReceiveChannel[dict[str, Any]],
        on_message: Callable[[dict[str, Any]], None],
        wake: Callable[[], None],
    ) -> None:
        self._to_do = to_do
        self._on_message = on_message
        self._wake = wake

    async def send(self, message: dict[str, Any], /) -> None:
        self._on_message(message)
        self._wake()
        await trio.lowlevel.checkpoint()

    async def receive(self) -> dict[str, Any] | None:
        try:
            return await self._to_do.receive()
        except trio.EndOfChannel:
            return None


async def _wait_for_end(name: str, gone: trio.Event) -> None:
    with trio.move_on_after(_EXIT_TIMEOUT_S):
        await gone.wait()
        return
    raise RunFailedError(f"{name} did not end within {_EXIT_TIMEOUT_S:g} s after it was told to")


class Children:
    """The processes of one command. ``failure`` is the first thing that went wrong with one of them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.failure: str | None = None
        self._interrupted: int | None = None
        """The signal that came, if one did."""
        self._nursery = nursery
        self._news = trio.Event()

    async def start(
        self, name: str, module: str, setup: Mapping[str, Any], on_message: Callable[[dict[str, Any]], None]
    ) -> Child:
        """Start a module as a process, send it its setup, and have ``on_message`` called for each object it sends."""
        process = await self.start_process(
            [sys.executable, "-m", module], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        child = Child(name, process)
        self._nursery.start_soon(self._watch, child, on_message)
        await child.send(setup)
        return child

    async def start_process(self, command: Sequence[str], **options: Any) -> trio.Process:
        """Start any command, with a pipe to it; it is killed with the others, and how it ends is nobody's concern."""
        process: trio.Process = await self._nursery.start(
            partial(
                trio.run_process,
                command,
                stdin=subprocess.PIPE,
                check=False,
                deliver_cancel=_kill,
                # Ctrl-C in a terminal is for the command, which then ends its children.
                start_new_session=True,
                **options,
            )
        )
        return process

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Run an async function beside them, until they end; :class:`RunFailedError` from it is a failure."""
        self._nursery.start_soon(self._run_beside, function, args)

    def start_task(
        self, name: str, member: Callable[[Conversation], Awaitable[None]], on_message: Callable[[dict[str, Any]], None]
    ) -> TaskChild:
        """The same for a task: ``member`` is called with its end of the conversation."""
        child = TaskChild(name, on_message, self.wake)
        self._nursery.start_soon(self._run_task, child, member)
        return child

    async def on_signals(self) -> None:
        """From now on fail when SIGINT or SIGTERM comes and is not ignored, as long as the children are open.

        What waits with :meth:`until` is told by :class:`InterruptedRunError`.
        """
        await self._nursery.start(listen_for_end, self._interrupt)

    def fail(self, text: str) -> None:
        """Remember what went wrong, if it is the first thing, and wake who waits."""
        self.failure = self.failure or text
        self.wake()

    def check(self) -> None:
        """Raise :class:`RunFailedError` if something went wrong."""
        self.check_interrupted()
        if self.failure is not None:
            raise RunFailedError(self.failure)

    def check_interrupted(self) -> None:
        """Raise :class:`InterruptedRunError` if a signal came."""
        if self._interrupted is not None:
            raise InterruptedRunError(self._interrupted)

    def wake(self) -> None:
        """Have :meth:`until` look again."""
        news, self._news = self._news, trio.Event()
        news.set()

    async def until(
        self,
        done: Callable[[], bool],
        *,
        timeout_s: float,
        failure: Callable[[], str],
        progress: Callable[[], object] | None = None,
    ) -> None:
        """Wait until ``done()``; with ``progress``, the time starts anew whenever its value changes.

        Raises:
            RunFailedError: a child failed, or the time was up; then with the text that ``failure()`` gives.
        """
        value = progress() if progress else None
        with trio.CancelScope(deadline=trio.current_time() + timeout_s) as scope:
            while True:
                self.check()
                if done():
                    return
                await self._news.wait()
                if progress is not None and value != (value := progress()):
                    scope.deadline = trio.current_time() + timeout_s
        raise RunFailedError(f"after {timeout_s:g} s {failure()}")

    async def _run_task(self, child: TaskChild, member: Callable[[Conversation], Awaitable[None]]) -> None:
        try:
            await member(child.line)
        except Exception as error:  # as with a process: whatever ends it is reported
            self.fail(f"{child.name} ended: {describe_error(error)}")
        child.gone.set()
        self.wake()

    async def _run_beside(self, function: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        try:
            await function(*args)
        except RunFailedError as error:
            self.fail(str(error))

    def _interrupt(self, number: signal.Signals) -> None:
        self._interrupted = self._interrupted or number
        self.wake()

    async def _watch(self, child: Child, on_message: Callable[[dict[str, Any]], None]) -> None:
        async with trio.open_nursery() as readers:
            readers.start_soon(self._read_stderr, child)
            await self._read_stdout(child, on_message)
        await child.process.wait()
        if not (child.killed or (child.dismissed and child.process.returncode == 0)):
            self.fail(f"{child.name} ended with exit code {child.process.returncode}{child.last_words()}")
        child.gone.set()
        self.wake()

    async def _read_stdout(self, child: Child, on_message: Callable[[dict[str, Any]], None]) -> None:
        assert child.process.stdout is not None
        buffered = bytearray()
        # A line that a killed child left unfinished stays in the buffer and is forgotten.
        async for data in child.process.stdout:
            try:
                for line in split_lines(buffered, bytes(data)):
                    on_message(json.loads(line))
            except (ValueError, TypeError, KeyError) as error:
                self.fail(f"{child.name} sent a line that cannot be read: {one_line(error)}")
            self.wake()

    async def _read_stderr(self, child: Child) -> None:
        assert child.process.stderr is not None
        async for data in child.process.stderr:
            child.stderr_tail = (child.stderr_tail + bytes(data))[-_STDERR_KEPT:]


@asynccontextmanager
async def open_children() -> AsyncIterator[Children]:
    """Processes that end with this block. What the block raises leaves it unwrapped.

    Raises:
        InterruptedRunError: a signal came after :meth:`Children.on_signals`; at the end of the block at the
            latest.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        children = Children(nursery)
        try:
            yield children
            children.check_interrupted()
        except Exception as error:  # kept, so that the nursery does not wrap it
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _kill(process: trio.Process) -> None:
    process.kill()
