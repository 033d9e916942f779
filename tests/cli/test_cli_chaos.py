"""``ringproto chaos`` without its processes: which rounds it plays, how many at a time, and what it prints of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from ringproto.__main__ import main
from ringproto.chaos.script import Script, draw_script
from ringproto.chaos.supervisor import RoundResult
from ringproto.chaos.verdict import RoundVerdict
from ringproto.cli import chaos

FIRST = 700
HOLDS = RoundVerdict((), 3, 2, 1, 100)
BROKEN = RoundVerdict(("T1: one thing", "B4: another"), 3, 2, 1, 100)


class Stage:
    """Rounds that are played by nobody. A test says when each ends and what its verdict is."""

    def __init__(self) -> None:
        self.scripts: dict[int, Script] = {}
        self.folders: dict[int, Path] = {}
        self.at_once_max = 0
        self.broken: set[int] = set()
        self._at_once = 0

    async def wait(self, seed: int) -> None:
        """As long as this waits a round lasts."""
        await trio.lowlevel.checkpoint()

    async def play(self, script: Script, folder: Path) -> RoundResult:
        assert folder.is_dir()
        self.scripts[script.seed], self.folders[script.seed] = script, folder
        self._at_once += 1
        self.at_once_max = max(self.at_once_max, self._at_once)
        with trio.fail_after(20):
            await self.wait(script.seed)
        self._at_once -= 1
        played = RoundResult(script, folder)
        played.record.happened.append(f"what happened in {script.seed}")
        return played

    async def judge(self, folder: Path) -> RoundVerdict:
        await trio.lowlevel.checkpoint()
        return BROKEN if int(folder.name.partition("-")[2]) in self.broken else HOLDS

    def until(self, condition: Callable[[int], bool]) -> Callable[[int], Awaitable[None]]:
        async def wait(seed: int) -> None:
            while not condition(seed):
                await trio.sleep(0.001)

        return wait


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    stage = Stage()
    monkeypatch.setattr(chaos, "play", stage.play)
    monkeypatch.setattr(chaos, "judge_beside", stage.judge)
    monkeypatch.setattr(chaos.tempfile, "tempdir", str(tmp_path))
    return stage


def chaos_command(rounds: int, more: str = "") -> int:
    return main(f"chaos --rounds {rounds} --seed {FIRST} {more}".split())


@pytest.mark.parametrize("jobs", [1, 2, 4])
def test_the_rounds_are_those_of_their_seeds_whoever_plays_them(stage: Stage, jobs: int) -> None:
    assert chaos_command(6, f"--jobs {jobs} --nodes 4 --transport multicast") == 0
    seeds = range(FIRST, FIRST + 6)
    assert stage.scripts == {seed: draw_script(seed, nodes=4, transport="multicast") for seed in seeds}
    assert len(set(stage.folders.values())) == 6


def test_so_many_rounds_are_played_at_once_as_there_are_jobs(stage: Stage) -> None:
    stage.wait = stage.until(lambda seed: len(stage.scripts) >= 3)  # type: ignore[method-assign]
    assert chaos_command(7, "--jobs 3") == 0
    assert stage.at_once_max == 3


def test_by_itself_it_plays_one_round_after_the_other(stage: Stage) -> None:
    assert chaos_command(3) == 0
    assert (len(stage.scripts), stage.at_once_max) == (3, 1)


def test_more_jobs_than_rounds_are_no_error(stage: Stage) -> None:
    assert chaos_command(1, "--jobs 8") == 0
    assert list(stage.scripts) == [FIRST]


def test_a_round_is_told_in_one_piece_when_it_ends(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first round ends last; the second and the third end at the same time and do not hold."""
    stage.broken = {FIRST + 1, FIRST + 2}

    async def until_all_play(seed: int) -> None:
        while len(stage.scripts) < 3:
            await trio.sleep(0.001)

    stage.wait = until_all_play  # type: ignore[method-assign]
    judge, judged = stage.judge, set()

    async def judge_the_first_last(folder: Path) -> RoundVerdict:
        while folder.name == f"round-{FIRST}" and len(judged) < 2:
            await trio.sleep(0.001)
        # What can be printed before this one was printed by now.
        await trio.testing.wait_all_tasks_blocked()
        judged.add(folder)
        return await judge(folder)

    monkeypatch.setattr(chaos, "judge_beside", judge_the_first_last)
    assert chaos_command(3, "--jobs 3") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"3 rounds from seed {FIRST}"
    at = [i for i, line in enumerate(lines) if line.startswith("round ")]
    told = [lines[start:end] for start, end in zip(at, [*at[1:], len(lines) - 1], strict=True)]
    assert [piece[0].partition(",")[0] for piece in told] == ["round 1/3", "round 2/3", "round 3/3"]
    (base,) = tmp_path.iterdir()
    failed = sorted(told[:2], key=lambda piece: f", seed {FIRST + 2}: " in piece[0])
    for seed, piece in zip((FIRST + 1, FIRST + 2), failed, strict=True):
        assert f", seed {seed}: " in piece[0] and piece[0].endswith(": DID NOT HOLD")
        assert piece[1:] == [
            *(f"    {line}" for line in draw_script(seed).lines()),
            f"    what happened in {seed}",
            "  T1: one thing",
            "  B4: another",
            f"  the logs: {base}/round-{seed}",
            f"  judge them again: ringproto chaos --judge {base}/round-{seed}",
            f"  the script again: ringproto chaos --rounds 1 --seed {seed}",
        ]
    (last,) = told[2]
    assert f", seed {FIRST}: " in last and last.endswith(": holds")
    assert lines[-1].startswith("3 rounds, 2 failed, in ") and lines[-1].endswith(
        "9 lives, 6 configurations, 3 of them left in mid-barrier, 300 deliveries; together at most 0.0 s after all "
        "was mended"
    )
    assert sorted(folder.name for folder in base.iterdir()) == [f"round-{FIRST + 1}", f"round-{FIRST + 2}"]


def test_a_folder_that_is_there_already_ends_all_jobs(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"round-{FIRST + 2}").mkdir()
    stage.wait = stage.until(lambda seed: False)  # type: ignore[method-assign]
    assert chaos_command(9, f"--jobs 3 --keep {tmp_path}") == 2
    assert capsys.readouterr().err == (
        f"ringproto chaos: {tmp_path}/round-{FIRST + 2} is there already; give --keep another folder\n"
    )
    assert set(stage.scripts) == {FIRST, FIRST + 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_rounds_of_all_jobs_and_sums_up(
    stage: Stage, number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def wait(seed: int) -> None:
        if seed >= FIRST + 3:  # so the first two have ended
            os.kill(os.getpid(), number)
        if seed >= FIRST + 2:
            await trio.sleep_forever()

    stage.wait = wait  # type: ignore[method-assign]
    assert chaos_command(9, "--jobs 2") == 128 + number
    output = capsys.readouterr()
    assert output.err == f"ringproto chaos: interrupted by {number.name}\n"
    assert output.out.count("holds") == 2 and "\n2 rounds, 0 failed, in " in output.out
    assert list(tmp_path.iterdir()) == []
