"""Tiny real runs: processes, sockets, logs. Nothing here says how fast anything is."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from bench.peers.corosync import Corosync
from bench.peers.programs import ProgramError, program
from bench.peers.pysyncobj import Pysyncobj
from bench.peers.raw_udp import RawUdp
from bench.peers.zeromq import Zeromq
from bench.suite.__main__ import main
from bench.suite.measure import Load, Timing, crash, measure
from bench.suite.member import RunOrder
from bench.suite.processes import MemberFailedError, MemberProcess
from bench.suite.systems import Ringproto, System

NODES = [1, 2, 3]
SHORT = Timing(0.05, 0.2)
PEERS = [Corosync("udp"), Pysyncobj(), RawUdp("loopback", offload=True), Zeromq("ipc")]


@pytest.mark.slow
def test_a_ring_is_measured_in_all_ways() -> None:
    # A busy machine is no crash, and what waits in a short queue is soon drained.
    config = {"token_timeout_s": 2.0, "token_retransmit_s": 0.5, "send_queue_max": 64}
    system = Ringproto("unicast", "loopback", config)
    with system.open(NODES) as session:
        for size, everybody in ((64, True), (20_000, False)):
            figures = measure(system, session, Load(RunOrder.SATURATE, size, everybody), SHORT)
            assert not any(figures["faults"].values()) and figures["sent"] > 0
        ping = measure(system, session, Load(RunOrder.PING, 200), SHORT)
        assert ping["latency_ns"]["count"] == 3 * ping["own_latency_ns"]["count"] > 0
        paced = measure(system, session, Load(RunOrder.PACED, 200, True, 600.0), SHORT)
        assert paced["sent"] == 3 * int(0.25 * 200)
        assert not any(paced["faults"].values())
        idle = measure(system, session, Load(RunOrder.LISTEN, 200), SHORT)
        assert idle["sent"] == 0 and set(idle["cores"]) == set(NODES)
        killed = crash(session, 3, 30.0)
        assert set(killed["each_ms"]) == {1, 2} and killed["slowest_ms"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("system", PEERS, ids=lambda system: system.family)
def test_a_peer_is_measured_where_it_can_be_had(system: System) -> None:
    if reason := system.missing():
        pytest.skip(reason)
    loads = [
        Load(RunOrder.SATURATE, 200, True),
        Load(RunOrder.PING, 200),
        Load(RunOrder.PACED, 200, True, 300.0),
        Load(RunOrder.LISTEN, 200),
    ]
    with system.open(NODES) as session:
        for load in loads:
            if load.kind in system.kinds:
                figures = measure(system, session, load, SHORT)
                assert (figures["sent"] > 0) == (load.kind != RunOrder.LISTEN)
                assert system.lossy or not any(figures["faults"].values())


@pytest.mark.slow
def test_the_command_writes_all_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--quick", "--systems", "ringproto unicast", "--parts", "throughput", "--sizes", "64", "--seconds", "0.1"]
    assert main([*chosen, "--out", str(tmp_path), "--no-plots"]) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert [record["senders"] for record in results["records"]] == ["one", "all"]
    assert "Throughput on loopback" in capsys.readouterr().out
    assert main([*chosen, "--from-json", str(tmp_path / "results.json"), "--out", str(tmp_path)]) == 0
    assert (tmp_path / "throughput-loopback.png").stat().st_size > 1000


def test_a_member_that_ends_is_told_with_its_last_words() -> None:
    member = MemberProcess("member 1", [sys.executable, "-c", "raise SystemExit('the port is taken')"], "")
    with pytest.raises(MemberFailedError, match=r"member 1 ended before it said «complete»: the port is taken"):
        member.wait_for("complete", 20.0)
    member.end()


def test_a_member_that_is_silent_is_waited_for_no_longer_than_said() -> None:
    member = MemberProcess("member 1", [sys.executable, "-c", "input()"], "")
    with pytest.raises(MemberFailedError, match="did not say «complete» in time"):
        member.wait_for("complete", 0.05)
    member.end()


def test_what_a_member_said_before_is_kept_and_told_apart_by_its_values() -> None:
    lines = r'print("{\"said\": \"complete\", \"members\": 2}\n{\"said\": \"complete\", \"members\": 3}"); input()'
    member = MemberProcess("member 1", [sys.executable, "-uc", lines], "")
    assert member.wait_for("complete", 20.0, members=3)["members"] == 3
    assert member.wait_for("complete", 20.0)["members"] == 2
    member.end()


def test_a_crash_is_not_taken_from_what_was_said_before_it() -> None:
    class Stale:
        """Stood in a group of one, before it met the others."""

        def __init__(self) -> None:
            self.times = [1, time.monotonic_ns() + 10**12]

        def wait_for(self, *_: object, **__: object) -> dict[str, int]:
            return {"time_ns": self.times.pop(0)}

    class Session:
        def __init__(self) -> None:
            self.members = {1: Stale(), 2: None}

        def kill(self, node: int) -> None:
            assert node == 2

    assert crash(Session(), 2, 1.0)["slowest_ms"] > 100_000  # type: ignore[arg-type]


def test_a_program_that_cannot_be_compiled_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProgramError, match=r"no_such_program\.c"):
        program("no_such_program")
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ProgramError, match="no C compiler"):
        program("raw_udp_member", "also_other_libraries")
