"""The examples in docs/transports.md run, and its list of statistics is whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from transport_openers import GROUP, free_ports

import ringproto.transports
from ringproto.transports.interfaces import find_interface

DOCUMENT = Path(__file__).parents[2] / "docs" / "transports.md"
SOURCES = Path(ringproto.transports.__file__).parent

pytestmark = pytest.mark.skipif(not DOCUMENT.exists(), reason="the documentation is not beside the tests")


def examples() -> dict[str, str]:
    """The code blocks by the heading they stand under, those under one heading joined."""
    found: dict[str, str] = {}
    for section in re.split(r"^## ", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            found[section.splitlines()[0]] = "\n".join(blocks)
    return found


EXAMPLES = examples() if DOCUMENT.exists() else {}


def here(code: str) -> str:
    """The example with the interface and the ports of this host."""
    one, two = free_ports(2)
    loopback = find_interface("127.0.0.1", 4).name
    for before, after in (("5001", f"{one}"), ("5002", f"{two}"), ("eth0", loopback), ("239.192.7.1", GROUP)):
        code = code.replace(before, after)
    return code


def test_every_way_of_opening_has_an_example() -> None:
    together = "\n".join(EXAMPLES.values())
    for name in ("LoopbackNetwork(", "open_unicast_udp(", "open_multicast_udp(", "check_transport"):
        assert name in together


@pytest.mark.parametrize("heading", EXAMPLES)
def test_example_runs(heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(here(EXAMPLES[heading]), f"docs/transports.md, {heading}", "exec"), names)
    if "In memory" in heading:
        printed = capsys.readouterr().out
        assert printed.count("b'to all'") + printed.count("b'to 2'") >= 2
    for name, test in list(names.items()):
        if name.startswith("test_"):
            for check in names["CONTRACT"]:
                test(check)


def test_every_statistic_is_documented() -> None:
    text = DOCUMENT.read_text()
    names = set()
    for file in SOURCES.glob("*.py"):
        source = file.read_text()
        names.update(re.findall(r'_counts\["([a-z_]+)"\] \+=', source))
        for method in re.findall(r"def (?:statistics|_gauges).*?(?=\n    def |\nclass |\Z)", source, flags=re.DOTALL):
            names.update(re.findall(r'"([a-z_]+)":', method))
            names.update(re.findall(r'\["([a-z_]+)"\] =', method))
    assert {"datagrams_sent", "drops_lost", "receive_buffer_bytes", "drops_receive_buffer_full", "rejoins"} <= names
    assert not [name for name in sorted(names) if f"`{name}`" not in text]
