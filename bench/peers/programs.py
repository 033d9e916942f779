"""Compiles the member programs in C, once for each text of theirs, into build/bench."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["ProgramError", "program"]

_HERE = Path(__file__).parent
_BUILD = _HERE.parents[1] / "build" / "bench" / "programs"


class ProgramError(Exception):
    """The program cannot be compiled here; the message is the compiler's first complaint."""


@functools.cache
def program(name: str, *libraries: str) -> str:
    """The path of the compiled ``name.c``, with ``member.c``.

    Raises:
        ProgramError: there is no compiler, or it refuses, for example because headers are missing.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise ProgramError("there is no C compiler")
    sources = [_HERE / f"{name}.c", _HERE / "member.c"]
    if not sources[0].exists():
        raise ProgramError(f"there is no {sources[0].name}")
    text = b"".join(path.read_bytes() for path in [*sources, _HERE / "member.h"])
    target = _BUILD / f"{name}-{hashlib.sha256(text).hexdigest()[:12]}"
    if not target.exists():
        _BUILD.mkdir(parents=True, exist_ok=True)
        flags = ["-O2", "-Wall", "-Wextra", "-std=gnu11", *(f"-l{library}" for library in libraries), "-lpthread"]
        draft = target.with_suffix(f".{os.getpid()}")
        command = [compiler, "-o", str(draft), *map(str, sources), *flags]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            complaints = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
            raise ProgramError(f"{name}.c cannot be compiled: {complaints[0] if complaints else 'no reason given'}")
        draft.rename(target)
    return str(target)
