"""The process in which seeds or tests run on changed sources: a program of its own, started by ``make mutants``.

It reads lines of JSON. The first one says where Python finds its modules and gives the sources of the modules that are
changed; a finder that stands before the import system answers for these, so neither they nor anything that imports them
knows of it, and no file is touched. Each further line asks for something to be run. A seed, as ``[number, light]``, is
answered by the rules that it broke. Tests, as ``{"tests": [names]}``, are run by pytest up to the first that fails, and
answered by that one. Nothing of ringproto may be imported before the finder stands, so this file is run by its path and
imports the standard library alone.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import FrameType, ModuleType
from typing import Any

__all__ = ["CPU_SECONDS_MAX", "ChangedModules", "FirstFailure", "TooLongError", "main"]

CPU_SECONDS_MAX = 40.0
"""A seed that computes for longer does not end, as far as anybody can tell."""
TEXT_MAX = 2000


class TooLongError(BaseException):
    """Raised in the middle of a seed when its time is up; no handler of the simulator is to take it for its own."""


class ChangedModules:
    """Finds the changed modules, and makes them of their sources.

    Args:
        sources: by the full name of the module, the name of its file and its text.
    """

    def __init__(self, sources: dict[str, tuple[str, str]]) -> None:
        self._sources = sources

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """A spec for a changed module, ``None`` for every other one."""
        if name not in self._sources:
            return None
        spec = ModuleSpec(name, self, origin=self._sources[name][0])  # type: ignore[arg-type]
        spec.has_location = True
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The import system makes the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed source."""
        file, text = self._sources[module.__name__]
        exec(compile(text, file, "exec"), module.__dict__)


class FirstFailure:
    """A plugin of pytest that keeps the first test that fails, and why."""

    def __init__(self) -> None:
        self.name = ""
        self.text = ""

    def _keep(self, report: Any) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid or "collection"
            crash = getattr(report.longrepr, "reprcrash", None)
            self.text = str(crash.message if crash is not None else report.longrepr)[-TEXT_MAX:]

    def pytest_collectreport(self, report: Any) -> None:
        """A file of tests that cannot be imported."""
        self._keep(report)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test, or what it needs before and after."""
        self._keep(report)


def _time_is_up(number: int, frame: FrameType | None) -> None:
    raise TooLongError


def _interpret(package: str) -> None:
    """Have the Python sources found in place of what was built of them, behind the changed ones."""
    spec = importlib.util.spec_from_file_location("ringproto._interpreted", package + "/_interpreted.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that the package does not run it once more, before the finder
    spec.loader.exec_module(module)


def run_tests(names: list[str]) -> dict[str, str]:
    """Run tests up to the first that fails; it has no name if all hold."""
    import pytest

    first = FirstFailure()
    try:
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *names], plugins=[first])
    except Exception:
        # A test that has failed may leave behind what pytest cannot clear away: a thread that waits for ever, say.
        if not first.name:
            raise
        code = 1
    if code and not first.name:
        return {"name": "pytest", "text": f"it ended with exit code {int(code)} and no test had failed"}
    return {"name": first.name, "text": first.text}


def run_seed(number: int, light: bool) -> list[tuple[str, str]]:
    """The rules that a seed breaks."""
    from ringproto.testing.campaign import run as simulate

    signal.signal(signal.SIGVTALRM, _time_is_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS_MAX)
    try:
        return [(each.rule, each.text[-TEXT_MAX:]) for each in simulate.run_seed(number, light=light).violations]
    except TooLongError:
        return [("endless", f"it computed for {CPU_SECONDS_MAX:.0f} s and did not end")]
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else gets between the answers
    head = json.loads(sys.stdin.readline())
    sys.path[:] = head["path"]
    if head["interpreted"]:
        _interpret(head["package"])
    sys.meta_path.insert(0, ChangedModules(head["sources"]))
    for line in sys.stdin:
        asked = json.loads(line)
        answer = run_tests(asked["tests"]) if isinstance(asked, dict) else run_seed(*asked)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
