"""The tables of the documentation say what the code says: configuration, statistics, states, rules."""

from __future__ import annotations

import ast
import dataclasses
import re
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from states_page import made, page_with

from ringproto import Config, Message, open_ring
from ringproto._core.membership.reasons import UNKNOWN
from ringproto._core.membership.ring_ends import LEFT_IN_ORDER
from ringproto._core.states import IGNORED, TABLE
from ringproto.config import _RANGES, MUST_BE_EQUAL
from ringproto.testing.judge import RULES
from ringproto.testing.simulator.cluster import Cluster
from ringproto.transports import LoopbackNetwork, open_unicast_udp

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def rows(text: str, columns: int) -> list[list[str]]:
    """The rows of all tables with so many columns, heads left out."""
    found = []
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if not line.startswith("|") or line.startswith("| ---") or following.startswith("| ---"):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == columns:
            found.append(cells)
    return found


def test_every_field_of_config_is_documented_as_it_is() -> None:
    documented = {row[0].strip("`"): row[1:] for row in rows(page("configuration.md"), 9)}
    assert list(documented) and set(documented) == {field.name for field in dataclasses.fields(Config)}
    for name, (unit, lan, wan, testing, least, greatest, _, meaning) in documented.items():
        for cell, preset in ((lan, Config.lan()), (wan, Config.wan()), (testing, Config.testing())):
            assert cell == f"`{getattr(preset, name)!r}`", name
        if name in _RANGES:
            assert (least, greatest) == tuple(f"`{limit!r}`" for limit in _RANGES[name]), name
        assert unit and meaning
        assert (unit == "s") == name.endswith("_s"), name


def test_what_must_be_equal_is_documented() -> None:
    section = page("configuration.md").partition("## What must be equal")[2].partition("\n## ")[0]
    for name in MUST_BE_EQUAL:
        assert f"`{name}`" in section or (name == "datagram_size" and "datagram size" in section)


def test_the_table_and_the_diagram_of_states_are_those_of_the_core() -> None:
    text = page("protocol.md")
    assert page_with(text, made()) == text, "run tests/helpers/states_page.py"


def test_every_handler_of_the_core_is_explained_and_no_other() -> None:
    handlers = {row.handler for rows_ in TABLE.values() for row in rows_.values()} - {IGNORED}
    section = page("protocol.md").partition("### The handlers")[2].partition("\n## ")[0]
    assert {row[0].strip("`") for row in rows(section, 2)} == handlers


def test_every_rule_of_the_judge_is_documented() -> None:
    documented = {row[0] for row in rows(page("testing.md").partition("## The judge")[2], 2)}
    assert documented == set(RULES)


def documented_statistics() -> set[str]:
    """The keys of docs/statistics.md."""
    return {key for row in rows(page("statistics.md"), 3) for key in re.findall(r"`([a-z_]+)`", row[0])}


def undocumented(keys: set[str]) -> set[str]:
    """Those that neither docs/statistics.md has nor, for the transports, docs/transports.md."""
    transports = page("transports.md").partition("\n## Statistics")[2]
    of_transports = {f"transport_{key}" for row in rows(transports, 3) for key in re.findall(r"`(\w+)`", row[0])}
    unknown = keys - documented_statistics() - of_transports
    errors = re.compile(r"transport_(send_errors|receive_errors|runs_refused)_E[A-Z]+")
    return {key for key in unknown if not errors.fullmatch(key)}


def counters_in_the_source() -> set[str]:
    """Every name that the core counts under, read from its source."""
    names: set[str] = set()
    for path in (ROOT / "ringproto" / "_core").rglob("*.py"):
        text = path.read_text()
        names.update(re.findall(r'counters\.add\("(\w+)"', text))
        names.update(re.findall(r'reason = "(\w+)"', text))
        names.update(re.findall(r'(?:return|else) "(d(?:ropped|uplicate)_\w+)"', text))
        names.update(re.findall(r'\btransmit\([^\n]*"(\w+)"\)', text))
        names.update(re.findall(r'_send_commit\([^\n]*"(\w+)"\)', text))
        names.update("dropped_" + reason for reason in re.findall(r'Malformed\("(\w+)"\)', text))
    return names


def test_every_counter_of_the_core_is_documented_and_no_other() -> None:
    counted = counters_in_the_source()
    assert len(counted) > 40, "the names are not found any more; this test needs other eyes"
    gauges = set(fresh_statistics())
    assert undocumented(counted | gauges) == set()
    service = ("transport_", "senders_waiting_", "log_")
    core = {key for key in documented_statistics() if not key.startswith(service)}
    assert core == counted | gauges


def fresh_statistics() -> dict[str, int | float]:
    """What a fresh processor has before anything is counted."""
    cluster = Cluster(1)
    cluster.start(1)
    return cluster.processor(1).statistics()


async def test_a_ring_under_faults_has_documented_statistics_only(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork(seed=3, latency_s=(0.0001, 0.002), loss=0.1, duplication=0.1)
    seen: dict[str, int | float] = {}

    async def processor(node: int) -> None:
        async with open_ring(network.open(node), config=Config.testing()) as ring:
            async for event in ring.events:
                seen.update(ring.statistics())
                if not isinstance(event, Message) and ring.configuration.members != (node,):
                    ring.low.send_nowait(b"x" * 5000)

    async with trio.open_nursery() as nursery:
        for node in (1, 2, 3):
            nursery.start_soon(processor, node)
        await trio.sleep(2.0)
        network.partition({1}, {2, 3})
        await trio.sleep(2.0)
        network.heal()
        await trio.sleep(2.0)
        nursery.cancel_scope.cancel()
    assert {"token_losses", "retransmissions", "configurations", "transport_drops_cut"} <= set(seen)
    assert undocumented(set(seen)) == set()


async def test_udp_has_documented_statistics_only() -> None:
    ports = []
    for _ in range(2):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            ports.append(probe.getsockname()[1])
    transport = await open_unicast_udp(1, {node: ("127.0.0.1", port) for node, port in enumerate(ports, 1)})
    async with open_ring(transport, config=Config.testing()) as ring:
        await ring.recovery_complete.receive()
        seen = ring.statistics()
    assert seen["transport_datagrams_sent"] > 0
    assert undocumented(set(seen)) == set()


@pytest.mark.parametrize("number", range(1, 16))
def test_every_departure_has_its_heading(number: int) -> None:
    assert re.search(rf"^### {number}\. \w", page("protocol.md"), re.MULTILINE)


def test_the_departures_that_the_code_names_are_there() -> None:
    named = set()
    for path in [*ROOT.glob("ringproto/**/*.py"), *ROOT.glob("docs/*.md")]:
        named.update(re.findall(r"departure (\d+)", path.read_text()))
    assert named
    headings = set(re.findall(r"^### (\d+)\. ", page("protocol.md"), re.MULTILINE))
    assert named <= headings


def test_the_modules_of_the_core_are_those_of_the_page() -> None:
    section = page("architecture.md").partition("## Modules of the core")[2].partition("\n## ")[0]
    core = ROOT / "ringproto" / "_core"
    modules = {path.relative_to(core).as_posix() for path in core.rglob("*.py") if path.name != "__init__.py"}
    assert {row[0].strip("`") for row in rows(section, 2)} == modules


def kinds_in_the_source(*patterns: str) -> dict[str, set[str]]:
    """Of each kind of line in the log the levels that the source gives it."""
    levels: dict[str, set[str]] = {}
    for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                level = level_of(node)
                if level is not None:
                    levels.setdefault(str(node.args[0].value), set()).add(level)
    return levels


def level_of(call: ast.Call) -> str | None:
    """The level of a line that a call says, ``None`` if it says none."""
    function = ast.unparse(call.func)
    if function.endswith(("log.info", "log.warning")):
        return function.rpartition(".")[2]
    if function.endswith("log.state"):
        return ast.unparse(call.args[0]).rpartition(".")[2].lower()
    flag: ast.expr | None = None
    if function.endswith("notices.add"):
        flag = next((keyword.value for keyword in call.keywords if keyword.arg == "warning"), None)
    elif function in ("Notice", "self._write"):
        flag = call.args[2] if len(call.args) > 2 else None
    else:
        return None
    return "info" if flag is not None and ast.unparse(flag) == "False" else "warning"


def test_every_kind_of_line_in_the_log_is_documented_with_its_level() -> None:
    said = kinds_in_the_source("ringproto/_core/**/*.py", "ringproto/_service/*.py")
    assert len(said) >= 12, "the kinds are not found any more; this test needs other eyes"
    documented = {row[0].strip("`"): {row[1]} for row in rows(page("logging.md"), 5)}
    assert documented == said


def kinds_of_the_transports() -> dict[str, set[str]]:
    """The same of the transports, where a kind may have a node or an error in it; the page writes N for both."""
    levels: dict[str, set[str]] = {}
    for path in ROOT.glob("transports/*.py"):
        source = path.read_text()
        for call in ast.walk(ast.parse(source)):
            level = level_of(call) if isinstance(call, ast.Call) else None
            if not isinstance(call, ast.Call) or level not in ("info", "warning") or not call.args:
                continue
            kinds = [call.args[int(ast.unparse(call.func).endswith("log.state"))]]
            if isinstance(kinds[0], ast.Name):  # given a name in the line before
                kinds = [
                    one
                    for assign in ast.walk(ast.parse(source))
                    if isinstance(assign, ast.Assign) and ast.unparse(assign.targets[0]) == kinds[0].id
                    for one in ([assign.value.body, assign.value.orelse] if isinstance(assign.value, ast.IfExp) else [])
                ]
            for kind in kinds:
                parts = kind.values if isinstance(kind, ast.JoinedStr) else [kind]
                text = "".join(str(one.value) if isinstance(one, ast.Constant) else "N" for one in parts)
                levels.setdefault(text, set()).add(level)
    return levels


def test_every_kind_of_line_of_the_transports_is_documented_and_no_other() -> None:
    section = page("transports.md").partition("## What is logged")[2].partition("\n## ")[0]
    said = kinds_of_the_transports()
    assert len(said) >= 20, "the kinds are not found any more; this test needs other eyes"
    documented: dict[str, set[str]] = {}
    for cell, level, _ in rows(section, 3):
        kinds = re.findall(r"`([^`]+)`", cell)
        levels = re.split(", | or ", level)
        for place, kind in enumerate(kinds):
            here = [levels[place]] if ", " in level else levels
            documented.setdefault("send N" if kind == "send" else kind, set()).update(here)
    assert documented == said


def test_every_cause_of_a_configuration_is_documented() -> None:
    section = page("logging.md").partition("The causes that stand in")[2].partition("\n## ")[0]
    documented = {row[0] for row in rows(section, 2)}
    calls = ("reasons.ended", "reasons.gone", "gather_without", "_give_up")
    said = {LEFT_IN_ORDER, UNKNOWN}
    for path in (ROOT / "ringproto" / "_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(calls):
                text = node.args[-1]
                said.update(map(cause, [text.body, text.orelse] if isinstance(text, ast.IfExp) else [text]))
    said -= {None, "member N ..."}  # names, whose texts are given elsewhere
    assert len(said) >= 10, "the causes are not found any more; this test needs other eyes"
    assert said == documented


def cause(text: ast.expr) -> str | None:
    """The text of a cause as the page writes it: numbers left out, processors called N; ``None`` if it is a name."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if not isinstance(text, ast.JoinedStr):
        return None
    parts = []
    for part in text.values:
        if isinstance(part, ast.Constant):
            parts.append(str(part.value))
        else:
            parts.append("N" if ast.unparse(part).strip("f'\"{}") in ("sender", "node") else "...")
    return "".join(parts)
