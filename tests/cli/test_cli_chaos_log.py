"""The log of a processor under chaos, and its stable storage."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from ringproto import Config, open_ring
from ringproto.chaos.log import ChaosLog, SequenceFile
from ringproto.testing.judge import judge
from ringproto.testing.judge.transcript import Stop, Submit, Transcript, Wait
from ringproto.transports import LoopbackNetwork
from ringproto.types import Priority


async def test_the_log_is_what_was_audited(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    log = ChaosLog(tmp_path / "1.log")
    async with open_ring(LoopbackNetwork().open(1), config=Config.testing(), audit=log.audit) as ring:
        log.write(ring.waiting_for)
        for number in range(5):
            await ring.low.send(b"1.1.l%d|" % number)
            log.write(ring.waiting_for)
        await ring.recovery_complete.receive()
        log.write(ring.waiting_for)
    log.write(None)
    log.close()
    transcript = Transcript.from_lines((tmp_path / "1.log").read_text().splitlines())
    assert transcript.records[-1] == Stop("clean")
    submits = [record for record in transcript.records if isinstance(record, Submit)]
    assert [submit.mid for submit in submits if submit.priority is Priority.LOW] == [f"1.1.l{n}" for n in range(5)]
    assert (log.records, log.accepted) == (len(transcript), 5)
    assert [record.members for record in transcript.records if isinstance(record, Wait)] == [(1,), ()]
    assert judge([transcript]) == []


def test_who_is_waited_for_is_no_news_after_the_end(tmp_path: Path) -> None:
    log = ChaosLog(tmp_path / "1.log")
    log.audit.append(("STOP", "clean"))
    log.write(frozenset({1}))
    log.write(frozenset({2}))
    log.close()
    assert (tmp_path / "1.log").read_text() == '["STOP","clean"]\n'


def test_a_log_never_writes_over_another(tmp_path: Path) -> None:
    ChaosLog(tmp_path / "1.log").close()
    with pytest.raises(FileExistsError):
        ChaosLog(tmp_path / "1.log")


def test_the_ring_sequence_is_kept(tmp_path: Path) -> None:
    storage = SequenceFile(tmp_path / "1.sequence")
    assert storage.load() == 0
    storage.store(7)
    storage.store(2**40)
    assert SequenceFile(tmp_path / "1.sequence").load() == 2**40
    assert [path.name for path in tmp_path.iterdir()] == ["1.sequence"]
