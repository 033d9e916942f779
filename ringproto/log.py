"""What a ring writes to ``logging.getLogger("ringproto")``: at most one line a second of each kind.

Transports and the service log through a :class:`BoundedLog` each. A kind is a short constant name of what happened, so
that there is a bounded number of them. Lines of a kind that come sooner than a second after the last one are counted,
and the next line says how many they were. What a handler of the program raises is counted and goes no further.
"""

from __future__ import annotations

import functools
import logging
import time
from collections import deque
from collections.abc import Callable

__all__ = ["BoundedLog"]

_SPACING_S = 1.0
"""The shortest time between two lines of one kind."""
_KINDS_MAX = 256
"""Most kinds that are remembered, unless a log is told otherwise."""


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
        self.failures = 0
        """How often a filter, a handler or a formatter raised."""

    def info(self, kind: str, text: str, **fields: object) -> None:
        """Log what is good to know. The fields are in the record's attributes, ``ringproto_`` before their names."""
        self._log(logging.INFO, kind, text, fields)

    def warning(self, kind: str, text: str, **fields: object) -> None:
        """Log what somebody should look at. Fields as with :meth:`info`."""
        self._log(logging.WARNING, kind, text, fields)

    def _log(self, level: int, kind: str, text: str, fields: dict[str, object]) -> None:
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock()
        last = self._last.pop(kind, None)
        missed = 0
        if last is not None:
            at, missed = last
            if now - at < self._spacing_s:
                self._last[kind] = at, missed + 1
                return
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
