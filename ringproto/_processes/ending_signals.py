"""The signals that end a command: SIGINT (Ctrl-C) and SIGTERM, as far as whoever started it lets them.

A shell starts what a script runs in the background with SIGINT ignored, and ``nohup`` and supervisors may do the like
with others: then Ctrl-C is for somebody else, and a handler that is set all the same would end the wrong process.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Collection

import trio

__all__ = ["heeded", "listen_for_end"]


def heeded() -> Collection[signal.Signals]:
    """Those that are not ignored in this process."""
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]


async def listen_for_end(
    call: Callable[[signal.Signals], None], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call this with each of them that comes, until it is cancelled; at once over if both are ignored."""
    numbers = heeded()
    if not numbers:
        task_status.started()
        return
    with trio.open_signal_receiver(*numbers) as arrived:
        task_status.started()
        async for number in arrived:
            call(signal.Signals(number))
