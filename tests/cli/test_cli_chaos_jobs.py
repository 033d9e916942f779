"""Rounds beside each other: how many at a time, and how all of them end."""

from __future__ import annotations

import os
import signal

import pytest
import trio
import trio.testing

from ringproto._processes.failures import RunFailedError
from ringproto._processes.parent import open_children
from ringproto.chaos.jobs import side_by_side
from ringproto.cli.streams import heed_terminate


class Rounds:
    """Rounds that last until they are told to end."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self._over: dict[int, trio.Event] = {}

    async def play(self, seed: int) -> None:
        self.begun.append(seed)
        over = self._over[seed] = trio.Event()
        try:
            await over.wait()
        except trio.Cancelled:
            self.cancelled.append(seed)
            raise
        self.ended.append(seed)

    async def end(self, seed: int) -> None:
        self._over[seed].set()
        await trio.testing.wait_all_tasks_blocked()

    @property
    def played_now(self) -> set[int]:
        return {*self.begun} - {*self.ended}


@pytest.mark.parametrize("jobs", [1, 2, 3])
async def test_each_seed_is_played_once_and_so_many_at_a_time(jobs: int, nursery: trio.Nursery) -> None:
    rounds = Rounds()
    nursery.start_soon(side_by_side, range(50, 57), jobs, rounds.play)
    await trio.testing.wait_all_tasks_blocked()
    for left in range(7, 0, -1):
        assert len(rounds.played_now) == min(jobs, left)
        await rounds.end(min(rounds.played_now))
    assert rounds.begun == list(range(50, 57)) == rounds.ended


async def test_a_round_that_takes_long_holds_up_no_other_job(nursery: trio.Nursery) -> None:
    rounds = Rounds()
    nursery.start_soon(side_by_side, range(6), 2, rounds.play)
    await trio.testing.wait_all_tasks_blocked()
    for seed in range(1, 6):
        assert rounds.played_now == {0, seed}
        await rounds.end(seed)
    await rounds.end(0)
    assert rounds.ended == [1, 2, 3, 4, 5, 0]


async def test_an_error_ends_all_jobs_and_leaves_as_it_is() -> None:
    rounds = Rounds()

    async def play(seed: int) -> None:
        if seed == 2:
            await trio.testing.wait_all_tasks_blocked()
            raise OSError("the disk is full")
        await rounds.play(seed)

    with trio.fail_after(10), pytest.raises(OSError, match="the disk is full"):
        await side_by_side(range(9), 3, play)
    assert sorted(rounds.begun) == sorted(rounds.cancelled) == [0, 1]


@pytest.mark.parametrize("ignored", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
async def test_a_signal_that_is_ignored_ends_nothing(ignored: list[signal.Signals]) -> None:
    former = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    played = []

    async def play(seed: int) -> None:
        for number in ignored:
            os.kill(os.getpid(), number)
        await trio.testing.wait_all_tasks_blocked()
        played.append(seed)

    try:
        with trio.fail_after(10):
            await side_by_side(range(3), 1, play)
            async with open_children() as children:
                await children.on_signals()
                for number in ignored:
                    os.kill(os.getpid(), number)
                await trio.testing.wait_all_tasks_blocked()
                children.check()
        with heed_terminate():
            os.kill(os.getpid(), ignored[-1])
        assert played == [0, 1, 2]
        assert all(signal.getsignal(number) is signal.SIG_IGN for number in ignored)
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_all_jobs_but_not_what_they_shield(number: signal.Signals) -> None:
    rounds = Rounds()
    handler = signal.getsignal(number)
    judged = []

    async def play(seed: int) -> None:
        if seed != 1:
            await rounds.play(seed)
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
            os.kill(os.getpid(), number)
            # The signal is heard while this is waited for.
            while len(rounds.cancelled) < 2:
                await trio.testing.wait_all_tasks_blocked()
            judged.append(seed)

    with trio.fail_after(10), pytest.raises(RunFailedError, match=f"^interrupted by {number.name}$"):
        await side_by_side(range(9), 3, play)
    assert judged == [1]
    assert sorted(rounds.begun) == sorted(rounds.cancelled) == [0, 2], "and nothing was begun any more"
    assert signal.getsignal(number) is handler
