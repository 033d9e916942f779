"""Child processes and their pipes: they end when they should, and their failures are told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio

from ringproto._processes import child as pipes
from ringproto._processes.child import Conversation, split_lines
from ringproto._processes.failures import RunFailedError
from ringproto._processes.parent import Children, open_children

CHILD = """
import json, os, sys, time, trio
from ringproto._processes.child import Pipes, run_worker

def sleep_on():
    time.sleep(3600)

async def main():
    pipes = Pipes()
    setup = await pipes.receive()
    print("this goes to standard error")
    await pipes.send({"pid": os.getpid(), "setup": setup})
    while (message := await pipes.receive()) is not None:
        if message == {"do": "fail"}:
            raise ValueError("told to\\nfail")
        if message == {"do": "hang"}:
            time.sleep(3600)
        if message == {"do": "tear"}:
            os.write(pipes._out.fileno(), b"this is not JSON\\n")
        if message == {"do": "sleep on"}:
            sleep_on()
        if message == {"do": "half"}:
            os.write(pipes._out.fileno(), b'{"half": ')
            print("half is written", flush=True)
            time.sleep(3600)
        await pipes.send({"echo": message})

sys.exit(run_worker(main))
"""


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "a_child.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    return "a_child"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def wait_for(children: Children, heard: list[dict[str, Any]], count: int) -> None:
    await children.until(lambda: len(heard) >= count, timeout_s=60, failure=lambda: f"only {len(heard)} lines")


async def test_a_child_hears_its_setup_and_ends_when_dismissed(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = await children.start("child", child_module, {"a": 1}, heard.append)
        await wait_for(children, heard, 1)
        await child.send({"b": 2})
        await wait_for(children, heard, 2)
        assert heard[0]["setup"] == {"a": 1} and heard[1] == {"echo": {"b": 2}}
        await child.dismiss()
        children.check()
        assert not is_alive(heard[0]["pid"])


async def test_children_are_killed_when_the_block_is_left(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    with pytest.raises(KeyError):
        async with open_children() as children:
            for i in range(2):
                await children.start(f"child {i}", child_module, {}, heard.append)
            await wait_for(children, heard, 2)
            raise KeyError("something else went wrong")
    assert not any(is_alive(line["pid"]) for line in heard)


async def test_children_are_killed_when_the_block_is_cancelled(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    with trio.CancelScope() as scope:
        async with open_children() as children:
            child = await children.start("child", child_module, {}, heard.append)
            await wait_for(children, heard, 1)
            await child.send({"do": "hang"})
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught and not is_alive(heard[0]["pid"])


async def test_a_killed_child_is_no_failure_and_a_failed_one_is_told(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = await children.start("first", child_module, {}, heard.append)
        await wait_for(children, heard, 1)
        child.kill()
        with trio.fail_after(60):
            await child.gone.wait()
        children.check()
        child = await children.start("second", child_module, {}, heard.append)
        await wait_for(children, heard, 2)
        await child.send({"do": "fail"})
        with pytest.raises(RunFailedError, match="second ended with exit code 1: ValueError: told to fail"):
            await wait_for(children, heard, 99)


async def test_a_command_of_any_kind_is_killed_with_the_others_and_its_end_is_no_failure() -> None:
    async with open_children() as children:
        process = await children.start_process(["sh", "-c", "read line; exit 7"])
        assert process.stdin is not None
        await process.stdin.send_all(b"go\n")
        assert await process.wait() == 7
        children.check()
        process = await children.start_process(["sh", "-c", "read line"])
    assert process.returncode == -signal.SIGKILL


async def test_what_runs_beside_the_children_is_their_failure_if_it_fails() -> None:
    async def fail(text: str) -> None:
        raise RunFailedError(text)

    with pytest.raises(RunFailedError, match=r"^it failed$"):
        async with open_children() as children:
            children.start_soon(fail, "it failed")
            await children.until(lambda: False, timeout_s=60, failure=lambda: "nothing came")


async def test_a_line_that_a_killed_child_left_unfinished_is_forgotten(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = await children.start("child", child_module, {}, heard.append)
        await child.send({"do": "half"})
        with trio.fail_after(60):
            while b"half is written" not in child.stderr_tail:
                await trio.sleep(0.01)
            child.kill()
            await child.gone.wait()
        children.check()
        assert len(heard) == 1


async def test_a_child_that_does_not_end_is_told_with_the_place_where_it_is(
    child_module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringproto._processes.parent._EXIT_TIMEOUT_S", 1.0)
    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = await children.start("child", child_module, {}, heard.append)
        await child.send({"do": "sleep on"})
        await wait_for(children, heard, 1)
        with pytest.raises(RunFailedError, match=r"child did not end within 1 s .* it is at File .* in sleep_on < "):
            await child.dismiss()


async def test_a_line_that_cannot_be_read_is_a_failure(child_module: str) -> None:
    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = await children.start("child", child_module, {}, heard.append)
        await child.send({"do": "tear"})
        with pytest.raises(RunFailedError, match="child sent a line that cannot be read"):
            await wait_for(children, heard, 3)


async def test_a_wait_has_a_bound_and_a_text(autojump_clock: trio.testing.MockClock) -> None:
    async with open_children() as children:
        with pytest.raises(RunFailedError, match="after 5 s nothing had come"):
            await children.until(lambda: False, timeout_s=5, failure=lambda: "nothing had come")
        assert trio.current_time() == pytest.approx(5)


async def test_progress_puts_the_bound_off(autojump_clock: trio.testing.MockClock) -> None:
    count = 0
    async with open_children() as children, trio.open_nursery() as nursery:

        async def advance() -> None:
            nonlocal count
            for _ in range(4):
                await trio.sleep(3)
                count += 1
                children.wake()

        nursery.start_soon(advance)
        with pytest.raises(RunFailedError, match="after 5 s no progress"):
            await children.until(lambda: False, timeout_s=5, failure=lambda: "no progress", progress=lambda: count)
        assert trio.current_time() == pytest.approx(4 * 3 + 5)


async def test_a_task_speaks_as_a_child_does() -> None:
    async def member(line: Conversation) -> None:
        while (message := await line.receive()) is not None:
            await line.send({"echo": message})

    async def failing(line: Conversation) -> None:
        raise ValueError("no")

    heard: list[dict[str, Any]] = []
    async with open_children() as children:
        child = children.start_task("task", member, heard.append)
        await child.send({"a": 1})
        await wait_for(children, heard, 1)
        assert heard == [{"echo": {"a": 1}}]
        await child.dismiss()
        children.check()
        children.start_task("bad task", failing, heard.append)
        with pytest.raises(RunFailedError, match="bad task ended: ValueError: no"):
            await wait_for(children, heard, 2)


def test_a_child_ends_when_its_parent_is_gone(child_module: str) -> None:
    """The parent is killed and can clean up nothing: the end of its input tells the child."""
    child = subprocess.Popen([sys.executable, "-m", child_module], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(b"{}\n")
        child.stdin.flush()
        assert b"pid" in child.stdout.readline()
        child.stdin.close()
        assert child.wait(timeout=60) == 0
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def test_lines_are_split_wherever_the_pieces_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b"one\n\nthree\nfour"
    for size in range(1, len(text) + 1):
        buffered = bytearray()
        lines = [line for i in range(0, len(text), size) for line in split_lines(buffered, text[i : i + size])]
        assert lines == [b"one", b"", b"three"] and buffered == b"four"
    monkeypatch.setattr(pipes, "LINE_BYTES_MAX", 10)
    with pytest.raises(ValueError, match="longer than 10 bytes"):
        split_lines(bytearray(b"12345678"), b"abc")
