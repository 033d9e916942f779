"""The process in which seeds run on a changed core: a program of its own, started by ``ringproto mutants``.

It reads lines of JSON. The first one says where Python finds its modules and gives the sources of the rooms of the core
that are changed; a finder that stands before the import system answers for these, so neither the core nor anything that
imports it knows of it. Each further line is a seed, and is answered by the rules that it broke. Nothing of ringproto
may be imported before the finder stands, so this file is run by its path and imports the standard library alone.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType

__all__ = ["CPU_SECONDS_MAX", "ChangedCore", "TooLongError", "main"]

CPU_SECONDS_MAX = 40.0
"""A seed that computes for longer does not end, as far as anybody can tell."""
TEXT_MAX = 2000


class TooLongError(BaseException):
    """Raised in the middle of a seed when its time is up; no handler of the simulator is to take it for its own."""


class ChangedCore:
    """Finds the changed rooms of the core, and makes modules of their sources."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a changed room, ``None`` for every other module."""
        package, _, room = name.rpartition(".")
        if package != "ringproto._core" or room not in self._sources:
            return None
        return ModuleSpec(name, self, origin=f"<changed {room}>")  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        room = module.__name__.rpartition(".")[2]
        exec(compile(self._sources[room], f"<changed {room}>", "exec"), module.__dict__)


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise TooLongError


def main() -> None:
    """Answer seeds until the input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing else gets between the answers
    head = json.loads(sys.stdin.readline())
    sys.path[:] = head["path"]
    sys.meta_path.insert(0, ChangedCore(head["sources"]))
    from ringproto.testing.simulate import run_seed

    signal.signal(signal.SIGVTALRM, _time_is_up)
    for line in sys.stdin:
        seed, light = json.loads(line)
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS_MAX)
        try:
            violations = [(each.rule, each.text[-TEXT_MAX:]) for each in run_seed(seed, light=light).violations]
        except TooLongError:
            violations = [("endless", f"it computed for {CPU_SECONDS_MAX:.0f} s and did not end")]
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        print(json.dumps(violations), file=answers, flush=True)


if __name__ == "__main__":
    main()
