"""``RINGPROTO_INTERPRETED=1`` in the environment: run from the Python sources what is compiled from them.

For debuggers, coverage and coverage-guided fuzzing; it needs Cython installed. Compiled and interpreted do the same; a
test holds that.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType


class _Sources:
    """Finds modules in their sources, before the import system finds what was built from them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.rpartition(".")
        core = package == "ringproto._core" or package.startswith("ringproto._core.")
        if not (core or package in ("ringproto", "ringproto.transports")) or path is None:
            return None
        for folder in path:
            source = Path(folder) / f"{module}.py"
            if source.exists():
                return importlib.util.spec_from_file_location(name, source)
            if (Path(folder) / module / "__init__.py").exists():
                return None
        if core:
            raise ModuleNotFoundError(f"{name} is compiled only, and something plain takes its place", name=name)
        return None


if os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0"):
    if importlib.util.find_spec("cython") is None:
        raise ImportError("RINGPROTO_INTERPRETED=1 needs Cython, whose decorators the sources have: pip install cython")
    sys.meta_path.insert(0, _Sources)
