"""Real chaos: rounds on real processes hold, and what is planted into their logs is found.

Two rounds are played here; ``ringproto chaos`` plays twenty, each with a fresh seed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from ringproto import Config
from ringproto.__main__ import main
from ringproto.chaos import supervisor
from ringproto.chaos.faulty_transport import CALM, Disorder
from ringproto.chaos.log import stream_of
from ringproto.chaos.record import RoundRecord
from ringproto.chaos.script import STALL_S, Script, draw_script, draw_stalls
from ringproto.chaos.supervisor import RoundResult, play
from ringproto.chaos.verdict import RoundVerdict, judge_beside, judge_round
from ringproto.cli import chaos


def has_everything(seed: int) -> bool:
    """Whether the scripts of this seed and the next one are short, and have all faults and both transports."""
    scripts = [draw_script(one, nodes=3) for one in (seed, seed + 1)]
    actions = [[step.action for step in script.steps] for script in scripts]
    return (
        {script.transport for script in scripts} == {"unicast", "multicast"}
        and all("kill" in one for one in actions)
        and {"stop", "start", "links"} <= {action for one in actions for action in one}
        and sum(map(len, actions)) <= 9
    )


SEED = next(filter(has_everything, range(10_000)))


@pytest.fixture(scope="module")
def two_rounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two rounds that were played beside each other and held."""
    folder = tmp_path_factory.mktemp("chaos") / "kept"
    command = ["chaos", "--rounds", "2", "--jobs", "2", "--seed", str(SEED), "--nodes", "3", "--keep", str(folder)]
    assert main(command) == 0
    return folder


@pytest.fixture
def kept(two_rounds: Path, tmp_path: Path) -> Path:
    """A copy of the first of them, to be tampered with."""
    return Path(shutil.copytree(two_rounds / f"round-{SEED}", tmp_path / "round"))


def test_two_rounds_hold(two_rounds: Path) -> None:
    for seed in (SEED, SEED + 1):
        folder = two_rounds / f"round-{seed}"
        verdict = judge_round(folder)
        assert verdict.wrong == ()
        assert verdict.configurations > 1 and verdict.deliveries > 100
        record = RoundRecord.read(folder)
        killed = sum(step.action == "kill" for step in draw_script(seed, nodes=3).steps)
        assert sum(life.end == "killed" for life in record.lives) == killed > 0
        assert all(life.end != "broken off" for life in record.lives)
        marks = [life.mark for life in record.lives if life.mark is not None]
        assert len(marks) >= 2 and all(mark["accepted"] > 0 for mark in marks)


def test_stalls_happen_to_one_processor_again_and_again_with_the_settings_as_shipped() -> None:
    lengths: list[float] = []
    moments: set[str] = set()
    for seed in range(200):
        script = draw_stalls(seed)
        assert script.config == Config.lan(quorum=len(script.nodes) // 2 + 1)
        assert (script.disorder, script.segment_size, script.comeback) == (CALM, None, ())
        *stalls, mend = script.steps
        assert mend.action == "mend"
        assert [step.action for step in stalls] == ["stop", "go on"] * (len(stalls) // 2)
        assert 3 <= len(stalls) // 2 <= 6
        assert len({step.node for step in stalls}) == 1
        moments |= {step.moment for step in stalls[::2]}
        lengths += [step.delay_s for step in stalls[1::2]]
    assert STALL_S[0] <= min(lengths) < 0.4 and 2.9 < max(lengths) <= STALL_S[1]
    assert moments == {"later", "complete", "recovering"}


def test_round_of_stalls_holds_and_can_be_played_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--stalls", "--rounds", "1", "--seed", "3", "--nodes", "3"]) == 0
    assert re.search(r"([3-6]) SIGSTOP, \1 SIGCONT", capsys.readouterr().out)
    assert chaos.repeat_command(3, 3, None, stalls=True) == "ringproto chaos --rounds 1 --seed 3 --stalls --nodes 3"


def lines_of(folder: Path, name: str) -> list[str]:
    return (folder / name).read_text().splitlines(keepends=True)


def alive_at_the_end(folder: Path) -> dict[str, Any]:
    """One of those, as ``round.json`` has it."""
    record = json.loads((folder / "round.json").read_text())
    life: dict[str, Any] = next(life for life in record["lives"] if life["mark"] is not None)
    return life


def change_mark(folder: Path, log: str, **changes: int) -> None:
    """Add to numbers in the mark of one life."""
    record = json.loads((folder / "round.json").read_text())
    (mark,) = (life["mark"] for life in record["lives"] if life["log"] == log)
    for name, change in changes.items():
        mark[name] += change
    (folder / "round.json").write_text(json.dumps(record))


def two_deliveries_change_places(folder: Path) -> None:
    log = alive_at_the_end(folder)["log"]
    lines = lines_of(folder, log)
    at = next(i for i in range(len(lines) - 1) if all('"DELV"' in line for line in lines[i : i + 2]))
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    (folder / log).write_text("".join(lines))


def one_delivery_has_other_bytes(folder: Path) -> None:
    log = alive_at_the_end(folder)["log"]
    lines = lines_of(folder, log)
    at = next(i for i, line in enumerate(lines) if '"DELV"' in line)
    *fields, _ = json.loads(lines[at])
    lines[at] = json.dumps([*fields, "0123456789abcdef"]) + "\n"
    (folder / log).write_text("".join(lines))


def a_barrier_completes_before_its_last_unblock(folder: Path) -> None:
    log = alive_at_the_end(folder)["log"]
    lines = lines_of(folder, log)
    at = next(i for i, line in enumerate(lines) if '"DONE"' in line and '"UNB_DELV"' in lines[i - 1])
    lines[at - 1], lines[at] = lines[at], lines[at - 1]
    (folder / log).write_text("".join(lines))


def an_accepted_message_is_lost(folder: Path) -> None:
    life = alive_at_the_end(folder)
    lines = lines_of(folder, life["log"])
    at = next(i for i, line in enumerate(lines) if '"SUBMIT"' in line and ".l" in line)
    lines.insert(at, '["SUBMIT","9.9.lost",2,1,"0123456789abcdef"]\n')
    (folder / life["log"]).write_text("".join(lines))
    change_mark(folder, life["log"], records=1, accepted=1, returned=1, logged_as_accepted=1)


def the_application_was_given_more(folder: Path) -> None:
    change_mark(folder, alive_at_the_end(folder)["log"], delivered=1)


def a_log_of_a_leaver_is_torn(folder: Path) -> None:
    log = alive_at_the_end(folder)["log"]
    (folder / log).write_text((folder / log).read_text()[:-5])


def a_log_is_not_there(folder: Path) -> None:
    (folder / alive_at_the_end(folder)["log"]).unlink()


def change_stream(folder: Path, change: Callable[[list[str]], None], *, life: str | None = None) -> None:
    """Edit what the application of one life was given; without ``life``, of one that was alive at the end."""
    file = stream_of(folder / (life or alive_at_the_end(folder)["log"]))
    lines = file.read_text().splitlines(keepends=True)
    change(lines)
    file.write_text("".join(lines))


def completion_given_before_recovery_messages(lines: list[str]) -> None:
    at = next(i for i, line in enumerate(lines) if line.startswith('["DONE"') and ".r" in lines[i - 1])
    lines[at - 1], lines[at] = lines[at], lines[at - 1]


def message_of_another_vanished(lines: list[str]) -> None:
    del lines[next(i for i, line in enumerate(lines) if line.startswith('["DELV"'))]


def an_application_heard_of_a_completion_too_early(folder: Path) -> None:
    change_stream(folder, completion_given_before_recovery_messages)


def an_application_was_not_given_a_message(folder: Path) -> None:
    change_stream(folder, message_of_another_vanished)


def an_application_was_given_the_newest_first(folder: Path) -> None:
    change_stream(folder, list.reverse)


def a_killed_application_was_not_given_a_message(folder: Path) -> None:
    for life in RoundRecord.read(folder).lives:
        lines = stream_of(folder / life.log).read_text().splitlines()
        if life.end == "killed" and sum(line.startswith('["DELV"') for line in lines) > 1:
            change_stream(folder, message_of_another_vanished, life=life.log)
            return
    raise AssertionError("no application was killed that had been given two messages")


def the_last_message_was_not_given(folder: Path) -> None:
    mark = alive_at_the_end(folder)["mark"]
    change_stream(folder, lambda lines: lines.__delitem__(slice(mark["given"] - 1, None)))


def a_stream_is_not_there(folder: Path) -> None:
    stream_of(folder / alive_at_the_end(folder)["log"]).unlink()


def the_conductor_saw_a_failure(folder: Path) -> None:
    record = json.loads((folder / "round.json").read_text())
    record["failures"].append("processor 2 in life 1 ended with exit code 1")
    (folder / "round.json").write_text(json.dumps(record))


PLANTED: list[tuple[Callable[[Path], None], str]] = [
    (two_deliveries_change_places, "T1: "),
    (one_delivery_has_other_bytes, "E1.4: "),
    (a_barrier_completes_before_its_last_unblock, "B4: "),
    (an_accepted_message_is_lost, "lost: "),
    (the_application_was_given_more, "application: "),
    (a_log_of_a_leaver_is_torn, "log: "),
    (a_log_is_not_there, "log: "),
    (an_application_heard_of_a_completion_too_early, "S1: "),
    (an_application_was_not_given_a_message, "S1: "),
    (an_application_was_given_the_newest_first, "S1: "),
    (a_killed_application_was_not_given_a_message, "S1: "),
    (the_last_message_was_not_given, "S2: "),
    (a_stream_is_not_there, "log: "),
    (the_conductor_saw_a_failure, "supervisor: processor 2 in life 1 ended"),
]


@pytest.mark.parametrize(("plant", "told"), PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_planted_in_a_round_is_told_and_exits_with_1(
    plant: Callable[[Path], None], told: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["chaos", "--judge", str(kept)]) == 0
    assert capsys.readouterr().out.endswith("all rules hold\n")
    plant(kept)
    assert main(["chaos", "--judge", str(kept)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith(told) for line in lines), lines
    assert lines[-1].endswith("things did not hold")


def test_a_torn_last_line_of_a_killed_process_is_no_violation(kept: Path) -> None:
    killed = next(life for life in RoundRecord.read(kept).lives if life.end == "killed")
    for file in (kept / killed.log, stream_of(kept / killed.log)):
        with file.open("a") as log:
            log.write('["DELV","1.1.h')
    assert judge_round(kept).wrong == ()


def test_a_round_that_does_not_hold_keeps_its_logs_and_says_how_to_repeat_it(
    two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second of two rounds has a planted violation; both were played before."""

    async def play_what_was_played(script: Script, folder: Path) -> RoundResult:
        shutil.copytree(two_rounds / folder.name, folder, dirs_exist_ok=True)
        if script.seed == SEED + 1:
            two_deliveries_change_places(folder)
        played = RoundResult(script, folder)
        played.record = RoundRecord.read(folder)
        return played

    monkeypatch.setattr(chaos, "play", play_what_was_played)
    monkeypatch.setattr(chaos.tempfile, "tempdir", str(tmp_path))
    assert main(["chaos", "--rounds", "2", "--seed", str(SEED), "--nodes", "3"]) == 1
    out = capsys.readouterr().out
    assert f"seed {SEED}: 3 processors on " in out and out.count("DID NOT HOLD") == 1
    assert f"ringproto chaos --rounds 1 --seed {SEED + 1} --nodes 3\n" in out
    (base,) = tmp_path.glob("ringproto-chaos-*")
    assert [folder.name for folder in base.iterdir()] == [f"round-{SEED + 1}"], "only what failed is kept"
    assert main(["chaos", "--judge", str(base / f"round-{SEED + 1}")]) == 1
    assert "2 rounds, 1 failed" in out


def test_sigterm_while_a_round_is_judged_waits_for_its_verdict(
    two_rounds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play_what_was_played(script: Script, folder: Path) -> RoundResult:
        shutil.copytree(two_rounds / folder.name, folder, dirs_exist_ok=True)
        return RoundResult(script, folder)

    async def judge_and_be_told_to_end(folder: Path) -> RoundVerdict:
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.testing.wait_all_tasks_blocked()
        return await judge_beside(folder)

    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(chaos, "play", play_what_was_played)
    monkeypatch.setattr(chaos, "judge_beside", judge_and_be_told_to_end)
    monkeypatch.setattr(chaos.tempfile, "tempdir", str(tmp_path))
    assert main(["chaos", "--rounds", "2", "--seed", str(SEED), "--nodes", "3"]) == 128 + signal.SIGTERM
    output = capsys.readouterr()
    assert output.err == "ringproto chaos: interrupted by SIGTERM\n"
    assert "round 1/2" in output.out and "round 2/2" not in output.out and "\n1 rounds, 0 failed" in output.out
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_folder_that_is_no_round_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chaos", "--judge", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"ringproto chaos: cannot read {tmp_path}/round.json: No such file or directory\n"
    (tmp_path / "round.json").write_text("{}")
    assert main(["chaos", "--judge", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"ringproto chaos: {tmp_path}/round.json is not the record of a round: ")


async def test_a_process_that_ends_by_itself_fails_the_round(tmp_path: Path) -> None:
    drawn = draw_script(SEED, nodes=3)
    # The first message that is larger than this makes the application fail.
    script = dataclasses.replace(drawn, config=drawn.config.replace(message_size_max=20))
    played = await play(script, tmp_path)
    (failure,) = played.record.failures
    assert "ended with exit code 1: ValueError: " in failure and "message_size_max" in failure
    assert f"supervisor: {failure}" in judge_round(tmp_path).wrong


async def test_a_round_that_is_cancelled_says_so_in_its_record(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, draw_script(SEED, nodes=3), tmp_path)
        with trio.fail_after(60):
            while len(list(tmp_path.glob("*.log"))) < 3:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert RoundRecord.read(tmp_path).failures == ["the round was broken off"]
    assert "supervisor: the round was broken off" in judge_round(tmp_path).wrong


async def test_a_round_goes_on_where_links_keep_the_processors_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "_TOGETHER_S", 1.0)
    drawn = draw_script(SEED, nodes=3)
    script = dataclasses.replace(
        drawn, together_first=True, disorder=Disorder(reordering=1.0, late_s=3.0), steps=drawn.steps[-1:], comeback=()
    )
    played = await play(script, tmp_path)
    assert played.record.failures == []
    assert played.record.happened[0].endswith("s: they do not come together")
    assert judge_round(tmp_path).wrong == ()


STOPPER = """
import sys, trio
from ringproto._processes.parent import open_children
from ringproto.chaos.supervisor import stop_process

async def main():
    async with open_children() as children:
        started = trio.Event()
        child = await children.start("child", sys.argv[1], {}, lambda message: started.set())
        await started.wait()
        await stop_process(children, child)
        print(child.process.pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""
CHILD = """
import sys
from ringproto._processes.child import Pipes, run_worker

async def main():
    pipes = Pipes()
    await pipes.receive()
    await pipes.send({"ready": True})
    while await pipes.receive() is not None:
        pass

sys.exit(run_worker(main))
"""


def state_of(pid: int) -> str:
    """T: stopped; the empty string: gone, or not reaped by whoever is to."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in "ZX" else state


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see whether a process is stopped")
async def test_a_stopped_process_ends_although_its_conductor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "a_stopped_child.py").write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    stopper = await trio.lowlevel.open_process(
        [sys.executable, "-c", STOPPER, "a_stopped_child"], stdout=subprocess.PIPE, env=environment
    )
    assert stopper.stdout is not None
    with trio.fail_after(60):
        pid = int(await stopper.stdout.receive_some())
        while state_of(pid) != "T":
            await trio.sleep(0.01)
        stopper.send_signal(signal.SIGKILL)
        await stopper.wait()
        while state_of(pid):
            await trio.sleep(0.01)
    await stopper.stdout.aclose()


def processes_of(temporary: Path, what: bytes = b"") -> list[int]:
    """The processes that were given this folder for temporary files, also those whose parents are gone."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = f"TMPDIR={temporary}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if is_ours and what in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to find the processes")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
async def test_no_process_is_left_behind_when_the_command_is_ended(
    number: signal.Signals, jobs: int, tmp_path: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    arguments = f"chaos --rounds 4 --seed {SEED} --nodes 3 --jobs {jobs}"
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "ringproto", *arguments.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stderr is not None
    with trio.fail_after(60):
        while [len(list(folder.glob("*.log"))) >= 3 for folder in tmp_path.glob("*/*")] != [True] * jobs:
            await trio.sleep(0.01)
        assert len(processes_of(tmp_path, b"chaos.worker")) > 3 * (jobs - 1), "rounds of all jobs are played"
        process.send_signal(number)
        errors = b"".join([chunk async for chunk in process.stderr])
        code = await process.wait()
        assert number is signal.SIGKILL or not processes_of(tmp_path)
        while processes_of(tmp_path):
            await trio.sleep(0.01)
    await process.stderr.aclose()
    if number is signal.SIGKILL:
        return
    assert (code, errors.decode()) == (128 + number, f"ringproto chaos: interrupted by {number.name}\n")
    assert list(tmp_path.iterdir()) == []
