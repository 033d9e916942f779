"""Looking an interface up beside a ring that runs.

Where there are many interfaces the system takes some tenths of a second to tell of all their addresses, which is longer
than a token may be away. So a thread of its own asks, whoever drives the transport.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["PATIENCE_S", "Search"]

PATIENCE_S = 0.002
"""How long the first question waits for the answer, in seconds. With some interfaces it is there by then."""

Found = TypeVar("Found")


class Search(Generic[Found]):
    """One look-up, under way from now on. A daemon thread, so that it keeps no program from ending.

    Args:
        look_up: finds the interface, or raises why there is none.

    Raises:
        RuntimeError: no thread can be had.
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
        """Whether the answer is there."""
        return not self._thread.is_alive()

    def answer(self) -> Found:
        """What was found; call it when it is :attr:`over`.

        Raises:
            Exception: whatever the look-up raised.
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
