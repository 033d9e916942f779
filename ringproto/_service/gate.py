"""Who waits for room in one of the queues, and who is next."""

from __future__ import annotations

from collections.abc import Callable

import trio

__all__ = ["Gate"]


class Gate:
    """Lets callers through to one queue, first come first served, each when there is room for it."""

    __slots__ = ("_lock", "_room")

    def __init__(self) -> None:
        self._lock = trio.StrictFIFOLock()
        self._room = trio.lowlevel.ParkingLot()

    @property
    def free(self) -> bool:
        """Whether nobody waits, so that a call that does not wait overtakes nobody."""
        return not self._lock.locked()

    @property
    def waiting(self) -> int:
        statistics = self._lock.statistics()
        return int(statistics.locked) + statistics.tasks_waiting

    async def enter(self, attempt: Callable[[], bool]) -> None:
        """Call ``attempt`` until it returns ``True``; a checkpoint that can be cancelled only before that."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._lock.locked() and attempt():
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        async with self._lock:
            # Who was let through and cancelled before it ran must notice that before it tries: the round that it
            # belonged to may be over, and then the attempt would be an error of a caller who made none.
            await trio.lowlevel.checkpoint_if_cancelled()
            while not attempt():
                await self._room.park()
                await trio.lowlevel.checkpoint_if_cancelled()

    def retry(self) -> None:
        """There may be room again."""
        if self._room:
            self._room.unpark()

    def break_all(self) -> None:
        """Whoever waits tries once more, and is told that the ring is gone."""
        self._room.unpark_all()
