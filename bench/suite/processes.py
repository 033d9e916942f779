"""The member processes, as the supervisor sees them: it starts them, talks with them in lines, and ends them all."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["MemberFailedError", "MemberProcess", "end_all"]

ROOT = Path(__file__).parents[2]


class MemberFailedError(Exception):
    """A member ended, or did not say in time what was waited for; the message has its last words."""


class MemberProcess:
    """One process that speaks the lines of member.py."""

    def __init__(self, name: str, command: Sequence[str], log_stem: str) -> None:
        self.name = name
        self.log_stem = log_stem
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by end())
        # A member imports the library and the suite of this tree.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=ROOT,
            start_new_session=True,
        )
        self._rest = b""
        self._heard: list[dict[str, Any]] = []
        self._last: dict[str, dict[str, Any]] = {}
        self.said_counts: Counter[str] = Counter()
        """How often it said what, as far as it was listened to."""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: str, **values: int) -> None:
        """Send a command of member.py."""
        line = " ".join([command, *(f"{name}={value}" for name, value in values.items())])
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its end is told by whoever waits for its answer
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def wait_for(self, said: str, timeout_s: float, **values: Any) -> dict[str, Any]:
        """The next thing said of that kind and with those values; other things said before it are kept.

        Raises:
            MemberFailedError: it does not come in time.
        """
        deadline = time.monotonic() + timeout_s
        seen = 0
        while True:
            for place, message in enumerate(self._heard[seen:], seen):
                if message["said"] == said and values.items() <= message.items():
                    return self._heard.pop(place)
            seen = len(self._heard)
            self._hear(deadline, said)

    def _hear(self, deadline: float, waited_for: str) -> None:
        assert self._process.stdout is not None
        file = self._process.stdout.fileno()
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not select.select([file], [], [], left_s)[0]:
            raise MemberFailedError(f"{self.name} did not say «{waited_for}» in time{self._last_words()}")
        more = os.read(file, 65_536)
        if not more:
            raise MemberFailedError(f"{self.name} ended before it said «{waited_for}»{self._last_words()}")
        *lines, self._rest = (self._rest + more).split(b"\n")
        for message in map(json.loads, lines):
            self._heard.append(message)
            self._last[message["said"]] = message
            self.said_counts[message["said"]] += 1

    def last(self, said: str) -> dict[str, Any]:
        """The last thing heard of that kind.

        Raises:
            KeyError: it was never said.
        """
        return self._last[said]

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read()[-4096:].decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def kill(self) -> None:
        """SIGKILL, and wait."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def end(self, patience_s: float = 3.0) -> None:
        """Let it leave, or kill it when it does not."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self.tell("leave")
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()
        self._errors.close()


def end_all(members: Sequence[MemberProcess]) -> None:
    """End all, first asking everybody, so that nobody waits for those before it."""
    for member in members:
        member.tell("leave")
    for member in members:
        member.end()
