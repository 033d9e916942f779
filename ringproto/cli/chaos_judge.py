"""The judge of a round of chaos in a process of its own (``python -m ringproto.cli.chaos_judge FOLDER``).

To judge a round takes some tenths of a second of nothing but computing. In the process that conducts other rounds
meanwhile, their moments would pass unseen.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import trio

from ringproto.cli._common import one_line
from ringproto.cli.chaos_verdict import Verdict, judge_round

__all__ = ["judge_beside"]


async def judge_beside(folder: Path) -> Verdict:
    """Judge what lies in the folder of a round, while this process does other things.

    A judge that gives no verdict is a round that did not hold. Cancellation kills the judge.

    Raises:
        OSError: no process can be started.
    """
    run = partial(trio.run_process, capture_stdout=True, capture_stderr=True, check=False)
    # A session of its own, because Ctrl-C in a terminal is for the command, which waits for this verdict.
    judge: subprocess.CompletedProcess[bytes] = await run(
        [sys.executable, "-m", __name__, str(folder)], start_new_session=True
    )
    if judge.returncode:
        words = judge.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        return Verdict((f"judge: ended with exit code {judge.returncode}: {one_line(words[-1])}",), 0, 0, 0, 0)
    fields = json.loads(judge.stdout)
    return Verdict(**{**fields, "wrong": tuple(fields["wrong"])})


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(judge_round(Path(sys.argv[1])))))
