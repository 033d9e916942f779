"""Looking an interface up while a ring runs.

On a host with many interfaces the system takes some tenths of a second to list all their addresses. This is longer than
a token may be absent. So the look-up has a thread of its own, with every driver.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PATIENCE_S", "Search"]

PATIENCE_S = 0.002
"""Seconds for which the constructor waits for the answer. With few interfaces this is long enough."""

Found = TypeVar("Found")


class Search(Generic[Found]):
    """One look-up, which starts in the constructor. It runs on a daemon thread, which does not keep a program from
    ending.

    Args:
        look_up: finds the interface, or raises the reason why there is none.

    Raises:
        RuntimeError: no thread can be started.
    """

    def __init__(self, look_up: Callable[[], Found]) -> None:
        self._look_up = look_up
        self._found: Found | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="ringproto interfaces", daemon=True)
        self._thread.start()
        self._thread.join(PATIENCE_S)

    @property
    def over(self) -> bool:
        """Whether the look-up has ended."""
        return not self._thread.is_alive()

    def answer(self) -> Found:
        """Return what was found. Call it only if :attr:`over` is true.

        Raises:
            Exception: the exception that the look-up raised.
        """
        if self._error is not None:
            raise self._error
        assert self._found is not None, "it is not over yet"
        return self._found

    def _run(self) -> None:
        try:
            self._found = self._look_up()
        except Exception as error:
            self._error = error
