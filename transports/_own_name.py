"""Where the own host name leads now, looked up on a thread of its own.

A transport finds out that its address is gone between two datagrams, perhaps on a thread that trio does not know, and
must not wait for the name service there. So one look-up is under way at a time, and what came of it is taken later.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

__all__ = ["OwnName"]


class OwnName:
    """The entry of the own node as the user gave it.

    Args:
        host, port: what is looked up.
        family: of the addresses that are wanted.
    """

    def __init__(self, host: str, port: int, family: int) -> None:
        self._host = host
        self._port = port
        self._family = family
        self._found: tuple[Any, ...] | None = None
        self._thread: threading.Thread | None = None

    def look_up(self) -> None:
        """Begin a look-up, unless one is under way."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._ask, name="ringproto own name", daemon=True)
            self._thread.start()

    def take(self) -> tuple[Any, ...] | None:
        """The first address that the last look-up gave, once; ``None`` if there is nothing new."""
        found, self._found = self._found, None
        return found

    def _ask(self) -> None:
        # A name that leads nowhere at this moment is looked up again later.
        with contextlib.suppress(OSError, UnicodeError):
            answers = socket.getaddrinfo(self._host, self._port, self._family, socket.SOCK_DGRAM)
            self._found = answers[0][4]
