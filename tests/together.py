"""Run all tests in three processes beside each other, in parts that take about as long.

``python tests/together.py`` is what ``make test`` runs. One part mostly computes: the core, the simulator, the model
and the judge. The two others mostly wait for clocks, processes and sockets, so three fit on two cores. The output of
the last one is shown as it comes, that of the others when it is done. The exit code is 0 only if all passed. Arguments
go to all of them.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PARTS = (("core", "fuzz", "model", "mutants", "simulation", "testing"), ("service", "transports"))
"""What the first parts have; the last one has all others."""


def parts() -> list[list[str]]:
    """The folders and modules of each part, as paths."""
    found: list[list[str]] = [[] for _ in (*PARTS, ())]
    for path in sorted(HERE.iterdir()):
        if path.is_dir() and not any(path.glob("test_*.py")):
            continue
        if path.is_dir() or path.match("test_*.py"):
            place = next((number for number, part in enumerate(PARTS) if path.name in part), -1)
            found[place].append(str(path))
    return found


def main(arguments: list[str]) -> int:
    *hidden, last = parts()
    command = [sys.executable, "-m", "pytest", *arguments]
    with contextlib.ExitStack() as stack:
        beside = []
        for part in hidden:
            held = stack.enter_context(tempfile.TemporaryFile())
            process = subprocess.Popen([*command, "-p", "no:cacheprovider", *part], stdout=held, stderr=held)
            stack.callback(process.kill)
            beside.append((process, held))
        shown = subprocess.run([*command, *last], check=False)
        codes = [shown.returncode]
        for process, held in beside:
            codes.append(process.wait())
            held.seek(0)
            sys.stdout.buffer.write(held.read())
            sys.stdout.flush()
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
