"""Before any test: the modules under test are the ones that were built from these sources."""

from __future__ import annotations

import ast
import importlib
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("long", max_examples=20_000, stateful_step_count=50, deadline=None)
settings.register_profile("few", max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])

ROOT = Path(__file__).parent.parent


def compiled_modules() -> dict[str, list[Path]]:
    """The modules that ``setup.py`` compiles, with the sources of each."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    (names,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "MODULES"
    )
    package = ROOT / "ringproto"
    core = package / "_core"
    modules = {
        f"ringproto._core.{name.replace('/', '.')}": [core / f"{name}.py", core / f"{name}.pxd"] for name in names
    }
    transports = ROOT / "transports"
    for name in ("_segments", "_traffic"):
        modules[f"ringproto.transports.{name}"] = [transports / f"{name}.py", transports / f"{name}.pxd"]
    modules["ringproto.message"] = [package / "message.py", package / "message.pxd"]
    modules["ringproto.transports._segments"].append(transports / "_room.pxd")
    modules["ringproto._core.wire._crc32"] = [core / "wire" / "_crc32.pyx"]
    if sys.platform == "linux":
        modules["ringproto.transports._batch"] = [transports / "_batch.pyx", transports / "_segments.pxd"]
    return modules


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-builds", action="store_true", help="build the wheel and the sdist and look into them")
    parser.addoption("--run-proofs", action="store_true", help="search the large models of the barrier, too")
    parser.addoption("--both-drivers", action="store_true", help="run all of tests/service on the thread driver too")


def pytest_sessionstart(session: pytest.Session) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a shell starts what runs in the background; tests send themselves interrupts.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0"):
        return
    for name, sources in compiled_modules().items():
        try:
            found = importlib.import_module(name).__file__
        except ImportError as error:
            if "carry-less" in str(error):
                continue
            pytest.exit(f"{name} is not built ({error}); run `make setup`", returncode=3)
        assert found is not None
        built = Path(found)
        if built.suffix == ".py":
            pytest.exit(f"{name} is not compiled: {built} was loaded; run `make setup`", returncode=3)
        newer = [
            source.name for source in sources if source.exists() and source.stat().st_mtime > built.stat().st_mtime
        ]
        if newer:
            pytest.exit(f"{built.name} is older than {', '.join(newer)}; run `make setup`", returncode=3)
