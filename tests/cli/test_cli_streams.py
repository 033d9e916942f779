"""How the command ends when it is interrupted, and when a standard stream is closed, full, or read by nobody.

Each command runs as a process in a group of its own, as a shell has it, so that an interrupt reaches it and whatever it
started as Ctrl-C in a terminal does.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from own_words import own_words

TIMEOUT_S = 120
COMMANDS = {
    "demo": "--seconds 60",
    "latency": "--duration 60",
    "chaos": "--rounds 50",
    "simulate": "--seeds 1-100000 --jobs 2",
}
"""Each runs for longer than any test, and has processes of its own."""
NODE = "node --node 1 --peer 1=127.0.0.1:{port}"

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes")


@pytest.fixture
def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def command_of(arguments: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        "import sys, ringproto_command; sys.exit(ringproto_command.main())",
        *arguments.split(),
    ]


@contextmanager
def started(arguments: str, **streams: object) -> Iterator[subprocess.Popen[bytes]]:
    """The command as the leader of a process group, which is killed at the end."""
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = subprocess.Popen(command_of(arguments), start_new_session=True, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def descendants(parent: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            children.append(int(stat.parent.name))
    return [*children, *(further for child in children for further in descendants(child))]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def groups_of(pids: list[int]) -> set[int]:
    """The process groups of those that still run."""
    groups = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
    return groups


def wait_until(condition: Callable[[], bool], text: str) -> None:
    give_up = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < give_up, text
        time.sleep(0.02)


def wait_for_children(process: subprocess.Popen[bytes]) -> list[int]:
    wait_until(lambda: len(descendants(process.pid)) >= 2, "it has not started its processes")
    return descendants(process.pid)


# Interrupts


@pytest.mark.parametrize("command", COMMANDS)
def test_interrupt_of_the_process_group_is_one_line_and_ends_all_processes(command: str) -> None:
    with started(f"{command} {COMMANDS[command]}") as process:
        children = wait_for_children(process)
        if command != "simulate":  # whose processes have the signal blocked
            assert process.pid not in groups_of(children), "the signal is for the command alone"
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert errors.decode() == f"ringproto {command}: interrupted by SIGINT\n"
        assert process.returncode == 128 + signal.SIGINT
        assert b"did not hold" not in output
        wait_until(lambda: not any(map(is_running, children)), "a process was left behind")


def test_sigterm_is_one_line_and_ends_all_processes() -> None:
    with started(f"simulate {COMMANDS['simulate']}") as process:
        children = wait_for_children(process)
        process.terminate()
        _, errors = process.communicate(timeout=TIMEOUT_S)
        assert errors.decode() == "ringproto simulate: interrupted by SIGTERM\n"
        assert process.returncode == 128 + signal.SIGTERM
        wait_until(lambda: not any(map(is_running, children)), "a process was left behind")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_in_the_middle_of_a_seed_is_no_failure_of_that_seed(number: signal.Signals) -> None:
    """The seeds of one job are run in the process itself, where nearly all the time goes."""

    def heeds_terminate() -> bool:
        (caught,) = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    with started("simulate --light --seeds 1-100000 --jobs 1") as process:
        wait_until(heeds_terminate, "it has not begun")
        time.sleep(0.5)
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert b"failed" not in output.replace(b" 0 failed", b"")
        assert errors.decode().splitlines()[-1] == f"ringproto simulate: interrupted by {number.name}"
        assert process.returncode == 128 + number


def test_interrupt_that_is_ignored_is_not_for_a_node(free_port: int) -> None:
    """A shell starts what a script runs in the background like that."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with started(NODE.format(port=free_port), stdin=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdin is not None
            assert process.stdout.readline().startswith(b"* configuration")
            os.killpg(process.pid, signal.SIGINT)
            process.stdin.write(b"still here\n")
            process.stdin.flush()
            while not (line := process.stdout.readline()).endswith(b": still here\n"):
                assert line and not line.startswith(b"* left the ring")
            process.terminate()
            output, _ = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0 and output.splitlines()[-1].startswith(b"* left the ring")
    finally:
        signal.signal(signal.SIGINT, former)


def test_interrupt_makes_a_node_leave_and_that_is_how_it_ends(free_port: int) -> None:
    with started(NODE.format(port=free_port), stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"* configuration")
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT_S)
        assert (process.returncode, own_words(errors)) == (0, [])
        assert output.splitlines()[-1].startswith(b"* left the ring")


INTERRUPTED_AT_AN_IMPORT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
import ringproto_command
sys.exit(ringproto_command.main())
"""


@pytest.mark.parametrize(
    ("module", "code", "error"),
    [
        ("ringproto", -signal.SIGINT, ""),
        ("ringproto.cli.demo.command", 128 + signal.SIGINT, "ringproto: interrupted by SIGINT\n"),
        ("ringproto.cli.demo.records", 128 + signal.SIGINT, "ringproto: interrupted by SIGINT\n"),
        ("rich.console", 128 + signal.SIGINT, "ringproto demo: interrupted by SIGINT\n"),
    ],
)
def test_interrupt_while_modules_are_imported_has_no_traceback(module: str, code: int, error: str) -> None:
    program = INTERRUPTED_AT_AN_IMPORT.format(module=module)
    done = subprocess.run([sys.executable, "-c", program, "demo"], capture_output=True, timeout=TIMEOUT_S)
    assert (done.returncode, own_words(done.stderr)) == (code, error.encode().splitlines())


def test_interrupt_after_the_end_has_no_effect() -> None:
    program = (
        "import os, signal, sys, ringproto_command\n"
        "code = ringproto_command.main()\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(code)"
    )
    arguments = ["simulate", "--light", "--seed", "3"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, timeout=TIMEOUT_S)
    assert (done.returncode, own_words(done.stderr)) == (0, [])


# Standard output that cannot be written


@pytest.mark.parametrize("command", ["demo", "chaos", "node"])
def test_reader_that_goes_away_ends_the_command_in_one_line(command: str, free_port: int) -> None:
    arguments = NODE.format(port=free_port) if command == "node" else f"{command} {COMMANDS[command]}"
    with started(arguments, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None and process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        if command == "node":
            process.stdin.write(b"a line\n")
            process.stdin.flush()
        said = f"ringproto {command}: ended early, because nobody reads standard output any more"
        assert own_words(process.stderr.read()) == [said.encode()]
        assert process.wait(TIMEOUT_S) == 128 + signal.SIGPIPE
        assert descendants(process.pid) == []


@pytest.mark.parametrize("arguments", ["simulate --seed 3 --light", "--help", "--version", "node --help"])
def test_output_that_nobody_reads_is_one_line_too_if_it_comes_at_the_end(arguments: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command_of(arguments), stdout=writing, stderr=subprocess.PIPE, timeout=TIMEOUT_S)
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    (line,) = own_words(done.stderr)
    assert b": ended early, because nobody reads" in line


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments",
    ["demo", "latency", "chaos --rounds 2", "simulate --seed 3 --light", "--version", NODE],
)
def test_disk_that_is_full_is_one_line_and_exit_code_1(arguments: str, free_port: int) -> None:
    with open("/dev/full", "wb") as full, started(arguments.format(port=free_port), stdout=full) as process:
        _, errors = process.communicate(timeout=TIMEOUT_S)
        name = " ".join(["ringproto", arguments.split()[0]]) if not arguments.startswith("-") else "ringproto"
        assert own_words(errors) == [f"{name}: cannot write to standard output: No space left on device".encode()]
        assert process.returncode == 1


def in_a_shell(arguments: str, redirection: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirection}', "sh", *command_of(arguments)], capture_output=True, timeout=TIMEOUT_S
    )


@pytest.mark.parametrize("arguments", ["simulate --seed 3 --light", "--version", "demo", NODE])
def test_closed_standard_output_is_wrong_usage(arguments: str, free_port: int) -> None:
    done = in_a_shell(arguments.format(port=free_port), ">&-")
    assert done.returncode == 2
    assert (
        done.stderr.startswith(b"ringproto: standard output is closed; give it a file")
        and done.stderr.count(b"\n") == 1
    )


def test_closed_standard_input_is_the_end_of_the_input(free_port: int) -> None:
    done = in_a_shell(NODE.format(port=free_port), "<&-")
    assert (done.returncode, own_words(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[-1] == b"* left the ring; 0 lines sent, 0 of them delivered here"


def test_closed_standard_error_disturbs_nothing(free_port: int) -> None:
    done = in_a_shell(NODE.format(port=free_port) + f" --peer 2=127.0.0.2:{free_port}", "2>&- </dev/null")
    assert done.returncode == 0 and done.stdout.splitlines()[-1].startswith(b"* left the ring")
    assert in_a_shell("simulate --seeds 3-1", "2>&-").returncode == 2


def test_streams_that_do_not_wait_are_waited_for(free_port: int) -> None:
    """A program before or beside this one may have left them so."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    input_reading, input_writing = os.pipe()
    os.set_blocking(input_reading, False)
    with started(NODE.format(port=free_port), stdin=input_reading, stdout=writing) as process:
        os.close(writing)
        os.close(input_reading)
        lines = [b"%d " % number + b"x" * 1000 for number in range(300)]  # more than a pipe holds
        with open(input_writing, "wb") as source:
            source.write(b"".join(line + b"\n" for line in lines))
        with open(reading, "rb") as output:
            printed = output.read()
        assert process.wait(TIMEOUT_S) == 0 and process.stderr is not None and own_words(process.stderr.read()) == []
    assert all(line + b"\n" in printed for line in lines)
