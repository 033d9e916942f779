"""Rounds of chaos beside each other: so many jobs, each of which takes the next seed when it is done with one.

All of them are tasks of one trio run, because a supervisor mostly waits. There the signals that end the command are
listened to once, for all: handlers that each round set and took back for itself would not nest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import trio

from ringproto._processes.ending_signals import listen_for_end
from ringproto._processes.failures import InterruptedRunError

__all__ = ["side_by_side"]


async def side_by_side(seeds: Iterable[int], jobs: int, play: Callable[[int], Awaitable[None]]) -> None:
    """Call ``play`` with each seed in turn, with up to ``jobs`` calls at a time.

    The first exception ends everything: the other calls are cancelled, and it leaves unwrapped when they have ended.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM came, and is not ignored.
        Exception: what ``play`` raised.
    """
    waiting = iter(seeds)
    failure: Exception | None = None

    def fail(error: Exception) -> None:
        nonlocal failure
        failure = failure or error
        everything.cancel_scope.cancel()

    async def work() -> None:
        try:
            for seed in waiting:
                await play(seed)
                # Nothing of another round is begun when it is all over.
                await trio.lowlevel.checkpoint()
        except Exception as error:  # kept, so that the nursery does not wrap it
            fail(error)

    async with trio.open_nursery() as everything:
        await everything.start(listen_for_end, lambda number: fail(InterruptedRunError(number)))
        async with trio.open_nursery() as workers:
            for _ in range(jobs):
                workers.start_soon(work)
        everything.cancel_scope.cancel()
    if failure is not None:
        raise failure
