"""What both fuzzing targets share: the core interpreted and instrumented, and atheris round the target.

A target is a plain function of bytes that raises when something is wrong, so that the corpus runs through it without
atheris too. Only ``fuzz`` needs atheris. It must be called in a process in which ``RINGPROTO_INTERPRETED=1`` was set
before anything of ringproto was imported: coverage comes from Python's bytecode, and compiled modules have none.
"""

from __future__ import annotations

import gc
import sys
import types
from collections.abc import Callable
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"

Target = Callable[[bytes], None]


def seeds(name: str) -> list[Path]:
    """The inputs that are kept for one target, in a stable order."""
    return sorted(path for path in (CORPUS / name).iterdir() if path.is_file())


def core_functions() -> list[types.FunctionType]:
    """Every function of the core that has bytecode."""
    return [
        found
        for found in gc.get_objects()
        if isinstance(found, types.FunctionType) and (found.__module__ or "").startswith("ringproto._core")
    ]


def fuzz(target: Target, arguments: list[str]) -> None:
    """Run libFuzzer with these arguments (its options and folders of inputs); it ends the process.

    Raises:
        RuntimeError: the core in this process is compiled.
    """
    import atheris

    compiled = [
        name
        for name, module in sys.modules.items()
        if name.startswith("ringproto._core") and not (module.__file__ or "").endswith(".py")
    ]
    if compiled:
        raise RuntimeError(f"{', '.join(compiled)} are compiled; set RINGPROTO_INTERPRETED=1 before python starts")
    for function in core_functions():
        atheris.instrument_func(function)
    # The command by which libFuzzer starts more processes of this target: for -merge, -fork and -minimize_crash.
    atheris.Setup([f"{sys.executable} {sys.argv[0]}", *arguments], target)
    atheris.Fuzz()
