"""``make sanitize`` tests what it says: the modules are the instrumented ones, and the sanitizers are awake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ringproto

pytestmark = pytest.mark.skipif(
    os.environ.get("RINGPROTO_SANITIZE", "") in ("", "0"), reason="needs a build with sanitizers: `make sanitize`"
)

WRITES_TOO_MUCH = """
import ctypes
malloc = ctypes.CDLL(None).malloc
malloc.restype = ctypes.c_void_p
ctypes.memset(malloc(16), 1, 17)
"""


def test_modules_under_test_are_instrumented() -> None:
    """That all are compiled is seen to before any test (tests/conftest.py)."""
    built = list(Path(ringproto.__file__).parent.rglob("*.so"))
    assert built
    for module in built:
        code = module.read_bytes()
        assert b"__asan_report_" in code and b"__ubsan_handle_" in code, module


def test_write_behind_the_end_is_reported() -> None:
    done = subprocess.run([sys.executable, "-c", WRITES_TOO_MUCH], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
