"""The gate to one queue: who was woken and is cancelled before it runs does nothing, and learns of nothing but that."""

from __future__ import annotations

import trio
import trio.testing

from ringproto._service.gate import Gate
from ringproto.errors import RingError


class Queue:
    """A queue with room for so many messages, that is over at some time."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.over = False
        self.accepted = 0

    def accept(self) -> bool:
        if self.over:
            raise RingError("the round is over")
        if self.accepted == self.room:
            return False
        self.accepted += 1
        return True


async def test_who_is_woken_for_room_and_then_cancelled_is_not_told_that_the_round_is_over() -> None:
    gate, queue, scope = Gate(), Queue(0), trio.CancelScope()

    async def enter() -> None:
        with scope:
            await gate.enter(queue.accept)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        await trio.testing.wait_all_tasks_blocked()
        # All of this happens before the one who waits runs again: room comes, and then the configuration changes.
        queue.room = 1
        gate.retry()
        queue.over = True
        scope.cancel()
    assert scope.cancelled_caught
    assert queue.accepted == 0


async def test_who_comes_to_its_turn_and_is_cancelled_then_is_not_told_that_the_round_is_over() -> None:
    gate, queue, scope = Gate(), Queue(0), trio.CancelScope()

    async def first() -> None:
        await gate.enter(queue.accept)
        # The second has the lock now, and has not run yet.
        queue.over = True
        scope.cancel()

    async def second() -> None:
        with scope:
            await gate.enter(queue.accept)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(second)
        await trio.testing.wait_all_tasks_blocked()
        queue.room = 2
        gate.retry()
    assert scope.cancelled_caught
    assert queue.accepted == 1


async def test_who_is_cancelled_when_woken_leaves_the_room_to_the_next() -> None:
    gate, queue, scope = Gate(), Queue(0), trio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await gate.enter(queue.accept)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(gate.enter, queue.accept)
        await trio.testing.wait_all_tasks_blocked()
        queue.room = 1
        gate.retry()
        scope.cancel()
        with trio.move_on_after(5):
            await trio.testing.wait_all_tasks_blocked()
        waiting = gate.waiting
        nursery.cancel_scope.cancel()
    assert (queue.accepted, waiting) == (1, 0)
