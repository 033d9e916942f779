"""What ``ringproto node`` tells beside the stream: lines of the logger ``ringproto``, on standard error.

They are written by a thread of their own, because a terminal that waits must not hold up the ring. What waits for it is
bounded; lines beyond that are counted, and the next line that is written says how many they were.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ringproto._processes.failures import describe_error, told
from ringproto.cli.streams import write_fully

__all__ = ["LogLines", "open_log_lines"]

_WAITING_MAX = 256
"""Most lines that wait to be written."""
_CLOSE_S = 1.0
"""How long the last lines wait for a terminal."""


class LogLines(logging.Handler):
    """Writes lines to a file descriptor. Whatever a terminal would obey in them is made harmless.

    Args:
        prefix: what each line begins with.
        descriptor: where they are written; not closed.
    """

    def __init__(self, prefix: str, descriptor: int = 2) -> None:
        super().__init__()
        self._prefix = prefix
        self._descriptor = descriptor
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING_MAX)
        self._missed = 0
        # As a daemon: a terminal that never reads again must not keep the process.
        self._writer = threading.Thread(target=self._write, name="ringproto log lines", daemon=True)
        self._writer.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record of the log, from any thread."""
        error = record.exc_info[1] if record.exc_info else None
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        self.say(text if error is None else f"{text}: {describe_error(error)}")

    def say(self, text: str) -> None:
        """Write one line."""
        try:
            self._waiting.put_nowait(self._line(text))
        except queue.Full:
            self._missed += 1
        else:
            self._missed = 0

    def close(self) -> None:
        """Wait a moment until everything is written, and take no more."""
        super().close()
        with suppress(queue.Full):
            if self._missed:
                self._waiting.put(self._line("no more lines"), timeout=_CLOSE_S)
            self._waiting.put(None, timeout=_CLOSE_S)
            self._writer.join(_CLOSE_S)

    def _line(self, text: str) -> bytes:
        missed = f" ({self._missed} lines before this one were left out)" if self._missed else ""
        return f"{self._prefix}: {told(text)}{missed}\n".encode(errors="backslashreplace")

    def _write(self) -> None:
        while (line := self._waiting.get()) is not None:
            # There is nowhere else to tell that it cannot be written.
            with suppress(OSError):
                write_fully(self._descriptor, line)


@contextmanager
def open_log_lines(prefix: str, descriptor: int = 2) -> Iterator[LogLines]:
    """While this block runs, what the logger ``ringproto`` is given at INFO and above becomes lines."""
    logger = logging.getLogger("ringproto")
    lines = LogLines(prefix, descriptor)
    level = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.setLevel(level)
        logger.removeHandler(lines)
        lines.close()
