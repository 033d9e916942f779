"""``ringproto demo`` with small loads: real processes, real sockets, a real SIGKILL."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ringproto.__main__ import main
from ringproto.cli.demo import command as demo

TIMEOUT_S = 120


@pytest.fixture
def small_file(tmp_path: Path) -> str:
    file = tmp_path / "records"
    file.write_text("".join(f"record {i}: {'x' * (i % 300)}\n" for i in range(900)))
    return str(file)


@pytest.mark.parametrize(("transport", "nodes"), [("unicast", 3), ("multicast", 3), ("unicast", 2)])
def test_everything_holds(transport: str, nodes: int, small_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--transport", transport, "--nodes", str(nodes), "--seconds", "2", "--seed", "5", "--json"]
    code = main(["demo", small_file, *flags])
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert code == 0, (result["failure"], result["checks"])
    assert result["held"] and output.err == ""
    assert [check["name"] for check in result["checks"] if check["held"]] == [
        "history",
        "order",
        "together",
        "barrier",
        "accepted",
        "stream",
        "state",
        "story",
    ]
    final = [processor for processor in result["processors"] if not processor["killed"]]
    assert len(final) == nodes and {processor["entries"] for processor in final} == {900}
    assert len({processor["state_hash"] for processor in final}) == 1
    assert result["settings"]["records"] == 900 and result["settings"]["seed"] == 5
    configurations = [row for row in result["timeline"] if row["what"] == "configuration"]
    full = [row for row in configurations if len(row["members"]) == nodes and row["recovery_s"] is not None]
    assert len(full) >= 2
    assert any(row["what"] == "state taken over" for row in result["timeline"])
    assert result["kill_to_complete_s"] > 0
    assert result["latency_ms"]["HIGH"]["count"] > 0 and result["latency_ms"]["LOW"]["p99"] > 0


def test_people_are_told_what_happens(small_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", small_file, "--seconds", "1.5", "--seed", "6"]) == 0
    output = capsys.readouterr().out
    for text in (
        "starts 3 processes, unicast, quorum 2",
        f"all are together and send 900 records from {small_file}",
        "with SIGKILL",
        "RecoveryComplete of",
        "again, empty",
        "sends its state",
        "takes over the state of",
        "Timeline",
        "p99.99",
        "held    barrier",
        "Everything held: 3 replicas with 900 entries and one state",
        "Seed 6.",
    ):
        assert text in output, output


def test_a_wait_that_is_over_breaks_the_run_off(
    small_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_START_TIMEOUT_S", 0.01)
    code = main(["demo", small_file, "--json"])
    output = capsys.readouterr()
    result = json.loads(output.out)
    assert code == 1 and not result["held"]
    assert "the processors had not formed one configuration" in result["failure"]
    assert output.err == f"ringproto demo: {result['failure']}\n"
    assert children_of(os.getpid()) == []


def test_a_file_that_changes_meanwhile_is_noticed(
    small_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ringproto.cli.demo.records.fingerprint", lambda records: "another")
    assert main(["demo", small_file, "--json"]) == 1
    assert "is not what the supervisor read: did it change?" in capsys.readouterr().err
    assert children_of(os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_is_left_behind_when_the_demo_is_ended(number: signal.Signals, small_file: str) -> None:
    command = [sys.executable, "-m", "ringproto", "demo", small_file, "--seconds", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        for line in process.stdout:
            if b"all are together" in line:
                break
        children = children_of(process.pid)
        assert len(children) == 3
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)
    if number != signal.SIGKILL:
        assert process.returncode == 128 + number
        assert b"hold" not in output, "it was ended, and that is no verdict"
        assert errors.decode() == f"ringproto demo: interrupted by {number.name}\n"
    give_up = time.monotonic() + TIMEOUT_S
    while any(map(is_running, children)):
        assert time.monotonic() < give_up, "a process was left behind"
        time.sleep(0.05)


def children_of(parent: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
        except OSError:
            continue
        if re.search(rf"^PPid:\s+{parent}$", text, re.MULTILINE) and "demo.worker" in command_of(status.parent):
            found.append(int(status.parent.name))
    return found


def command_of(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    return "demo.worker" in command_of(Path("/proc") / str(pid))
