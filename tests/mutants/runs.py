"""What comes of one mutant: seeds and tests on its changed sources, in processes of their own.

Seeds of the simulator kill mutants of the core. What they let through within their bound, and all mutants of the other
floors, is for the tests of that floor. Either way whatever killed is run without any mutant too, in the same kind of
process, and must hold: so it was the mistake that failed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import TracebackType
from typing import Any, Union

import ringproto
from mutants import worker as mutant_worker
from mutants.mutation import FLOORS, Mutant, Seed, Test, apply
from ringproto._processes.failures import RunFailedError, UsageError

__all__ = [
    "Killer",
    "MutantProcess",
    "MutantVerdict",
    "failing_seeds",
    "failing_tests",
    "kill_workers",
    "source_of",
    "try_mutant",
]

Killer = Union[Seed, Test]

_PACKAGE = Path(ringproto.__file__).parent
_ROOT = _PACKAGE.parent
_BROKEN = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError")
_BROKEN_IN_SEEDS = (*_BROKEN, "AttributeError", "TypeError")
"""An exception of these says that the changed text is no working program: then nothing was shown. Tests may provoke the
last two on purpose."""
_PLAIN = {("transports", "_plain"), ("transports", "_room")}
"""Used only where nothing is compiled."""


@dataclasses.dataclass(frozen=True, slots=True)
class MutantVerdict:
    """What came of one mutant."""

    name: str
    floor: str
    killed_by: Killer | None
    """``None``: it survived."""
    seeds: int = 0
    """How many were run."""
    tests: tuple[str, ...] = ()
    """Which tests were run, as pytest names them; files and folders too."""
    compiled: bool = False
    """Whether these ran with compiled modules beside the changed ones."""
    rules: tuple[str, ...] = ()
    """Those that the last seed broke."""
    text: str = ""
    """What was seen first, or why the mutant is none."""
    known_failed: Killer | None = None
    """The known seed or test, if it kills no more."""


_running: set[MutantProcess] = set()
"""The workers of this process."""


def kill_workers() -> None:
    """End the processes that run; who waits for the answer of one is told that it ended."""
    for worker in list(_running):
        worker.kill()


class MutantProcess:
    """A process in which seeds or tests run on changed sources; a context manager, which ends it.

    Args:
        sources: the changed sources, by module.
        floor: the floor of these modules.
        compiled: whether what is compiled runs so. If not, all is interpreted. The modules of the core are interpreted
            in any case if it is that floor, because compiled ones know the layout of each other's objects.
    """

    def __init__(self, sources: dict[str, str], floor: str = "core", *, compiled: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "RINGPROTO_INTERPRETED"}
        if not compiled:
            environment["RINGPROTO_INTERPRETED"] = "1"
        elif floor == "core":
            core = _PACKAGE / "_core"
            plain = {
                file.relative_to(core).with_suffix("").as_posix(): file.read_text(encoding="utf-8")
                for file in core.rglob("[!_]*.py")
            }
            sources = plain | sources
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed with the worker)
        self._process = subprocess.Popen(
            [sys.executable, mutant_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            # Ctrl-C in a terminal is for the command, which then ends its processes.
            start_new_session=True,
            env=environment,
            cwd=_ROOT,
        )
        package = FLOORS[floor].package
        head = {
            "path": [str(_ROOT), *sys.path],
            "package": str(_PACKAGE),
            "interpreted": not compiled,
            "sources": {
                f"{package}.{module.replace('/', '.')}": (str(_file(floor, module)), text)
                for module, text in sources.items()
            },
        }
        self._say(head)

    def _say(self, what: object) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # why it ended is read with the answer
            print(json.dumps(what), file=self._process.stdin, flush=True)

    def _ask(self, what: object, name: object) -> Any:
        self._say(what)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            code = self._process.wait()
            self._errors.seek(0)
            raise RunFailedError(f"the process of {name} ended: {self._errors.read().strip()[-2000:] or code}")
        return json.loads(answer)

    def violations(self, seed: Seed) -> list[tuple[str, str]]:
        """The rules that this seed breaks, with what was seen.

        Raises:
            RunFailedError: the process ended.
        """
        return [(rule, text) for rule, text in self._ask((seed.number, seed.light), seed)]

    def failure(self, tests: Sequence[str]) -> tuple[Test, str] | None:
        """The first of these tests that fails, and how it does. A worker runs tests once.

        Raises:
            RunFailedError: the process ended.
        """
        answer = self._ask({"tests": list(tests)}, " ".join(tests))
        return (Test(answer["name"]), answer["text"]) if answer["name"] else None

    def kill(self) -> None:
        """End the process."""
        self._process.kill()

    def __enter__(self) -> MutantProcess:
        _running.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _running.discard(self)
        self.kill()
        self._process.communicate()
        self._errors.close()


def _file(floor: str, module: str) -> Path:
    """The file of a module. Raises OSError if there is none."""
    spec = importlib.util.find_spec(FLOORS[floor].package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        file = Path(folder) / f"{module}.py"
        if file.exists():
            return file
    raise FileNotFoundError(f"{FLOORS[floor].package} has no module {module}")


def source_of(module: str, floor: str = "core") -> str:
    """The source of a module of a floor. Raises OSError if there is none."""
    return _file(floor, module).read_text(encoding="utf-8")


def _may_be_compiled(mutant: Mutant) -> bool:
    """Whether its tests can run beside compiled modules: none of those that it changes is one, or takes one's place."""
    return not any(
        (mutant.floor, change.module) in _PLAIN
        or any(_file(mutant.floor, change.module).with_suffix(suffix).exists() for suffix in EXTENSION_SUFFIXES)
        for change in mutant.changes
    )


def try_mutant(mutant: Mutant, known: Killer | None, seeds: Sequence[Seed]) -> MutantVerdict:
    """Try ``known``; then, on a floor that seeds run, ``seeds``; then the tests of the mutant; until one kills it.

    Raises:
        RunFailedError: its text is not to be found any more, or a process ended.
        UsageError: it needs tests, and they are not there.
    """
    try:
        sources = apply(mutant, lambda module: source_of(module, mutant.floor))
    except (ValueError, OSError) as error:
        raise RunFailedError(str(error)) from error
    failed: Killer | None = None
    if isinstance(known, Test):
        verdict = _try_tests(mutant, sources, (known.name,))
        if verdict.killed_by is not None:
            return verdict
        failed, known = known, None
    count = 0
    if FLOORS[mutant.floor].seeds:
        verdict = _try_seeds(mutant, sources, seeds if known is None else (known, *seeds))
        if isinstance(known, Seed) and verdict.killed_by != known:
            failed = known
        if verdict.killed_by is not None or verdict.text:
            return dataclasses.replace(verdict, known_failed=failed)
        count = verdict.seeds
    verdict = _try_tests(mutant, sources, mutant.tests or (FLOORS[mutant.floor].tests,))
    return dataclasses.replace(verdict, seeds=count, known_failed=failed)


def _try_seeds(mutant: Mutant, sources: dict[str, str], seeds: Iterable[Seed]) -> MutantVerdict:
    count = 0
    with MutantProcess(sources, mutant.floor) as worker:
        for seed in seeds:
            count += 1
            violations = worker.violations(seed)
            if not violations:
                continue
            rules = tuple(dict.fromkeys(rule for rule, _ in violations))
            text = violations[0][1].strip().splitlines()[-1]
            broken = rules == ("exception",) and text.startswith(_BROKEN_IN_SEEDS)
            return MutantVerdict(
                mutant.name,
                mutant.floor,
                None if broken else seed,
                count,
                rules=rules,
                text=f"it is no program that runs: {text}" if broken else text,
            )
    return MutantVerdict(mutant.name, mutant.floor, None, count)


def _try_tests(mutant: Mutant, sources: dict[str, str], tests: tuple[str, ...]) -> MutantVerdict:
    _check_tests(tests)
    compiled = mutant.floor != "core" and _may_be_compiled(mutant)
    with MutantProcess(sources, mutant.floor, compiled=compiled) as worker:
        failure = worker.failure(tests)
    verdict = MutantVerdict(mutant.name, mutant.floor, None, tests=tests, compiled=compiled)
    if failure is None:
        return verdict
    test, text = failure
    line = text.strip().splitlines()[0] if text.strip() else ""
    if "::" not in test.name or line.startswith(_BROKEN):
        return dataclasses.replace(verdict, text=f"it is no program that runs: {line}")
    return dataclasses.replace(verdict, killed_by=test, text=line)


def _check_tests(tests: Iterable[str]) -> None:
    missing = [name for name in tests if not (_ROOT / name.partition("::")[0]).exists()]
    if missing:
        raise UsageError(
            f"{missing[0]} is not there: mutants that tests are to kill need the repository with its tests, in which "
            f"ringproto is {_PACKAGE}"
        )


def failing_seeds(seeds: Sequence[Seed]) -> list[tuple[Killer, str]]:
    """Those of the seeds that fail without any mutant, and how."""
    failed: list[tuple[Killer, str]] = []
    with MutantProcess({}) as worker:
        for seed in seeds:
            violations = worker.violations(seed)
            if violations:
                failed.append((seed, f"{violations[0][0]}: {violations[0][1]}"))
    return failed


def failing_tests(tests: Sequence[Test], *, compiled: bool) -> list[tuple[Killer, str]]:
    """Those of the tests that fail without any mutant, and how."""
    failed: list[tuple[Killer, str]] = []
    left = [test.name for test in tests]
    while left:
        with MutantProcess({}, "service", compiled=compiled) as worker:
            failure = worker.failure(left)
        if failure is None:
            break
        failed.append(failure)
        if failure[0].name not in left:  # it is not one test that fails
            break
        left.remove(failure[0].name)
    return failed
