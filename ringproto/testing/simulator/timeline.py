"""Virtual time.

The timeline is one heap of (time, order, handler, a, b): whoever pops an entry calls ``handler(a, b)``, so nothing is
dispatched on kinds and nothing is allocated beyond the tuple. The order number makes entries of equal time run in the
order in which they were pushed, and the heap never compares handlers.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from typing import Any

__all__ = ["Handler", "Timeline"]

Handler = Callable[[Any, Any], None]


class Timeline:
    """Virtual time in seconds, and what is to happen when."""

    __slots__ = ("heap", "now", "order", "steps")

    def __init__(self) -> None:
        self.now = 0.0
        self.heap: list[tuple[float, int, Handler, Any, Any]] = []
        self.order = itertools.count()
        self.steps = 0

    def at(self, time: float, handler: Handler, a: Any = None, b: Any = None) -> None:
        """Call ``handler(a, b)`` at ``time`` (now, if that is over)."""
        heapq.heappush(self.heap, (max(time, self.now), next(self.order), handler, a, b))

    def run(self, until: float, *, stop: Callable[[], bool] | None = None) -> bool:
        """Let everything happen that is due by ``until``.

        With ``stop``, ask it after every step and return True as soon as it holds; time then stands at that step.
        """
        heap = self.heap
        pop = heapq.heappop
        steps = 0
        try:
            while heap and heap[0][0] <= until:
                self.now, _, handler, a, b = pop(heap)
                steps += 1
                handler(a, b)
                if stop is not None and stop():
                    return True
        finally:
            self.steps += steps
        self.now = max(self.now, until)
        return False
