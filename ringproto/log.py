"""What a ring writes to ``logging.getLogger("ringproto")``: at most one line a second of each kind.

Transports and the service log through a :class:`BoundedLog` each. A kind is a short constant name of what happened, so
that there is a bounded number of them. Lines of a kind that come sooner than a second after the last one are counted,
and the next line says how many they were. A line that says what is so from then on is held in place of that, until its
second is over or another of its kind takes its place: a log does not end with what was so before. What a handler of the
program raises is counted and goes no further.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["BoundedLog", "Lasting"]

_SPACING_S = 1.0
"""The shortest time between two lines of one kind."""
_KINDS_MAX = 256
"""Most kinds that are remembered, unless a log is told otherwise."""
_AGAIN_S = 2.0
_AGAIN_MAX_S = 60.0
"""What lasts is said again after the first of these, then after twice as long each time, at most after the second."""


class Lasting:
    """Something that lasts, and when it is to be said again."""

    __slots__ = ("_again_s", "_at", "_text")

    def __init__(self) -> None:
        self._at = -math.inf
        self._again_s = _AGAIN_S
        self._text = ""

    def due(self, now: float, text: str = "") -> bool:
        """It is so at this time, in seconds on a steady clock: whether to say it. Another ``text`` than before is news,
        and what is news is said."""
        if now < self._at and text == self._text:
            return False
        self._text = text
        self._at = now + self._again_s
        self._again_s = min(2 * self._again_s, _AGAIN_MAX_S)
        return True

    def over(self) -> None:
        """It is not so any more."""
        self._at = -math.inf
        self._again_s = _AGAIN_S


class _Held(NamedTuple):
    """A line that came too soon."""

    due_at: float
    level: int
    text: str
    fields: dict[str, object]
    missed: int
    """How many before it were left out."""


class BoundedLog:
    """A logger that cannot be flooded.

    Args:
        name: the name of the logger.
        clock: seconds that only rise.
        spacing_s: the shortest time between two lines of one kind, in seconds.
        kinds_max: most kinds that are remembered; the one that was logged first is forgotten first.
        node: the node whose lines these are, which is a field of each; ``None`` if each line says it itself.
        waiting: where each line waits, as a function that writes it, until its owner calls that; ``None``: lines are
            written at once.
    """

    def __init__(
        self,
        name: str = "ringproto",
        clock: Callable[[], float] = time.monotonic,
        spacing_s: float = _SPACING_S,
        kinds_max: int = _KINDS_MAX,
        node: int | None = None,
        waiting: deque[Callable[[], None]] | None = None,
    ) -> None:
        self._logger = logging.getLogger(name)
        self._clock = clock
        self._spacing_s = spacing_s
        self._kinds_max = kinds_max
        self._waiting = waiting
        self._fields: dict[str, object] = {} if node is None else {"node": node}
        # Of each kind: when a line was written last, and how many were left out since.
        self._last: dict[str, tuple[float, int]] = {}
        # Of each kind the line that is held.
        self._held: dict[str, _Held] = {}
        self.failures = 0
        """How often a filter, a handler or a formatter raised."""

    def info(self, kind: str, text: str, **fields: object) -> None:
        """Log what is good to know. The fields are in the record's attributes, ``ringproto_`` before their names."""
        self._log(logging.INFO, kind, text, fields, holds=False)

    def warning(self, kind: str, text: str, **fields: object) -> None:
        """Log what somebody should look at. Fields as with :meth:`info`."""
        self._log(logging.WARNING, kind, text, fields, holds=False)

    def state(self, level: int, kind: str, text: str, **fields: object) -> None:
        """Log what is so from now on, as ``logging.INFO`` or ``logging.WARNING``: if it comes too soon, it is held for
        :meth:`write_held`. Fields as with :meth:`info`."""
        self._log(level, kind, text, fields, holds=True)

    @property
    def held_until(self) -> float:
        """When the first of the lines that are held may be written, by the clock; infinity if there are none."""
        return min((held.due_at for held in tuple(self._held.values())), default=math.inf)

    def write_held(self, *, at_once: bool = False) -> None:
        """Write the lines that are held and whose second is over; or all of them, since nothing comes after."""
        if not self._held:
            return
        now = self._clock()
        for kind, held in tuple(self._held.items()):
            # Another thread may write it just now, or have put another line in its place.
            if (at_once or now >= held.due_at) and (line := self._held.pop(kind, None)) is not None:
                self._put(now, kind, line.level, line.text, line.fields, line.missed)

    def _log(self, level: int, kind: str, text: str, fields: dict[str, object], *, holds: bool) -> None:
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock()
        at, missed = self._last.pop(kind, (-math.inf, 0))
        former = self._held.pop(kind, None)
        if former is not None:
            missed = former.missed + 1
        if now - at >= self._spacing_s:
            self._put(now, kind, level, text, fields, missed)
        elif holds:
            self._last[kind] = at, 0
            self._held[kind] = _Held(at + self._spacing_s, level, text, fields, missed)
        else:
            self._last[kind] = at, missed + 1

    def _put(self, now: float, kind: str, level: int, text: str, fields: dict[str, object], missed: int) -> None:
        self._last.pop(kind, None)
        self._last[kind] = now, 0
        if len(self._last) > self._kinds_max:
            del self._last[next(iter(self._last))]
        if missed:
            text = f"{text} ({missed} more lines like this one were left out)"
        # The fields are for formatters and handlers that sort by them.
        extra: dict[str, object] = {"ringproto_kind": kind, "ringproto_missed": missed}
        extra.update((f"ringproto_{name}", value) for name, value in {**self._fields, **fields}.items())
        if self._waiting is None:
            self._write(level, text, extra)
        else:
            self._waiting.append(functools.partial(self._write, level, text, extra))

    def _write(self, level: int, text: str, extra: dict[str, object]) -> None:
        try:
            self._logger.log(level, "%s", text, extra=extra)
        except Exception:
            # Who runs a ring must not lose it because of who writes its log.
            self.failures += 1
