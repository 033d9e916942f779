"""Whether a round of chaos held, by the logs in its folder.

The judge of ringproto.testing reads them twice. Once whole, for the rules of safety: order, configurations, barrier.
And once up to the marks, the place where all faults were over, for the rules of liveness: who is alive is together, the
barrier is complete, everything is delivered. With each log it reads the stream of the application, which must be what
the log says was delivered, or a beginning of it. The logs of killed processes need no lenience: whatever such a process
told anybody was on the disk before (log.py).

Beside the judge, which does not know what an application sent, stands what the applications say: what was accepted from
them came back to them.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from ringproto._processes.failures import UsageError, one_line
from ringproto._processes.files import read_regular
from ringproto.chaos.log import stream_of
from ringproto.chaos.record import LifeRecord, RoundRecord
from ringproto.events import RegularConfiguration
from ringproto.testing.judge import judge
from ringproto.testing.judge.transcript import Abort, Delv, Start, Stop, Submit, Transcript
from ringproto.types import Priority

__all__ = ["RoundVerdict", "have_everything", "judge_beside", "judge_round"]

_BYTES_MAX = 2**30
"""Largest log that is read."""


@dataclasses.dataclass(frozen=True)
class RoundVerdict:
    """What the logs of a round say."""

    wrong: tuple[str, ...]
    """Everything that did not hold; empty if all did."""
    lives: int
    configurations: int
    """Regular configurations of more than one member."""
    aborted: int
    """How many of those were left in mid-barrier by somebody."""
    deliveries: int


def judge_round(folder: Path) -> RoundVerdict:
    """Judge what lies in the folder of a round.

    Raises:
        UsageError: it is not the folder of a round, or a log in it cannot be read.
    """
    record = RoundRecord.read(folder)
    wrong = [f"supervisor: {failure}" for failure in record.failures]
    logs: list[tuple[LifeRecord, Transcript]] = []
    for life in sorted(record.lives, key=lambda life: (life.node, life.life)):
        transcript, problem = _read(folder / life.log, life)
        wrong += problem
        if transcript.records:
            logs.append((life, transcript))
    wrong += _judge(record, [transcript for _, transcript in logs])
    alive = [(life, transcript, life.mark) for life, transcript in logs if life.mark is not None]
    if alive:
        marked = [_up_to(transcript, life.mark) if life.mark else transcript for life, transcript in logs]
        complete = [(transcript.node, transcript.incarnation) for _, transcript, _ in alive]
        # What breaks a rule of safety is told once.
        wrong += [text for text in _judge(record, marked, complete) if text not in wrong]
        for life, transcript, mark in alive:
            wrong += _compare(life, transcript.records[: mark["records"]], mark)
    elif not record.failures:
        wrong.append("supervisor: no processor was alive at the end")
    return _summarize(wrong, [transcript for _, transcript in logs])


def _up_to(transcript: Transcript, mark: Mapping[str, Any]) -> Transcript:
    """What there was of a log and of its stream when they were marked."""
    given = transcript.given
    return Transcript(transcript.records[: mark["records"]], None if given is None else given[: mark["given"]])


def _read(file: Path, life: LifeRecord) -> tuple[Transcript, list[str]]:
    """The log of a life with its stream, empty if it was killed early, and what is wrong with these files."""
    transcript, wrong = _read_log(file, life)
    if wrong or not transcript.records:
        return transcript, wrong
    stream, wrong = _read_log(stream_of(file), life, log=False)
    transcript.given = stream.delivered()
    if len(transcript.given) < len(stream):
        wrong = [*wrong, f"log: {stream_of(file).name} has records that no application is given"]
    return transcript, wrong


def _read_log(file: Path, life: LifeRecord, *, log: bool = True) -> tuple[Transcript, list[str]]:
    """One file, a log or a stream, and what is wrong with it as a file."""
    try:
        lines = read_regular(str(file), _BYTES_MAX).decode().splitlines(keepends=True)
        torn = bool(lines) and not lines[-1].endswith("\n")
        # A line without its end is torn even where it can be read: it may have lost more than the end.
        transcript = Transcript.from_lines(lines[:-1] if torn else lines)
    except UsageError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        return Transcript([]), ([f"log: {file.name} is not there"] if life.end == "left" or not log else [])
    except ValueError as error:
        return Transcript([]), [f"log: {file.name}: {error}"]
    whole = len(lines) - torn
    if len(transcript) < whole or (torn and life.end == "left"):
        return transcript, [f"log: {file.name} ends with a torn line, and was not killed while it wrote that"]
    if not log:
        return transcript, []
    if life.end == "left":
        last = transcript.records[-1] if transcript.records else "nothing"
        if last != Stop("clean"):
            return transcript, [f"log: {file.name} ends with {last}, and not with a clean stop"]
        return transcript, []
    if transcript.records and not isinstance(transcript.records[-1], Stop):
        transcript.records.append(Stop("crash"))
    return transcript, []


def _judge(
    record: RoundRecord, transcripts: list[Transcript], complete: list[tuple[int, int]] | None = None
) -> list[str]:
    violations = judge(
        transcripts,
        quorum=record.quorum,
        complete=complete,
        storage_survives=record.storage,
        window_size=record.window_size,
        retransmits_max=record.retransmits_max,
    )
    return list(map(str, violations))


def have_everything(marks: Sequence[Mapping[str, Any]], members: Sequence[int]) -> bool:
    """Whether these processors, each by its mark, are together and have delivered all that one of them accepted.

    What an application has not counted yet may be in its log already: ``send`` has accepted a message, and returns in a
    moment. What all have delivered to its end is still so when the last one is asked, unless the configuration changes.
    """
    return (
        all(mark["phase"] == "complete" and mark["members"] == list(members) for mark in marks)
        and all(mark["returned"] == mark["accepted"] == mark["logged_as_accepted"] for mark in marks)
        and not any(mark["queued"] for mark in marks)
        and len({(mark["ring"], mark["order"]) for mark in marks}) == 1
    )


def _compare(life: LifeRecord, records: list[Any], mark: dict[str, Any]) -> Iterator[str]:
    """Nothing that this living processor accepted was lost, and its application saw what its log says."""
    name = f"{life.node} in life {life.life}"
    accepted = [r.mid for r in records if isinstance(r, Submit) and r.priority is not Priority.RECOVERY]
    delivered = Counter(r.mid for r in records if isinstance(r, Delv))
    lost = [mid for mid in accepted if not delivered[mid]]
    if lost:
        yield f"lost: {name} accepted {len(accepted)} messages and {len(lost)} never came back; the first is {lost[0]}"
    if not len(accepted) == mark["accepted"] == mark["logged_as_accepted"] == mark["returned"]:
        yield (
            f"application: {name} had {mark['accepted']} messages accepted and {mark['returned']} given back; "
            f"its log has {len(accepted)} accepted"
        )
    if delivered.total() != mark["delivered"]:
        yield f"application: {name} was given {mark['delivered']} messages; its log has {delivered.total()} delivered"


def _summarize(wrong: list[str], transcripts: list[Transcript]) -> RoundVerdict:
    rings = set()
    aborted = set()
    deliveries = 0
    for transcript in transcripts:
        for record in transcript.records:
            if isinstance(record, Delv):
                deliveries += 1
            elif isinstance(record, RegularConfiguration) and len(record.members) > 1:
                rings.add(record.ring_id)
            elif isinstance(record, Abort):
                aborted.add(record.ring_id)
    lives = sum(isinstance(record, Start) for transcript in transcripts for record in transcript.records[:1])
    return RoundVerdict(tuple(wrong), lives, len(rings), len(aborted & rings), deliveries)


# The judge of a round of chaos in a process of its own (``python -m ringproto.chaos.verdict FOLDER``).
#
# To judge a round takes some tenths of a second of nothing but computing. In the process that conducts other rounds
# meanwhile, their moments would pass unseen.
async def judge_beside(folder: Path) -> RoundVerdict:
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
        return RoundVerdict((f"judge: ended with exit code {judge.returncode}: {one_line(words[-1])}",), 0, 0, 0, 0)
    fields = json.loads(judge.stdout)
    return RoundVerdict(**{**fields, "wrong": tuple(fields["wrong"])})


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(judge_round(Path(sys.argv[1])))))
