"""Run all tests in two processes beside each other, one for each core, in parts that take about as long.

``python tests/together.py`` is what ``make test`` runs. One part mostly computes: the core, the simulator, the model
and the judge. The other mostly waits for clocks, processes and sockets. The output of one is shown as it comes, that of
the other when the first is done. The exit code is 0 only if both passed. Arguments go to both.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
COMPUTING = ("core", "fuzz", "model", "simulation", "testing", "transports")


def parts() -> tuple[list[str], list[str]]:
    """The folders and modules of the part that computes, and all others, as paths."""
    computing, others = [], []
    for path in sorted(HERE.iterdir()):
        if path.is_dir() and not any(path.glob("test_*.py")):
            continue
        if path.is_dir() or path.match("test_*.py"):
            (computing if path.name in COMPUTING else others).append(str(path))
    return computing, others


def main(arguments: list[str]) -> int:
    computing, others = parts()
    command = [sys.executable, "-m", "pytest", *arguments]
    with tempfile.TemporaryFile() as held:
        beside = subprocess.Popen([*command, "-p", "no:cacheprovider", *computing], stdout=held, stderr=held)
        try:
            shown = subprocess.run([*command, *others], check=False)
            beside.wait()
        finally:
            beside.kill()
        held.seek(0)
        sys.stdout.buffer.write(held.read())
        sys.stdout.flush()
    return shown.returncode or beside.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
