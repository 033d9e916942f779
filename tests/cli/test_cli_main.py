"""The command as a user meets it when something is wrong: one line, the right exit code, no traceback."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from ringproto.__main__ import main
from ringproto._processes.failures import RunFailedError, UsageError, describe_error, one_line
from ringproto.cli._common import need_extra
from ringproto.cli.demo import command as demo
from ringproto.cli.latency import command as latency

WRONG = {
    "ringproto: the following arguments are required: COMMAND": "",
    "ringproto: argument COMMAND: invalid choice": "dance",
    "ringproto: unrecognized arguments: --loud": "demo --loud",
    "ringproto demo: cannot read /nowhere: No such file": "demo /nowhere",
    "ringproto demo: argument --nodes: must be a whole number from 2 to 16": "demo --nodes 1",
    "ringproto demo: argument --transport: invalid choice": "demo --transport pigeon",
    "ringproto demo: argument --seconds: must be a number above 0": "demo --seconds 0",
    "ringproto latency: argument --size: must be a whole number from 16": "latency --size 15",
    "ringproto latency: argument --rate: must be a number above 0": "latency --rate nan",
    "ringproto latency: --plot cannot write /nowhere/x.png: there is no folder": "latency --plot /nowhere/x.png",
    "ringproto latency: --plot draws a PNG file": "latency --plot x.pdf",
    "ringproto chaos: argument --rounds: must be a whole number from 1": "chaos --rounds 0",
    "ringproto chaos: argument --nodes: must be a whole number from 3 to 5": "chaos --nodes 6",
    "ringproto chaos: argument --transport: invalid choice": "chaos --transport loopback",
    "ringproto chaos: argument --jobs: must be a whole number from 1 to 32, not '0'": "chaos --jobs 0",
    "ringproto chaos: argument --jobs: must be a whole number from 1 to 32, not 'x'": "chaos --jobs x",
    "ringproto chaos: argument --jobs: must be a whole number from 1 to 32, not '33'": "chaos --jobs 33",
    "ringproto chaos: cannot keep logs in /proc/nowhere: ": "chaos --keep /proc/nowhere",
    "ringproto chaos: cannot read /nowhere/round.json: No such file": "chaos --judge /nowhere",
    "ringproto node: the processor needs an id": "node",
    "ringproto node: node must be a node id": "node --node 0 --peer 1=127.0.0.1:5001",
    "ringproto node: peers must have an entry for the own node 1": "node --node 1 --peer 2=127.0.0.1:5001",
    "ringproto node: 10.0.0.1 is not a multicast group": "node --node 1 --group 10.0.0.1 --port 5 --interface lo",
    "ringproto node: there is no interface 'nope'": "node --node 1 --group 239.192.7.1 --port 5405 --interface nope",
    "ringproto node: Config.quorum must be": "node --node 1 --peer 1=127.0.0.1:5001 --quorum 0",
    "ringproto node: 192.0.2.77:5001": "node --node 1 --peer 1=192.0.2.77:5001",
}


@pytest.mark.parametrize("start", WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(start: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(WRONG[start].split())
    except SystemExit as error:
        code = int(str(error.code))
    output = capsys.readouterr()
    assert code == 2
    assert output.err.startswith(start) and output.err.count("\n") == 1
    assert output.out == ""


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("ringproto ")


@pytest.mark.parametrize("command", ["demo", "latency", "chaos", "node", "simulate"])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: ringproto {command}")


def test_the_module_can_be_run() -> None:
    done = subprocess.run([sys.executable, "-m", "ringproto", "demo", "/nowhere"], capture_output=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.decode() == "ringproto demo: cannot read /nowhere: No such file or directory\n"


@pytest.mark.parametrize("command", ["demo", "latency"])
def test_a_missing_package_of_the_extra_is_told_in_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "hdrh" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    assert main([command, "--json"]) == 2
    error = capsys.readouterr().err
    assert error == (f"ringproto {command}: this needs hdrhistogram: pip install 'ringproto[cli]'\n")
    with pytest.raises(UsageError, match="needs hdrhistogram: pip"):
        need_extra("rich", "hdrh")


def test_a_run_that_did_not_hold_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: argparse.Namespace) -> int:
        raise RunFailedError("after 20 s nobody had come")

    monkeypatch.setattr(latency, "run", fail)
    assert main(["latency"]) == 1
    assert capsys.readouterr().err == "ringproto latency: after 20 s nobody had come\n"


def test_a_file_with_too_few_records_is_told(tmp_path: Path) -> None:
    file = tmp_path / "few"
    file.write_bytes(b"line\n" * 59)
    args = argparse.Namespace(file=str(file), nodes=3, seed=1, transport="unicast", seconds=1.0, json=True)
    with pytest.raises(UsageError, match="has 59 records; 3 processors under load need at least 60"):
        demo.make_plan(args)


def test_one_seed_gives_one_plan(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(b"line\n" * 100)
    args = argparse.Namespace(file=str(file), nodes=5, seed=11, transport="unicast", seconds=1.0, json=True)
    one, other = demo.make_plan(args), demo.make_plan(args)
    assert (one.victim, one.kill_at, one.return_after) == (other.victim, other.kill_at, other.return_after)
    assert {demo.make_plan(argparse.Namespace(**{**vars(args), "seed": s})).victim for s in range(40)} == {
        1,
        2,
        3,
        4,
        5,
    }


def test_errors_of_a_group_are_told_in_one_line() -> None:
    class Group(Exception):
        exceptions = (ValueError("one\n  line"), OSError("two"))

    assert describe_error(Group()) == "ValueError: one line; OSError: two"
    assert one_line(" a\n\tb ") == "a b"


WITHOUT_THE_EXTRA = """
import sys
sys.modules.update(rich=None, hdrh=None, matplotlib=None)
from ringproto.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        ("demo", 2, "ringproto demo: this needs hdrhistogram and rich: pip install"),
        ("latency --json --plot x.png", 2, "ringproto latency: this needs hdrhistogram and matplotlib: pip"),
        ("node --node 1 --peer 1=127.0.0.1:0", 2, "ringproto node: "),
        ("simulate --seed 1 --light --jobs 1", 0, ""),
    ],
)
def test_without_the_extra_the_commands_that_need_it_say_so(arguments: str, code: int, error: str) -> None:
    command = [sys.executable, "-c", WITHOUT_THE_EXTRA, *arguments.split()]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert done.stderr.decode().startswith(error) and done.stderr.count(b"\n") == (1 if error else 0)
