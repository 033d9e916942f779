"""The floors of the house: imports point down only, as the table of architecture.md says. Every module is read."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import ringproto

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "ringproto"
TRANSPORTS = ROOT / "transports"

BASE = {"ringproto.types", "ringproto.message", "ringproto.events", "ringproto.config", "ringproto.errors"}
LOG = {"ringproto.log"}
"""What transports, service and command line log through; nothing below them does."""
# From the bottom to the top: each knows only those before it.
SERVICE_IN_ORDER = (
    "ringproto._service.errors",
    "ringproto._service.gate",
    "ringproto._service.reports",
    "ringproto._service.driver",
    "ringproto._service.trio_driver",
    "ringproto._service.thread_driver",
    "ringproto._service.channels",
    "ringproto._service.recovery",
    "ringproto._service.ring",
)
SERVICE = set(SERVICE_IN_ORDER)
# The folders that are a floor.
PACKAGES = (
    "ringproto._core",
    "ringproto.transports",
    "ringproto._service",
    "ringproto.testing",
    "ringproto._processes",
    "ringproto.chaos",
    "ringproto.cli",
)
TESTING_IN_ORDER = ("judge", "simulator", "campaign")
COMPILED_ONLY = {"ringproto._core.wire._crc32"}
KINDS_OF_TRANSPORT = {"loopback", "unicast_udp", "multicast_udp"}

# What brings time, randomness, input and output, threads or an event loop with it.
WORLD = {
    "asyncio",
    "concurrent",
    "datetime",
    "fcntl",
    "importlib",
    "io",
    "logging",
    "multiprocessing",
    "netifaces",
    "os",
    "pathlib",
    "queue",
    "random",
    "sched",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "sys",
    "threading",
    "time",
    "trio",
    "uuid",
    "warnings",
}
PURE = {
    "__future__",
    "collections",
    "dataclasses",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "math",
    "struct",
    "typing",
    "zlib",
}


def modules() -> Iterator[tuple[str, Path]]:
    """(name as imported, source) of every module that is shipped."""
    for folder, package in ((PACKAGE, "ringproto"), (TRANSPORTS, "ringproto.transports")):
        for source in sorted(folder.rglob("*.py")):
            parts = source.relative_to(folder).with_suffix("").parts
            if parts[0] == "transports":
                continue  # the link to the folder at the top
            name = ".".join((package, *parts))
            yield name.removesuffix(".__init__"), source


MODULES = dict(modules())


def imports(source: Path, name: str = "") -> set[str]:
    """Full names of the modules that a source imports, anywhere in it; of our own also what is taken from a package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source} has a relative import"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return found


def top(name: str) -> str:
    return name.split(".")[0]


def ours(names: set[str]) -> set[str]:
    return {name for name in names if top(name) == "ringproto"}


def of(prefix: str) -> list[str]:
    """The modules of one floor."""
    return sorted(name for name in MODULES if name == prefix or name.startswith(prefix + "."))


def test_every_module_belongs_to_a_floor() -> None:
    floors = {*LOG, *(name for package in PACKAGES for name in of(package))}
    rest = set(MODULES) - floors - BASE
    # The package itself, the command, and who chooses between compiled and interpreted modules.
    assert rest == {"ringproto", "ringproto.__main__", "ringproto._interpreted"}
    assert len(of("ringproto._core")) > 15 and len(of("ringproto.transports")) > 5
    assert all(len(of(package)) > 5 for package in PACKAGES)
    assert set(of("ringproto._service")) == {"ringproto._service", *SERVICE}


@pytest.mark.parametrize("name", sorted(BASE))
def test_base_knows_the_standard_library_alone(name: str) -> None:
    names = imports(MODULES[name])
    assert ours(names) <= BASE
    # `cython` says how a class is compiled; what is compiled does not import it.
    assert {top(other) for other in names - ours(names)} - {"cython"} <= set(sys.stdlib_module_names) - WORLD


@pytest.mark.parametrize("name", of("ringproto._core"))
def test_core_knows_bytes_and_numbers_and_the_base(name: str) -> None:
    names = imports(MODULES[name])
    assert ours(names) <= BASE | set(of("ringproto._core")) | COMPILED_ONLY
    assert {top(other) for other in names - ours(names)} <= PURE


@pytest.mark.parametrize("name", of("ringproto._core"))
def test_core_does_no_input_or_output_by_built_in_names(name: str) -> None:
    used = {
        node.id for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
    }
    assert used.isdisjoint({"print", "open", "input", "exec", "eval", "__import__", "id", "hash"})


def test_core_is_entered_by_its_face_alone() -> None:
    inside = set(of("ringproto._core")) - {"ringproto._core"}
    for name, source in MODULES.items():
        if name not in of("ringproto._core"):
            assert imports(source).isdisjoint(inside), name


def test_barrier_knows_nothing_of_tokens_and_packets() -> None:
    """So that it could stand on another total order one day."""
    assert ours(imports(MODULES["ringproto._core.barrier"])) == {"ringproto.events", "ringproto.types"}


@pytest.mark.parametrize("name", sorted(of("ringproto.testing")))
def test_testing_knows_the_face_of_the_core_and_no_clock(name: str) -> None:
    names = imports(MODULES[name])
    allowed = BASE | {"ringproto._core"} | set(of("ringproto.testing"))
    if name == "ringproto.testing.transport_contract":
        # A check of transports needs transports, and trio to run them.
        assert ours(names) <= allowed | {"ringproto.transports"}
        assert {top(other) for other in names} & WORLD <= {"trio"}
    else:
        assert ours(names) <= allowed
        # A random.Random is given to it, so it names the type.
        assert {top(other) for other in names} & WORLD <= {"random"}


@pytest.mark.parametrize("folder", TESTING_IN_ORDER)
def test_folders_of_testing_know_only_those_before_them(folder: str) -> None:
    known = TESTING_IN_ORDER[: TESTING_IN_ORDER.index(folder) + 1]
    allowed = {other for one in known for other in of(f"ringproto.testing.{one}")}
    inside = of(f"ringproto.testing.{folder}")
    assert len(inside) > 5
    for name in inside:
        assert {other for other in imports(MODULES[name]) if other.startswith("ringproto.testing")} <= allowed, name


def calls_of(source: Path, module: str) -> set[str]:
    """What is called of a module, under whatever name it was imported."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    names = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == module
    }
    return {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in names
    }


@pytest.mark.parametrize("name", of("ringproto.testing"))
def test_testing_draws_from_no_other_random_than_one_of_its_own_making(name: str) -> None:
    assert calls_of(MODULES[name], "random") <= {"Random"}
    assert not any(
        isinstance(node, ast.ImportFrom)
        and node.module == "random"
        and {alias.name for alias in node.names} != {"Random"}
        for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8")))
    )


@pytest.mark.parametrize("name", of("ringproto.transports"))
def test_transports_know_neither_the_core_nor_each_other(name: str) -> None:
    names = ours(imports(MODULES[name]))
    compiled = {f"ringproto.transports.{source.stem}" for source in TRANSPORTS.glob("*.pyx")}
    assert names <= BASE | LOG | set(of("ringproto.transports")) | compiled
    if name != "ringproto.transports":
        others = {f"ringproto.transports.{kind}" for kind in KINDS_OF_TRANSPORT}
        assert names.isdisjoint(others)
        assert "ringproto.transports" not in names


def test_private_helpers_of_transports_do_not_know_the_transports() -> None:
    for name in of("ringproto.transports"):
        if name.split(".")[-1].startswith("_"):
            for other in ours(imports(MODULES[name])) - BASE - LOG:
                assert other.split(".")[-1].startswith("_"), f"{name} imports {other}"


@pytest.mark.parametrize("name", sorted(SERVICE))
def test_service_knows_trio_the_face_of_the_core_and_the_transport_interface(name: str) -> None:
    names = imports(MODULES[name])
    assert ours(names) <= BASE | LOG | SERVICE | {"ringproto._core", "ringproto.transports"}
    assert {top(other) for other in names}.isdisjoint({"socket", "select", "selectors", "netifaces", "asyncio"})


@pytest.mark.parametrize("name", SERVICE_IN_ORDER)
def test_imports_of_the_service_point_one_way(name: str) -> None:
    below = set(SERVICE_IN_ORDER[: SERVICE_IN_ORDER.index(name)])
    assert ours(imports(MODULES[name])) & SERVICE <= below


@pytest.mark.parametrize("name", [*of("ringproto.cli"), "ringproto.__main__"])
def test_command_line_knows_what_is_public(name: str) -> None:
    for other in ours(imports(MODULES[name])):
        if other not in of("ringproto.cli") + of("ringproto._processes"):
            assert not any(part.startswith("_") for part in other.split(".")), f"{name} imports {other}"


@pytest.mark.parametrize("name", of("ringproto.chaos") + of("ringproto._processes"))
def test_harness_of_processes_knows_what_is_public(name: str) -> None:
    below = of("ringproto._processes") + (of("ringproto.chaos") if name in of("ringproto.chaos") else [])
    for other in ours(imports(MODULES[name])) - set(below):
        assert not any(part.startswith("_") for part in other.split(".")), f"{name} imports {other}"
        assert not other.startswith("ringproto.chaos"), f"{name} imports {other}"


def test_nothing_below_the_command_line_imports_it() -> None:
    for name, source in MODULES.items():
        if name not in of("ringproto.cli") and name != "ringproto.__main__":
            assert not any(other.startswith("ringproto.cli") for other in imports(source)), name


def test_nothing_that_is_shipped_imports_testing_but_the_commands_that_judge() -> None:
    judging = {
        "ringproto.cli.simulate.campaign",
        "ringproto.cli.simulate.command",
        "ringproto.chaos.log",
        "ringproto.chaos.verdict",
    }
    for name, source in MODULES.items():
        if name not in of("ringproto.testing") and name not in judging:
            assert not any(other.startswith("ringproto.testing") for other in imports(source)), name


def test_nobody_imports_the_transports_by_their_name_at_the_top() -> None:
    for name, source in MODULES.items():
        assert "transports" not in {top(other) for other in imports(source)}, name


def test_augmenting_files_of_the_core_stay_in_the_core_and_the_base() -> None:
    allowed = BASE | {"cython", "libc.stdint"}
    for source in [*(PACKAGE / "_core").rglob("*.pxd"), *PACKAGE.glob("*.pxd")]:
        assert source.with_suffix(".py").exists(), f"{source.name} augments nothing"
        for line in source.read_text(encoding="utf-8").splitlines():
            words = re.match(r"(?:from\s+(\S+)\s+)?c?import\s+(\S+)", line)
            if words:
                name = words[1] or words[2]
                assert name.startswith("ringproto._core") or name in allowed, f"{source.name}: {line}"


def test_core_s_own_imports_have_no_circle() -> None:
    inside = of("ringproto._core")
    below = {name: ours(imports(MODULES[name])) & set(inside) - {name} for name in inside}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path, name))
        if name not in done:
            for other in below[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in inside:
        visit(name, ())


@pytest.mark.parametrize("module", ["ringproto", "ringproto._core", "ringproto.testing", "ringproto.testing.judge"])
def test_what_needs_no_trio_can_be_used_without_it(module: str) -> None:
    """In a fresh interpreter, so that nothing else has loaded it."""
    script = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    loaded = {top(name) for name in done.stdout.split()}
    assert "ringproto" in loaded
    assert loaded.isdisjoint({"trio", "socket", "_socket", "netifaces", "asyncio", "ssl"})


def test_names_that_need_trio_are_there_when_they_are_used() -> None:
    assert set(ringproto.__all__) <= set(dir(ringproto))
    assert all(getattr(ringproto, name) is not None for name in ringproto.__all__)
    with pytest.raises(AttributeError, match=r"module 'ringproto' has no attribute 'open_rings'"):
        getattr(ringproto, "open_rings")  # noqa: B009  (mypy knows that it is not there)


def wrong(source: str, check: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changed = tmp_path / "changed.py"
    changed.write_text(MODULES[name].read_text(encoding="utf-8") + "\n" + source + "\n", encoding="utf-8")
    monkeypatch.setitem(MODULES, name, changed)
    with pytest.raises(AssertionError):
        check()
    monkeypatch.undo()


def test_wrong_imports_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above can fail."""
    core, testing = "ringproto._core.timers", "ringproto.testing.simulator.network"
    transport, cli = "ringproto.transports.loopback", "ringproto.cli.node.command"
    judge = "ringproto.testing.judge.order"
    chaos, child = "ringproto.chaos.script", "ringproto._processes.child"
    folders = test_folders_of_testing_know_only_those_before_them
    cases: list[tuple[str, str, Callable[[], None]]] = [
        (core, "import time", lambda: test_core_knows_bytes_and_numbers_and_the_base(core)),
        (core, "def f():\n    import random", lambda: test_core_knows_bytes_and_numbers_and_the_base(core)),
        (core, "from ringproto._service import ring", lambda: test_core_knows_bytes_and_numbers_and_the_base(core)),
        (
            core,
            "from ringproto.transports import Transport",
            lambda: test_core_knows_bytes_and_numbers_and_the_base(core),
        ),
        (core, "print(1)", lambda: test_core_does_no_input_or_output_by_built_in_names(core)),
        (core, "from ringproto._core.processor import Processor", test_core_s_own_imports_have_no_circle),
        (testing, "import time", lambda: test_testing_knows_the_face_of_the_core_and_no_clock(testing)),
        (
            testing,
            "from ringproto._core import wire",
            lambda: test_testing_knows_the_face_of_the_core_and_no_clock(testing),
        ),
        (testing, "from ringproto._core import wire", test_core_is_entered_by_its_face_alone),
        (
            testing,
            "import random\nrandom.random()",
            lambda: test_testing_draws_from_no_other_random_than_one_of_its_own_making(testing),
        ),
        (transport, "import ringproto._core", lambda: test_transports_know_neither_the_core_nor_each_other(transport)),
        (
            transport,
            "from ringproto.transports import unicast_udp",
            lambda: test_transports_know_neither_the_core_nor_each_other(transport),
        ),
        (judge, "from ringproto.testing.simulator import cluster", partial(folders, "judge")),
        (testing, "from ringproto.testing.campaign import settings", partial(folders, "simulator")),
        (chaos, "from ringproto._core import Processor", lambda: test_harness_of_processes_knows_what_is_public(chaos)),
        (child, "from ringproto.chaos import script", lambda: test_harness_of_processes_knows_what_is_public(child)),
        (chaos, "from ringproto.cli import streams", test_nothing_below_the_command_line_imports_it),
        (transport, "import transports", test_nobody_imports_the_transports_by_their_name_at_the_top),
        (cli, "from ringproto._core import Processor", lambda: test_command_line_knows_what_is_public(cli)),
        (
            "ringproto._service.ring",
            "import socket",
            lambda: test_service_knows_trio_the_face_of_the_core_and_the_transport_interface("ringproto._service.ring"),
        ),
        (
            "ringproto._service.driver",
            "import ringproto._service.ring",
            lambda: test_imports_of_the_service_point_one_way("ringproto._service.driver"),
        ),
        (
            "ringproto._service.ring",
            "import ringproto.testing.simulator.cluster",
            test_nothing_that_is_shipped_imports_testing_but_the_commands_that_judge,
        ),
        ("ringproto.config", "import trio", lambda: test_base_knows_the_standard_library_alone("ringproto.config")),
    ]
    for name, source, check in cases:
        check()
        wrong(source, check, tmp_path, monkeypatch, name)
