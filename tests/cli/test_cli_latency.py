"""``ringproto latency``, short: on the loopback and among processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ringproto.__main__ import main


def measured(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, Any]]:
    code = main(["latency", "--json", "--duration", "0.5", "--warmup", "0.3", *flags])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("transport", ["loopback", "unicast", "multicast"])
def test_every_message_is_measured_at_every_processor(transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = measured(capsys, "--transport", transport, "--rate", "300", "--guarantee", "safe")
    assert code == 0 and result["held"]
    assert result["settings"]["transport"] == transport and result["settings"]["guarantee"] == "safe"
    assert result["latency_ms"]["count"] == pytest.approx(150 * 3, abs=9)
    assert (result["lost"], result["extra"], result["disordered"], result["unsent"]) == (0, 0, 0, 0)
    values = [result["latency_ms"][name] for name in ("p50", "p90", "p99", "p99.9", "p99.99", "max")]
    assert values == sorted(values) and values[0] > 0
    assert 0 < result["achieved_per_s"] <= 310


def test_the_result_is_a_table_and_a_plot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "curve.png"
    flags = "--transport loopback --nodes 2 --rate 200 --size 16 --priority low --duration 0.5 --warmup 0.2"
    assert main(["latency", *flags.split(), "--plot", str(file)]) == 0
    output = capsys.readouterr().out
    assert "2 processors, loopback, 200 messages/s of 16 bytes, LOW, agreed" in output
    assert "p99.99" in output and "lost 0" in output
    assert file.read_bytes().startswith(b"\x89PNG")


def test_one_processor_alone_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = measured(capsys, "--transport", "loopback", "--nodes", "1", "--rate", "100")
    assert code == 0 and result["latency_ms"]["count"] == pytest.approx(50, abs=2)


def test_a_load_without_a_message_does_not_hold(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "curve.png"
    code = main(["latency", "--transport", "loopback", "--rate", "0.1", "--duration", "0.2", "--plot", str(file)])
    assert code == 1
    assert "no message fell into the time" in capsys.readouterr().err
    assert not file.exists()


def test_what_was_not_sent_in_time_does_not_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load that no ring can carry: the members give up, and the run says how much was not sent."""
    monkeypatch.setattr("ringproto.cli.latency.supervisor.DRAIN_S", 0.2)
    code, result = measured(capsys, "--transport", "loopback", "--nodes", "1", "--rate", "3000", "--size", "1000000")
    assert code == 1 and not result["held"]
    assert result["unsent"] > 0 and f"{result['unsent']} unsent" in result["failure"]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["loopback", "unicast"])
def test_flood_measures_both_priorities_in_turns(transport: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = measured(capsys, "--flood", "--transport", transport, "--rate", "300")
    assert code == 0 and result["held"] and result["settings"]["flood"]
    assert (result["lost"], result["extra"], result["disordered"], result["unsent"]) == (0, 0, 0, 0)
    for load in ("high_idle_ms", "high_in_flood_ms"):
        assert result[load]["count"] == pytest.approx(150 * 3, abs=30)
        assert 0 < result[load]["p50"] <= result[load]["p99"] <= result[load]["max"]
    assert result["low_alone_per_s"] > 300 and result["low_beside_high_per_s"] > 300
    assert result["low_ratio"] == pytest.approx(result["low_beside_high_per_s"] / result["low_alone_per_s"], rel=0.01)
    assert result["high_p50_ratio"] > 0


def test_flood_says_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--flood --transport loopback --nodes 2 --rate 200 --size 16 --duration 0.3 --warmup 0.1"
    assert main(["latency", *flags.split()]) == 0
    output = capsys.readouterr().out
    assert "in the flood, ms" in output and "p99" in output
    assert "messages/s alone and" in output and "0 changes of configuration" in output


def test_flood_draws_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["latency", "--flood", "--plot", str(tmp_path / "curve.png")]) == 2
    assert "leave one of them out" in capsys.readouterr().err
