"""docs/command-line.md says what the commands take, no more and no less."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from ringproto.__main__ import build_parser
from ringproto.cli.demo.checks import CHECKS
from ringproto.cli.node.settings import settings_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")


def section(command: str) -> str:
    _, _, rest = DOCUMENT.partition(f"\n## `ringproto {command}`\n")
    assert rest
    return rest.partition("\n## ")[0]


def parser_of(command: str) -> argparse.ArgumentParser:
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    parser = commands.choices[command]
    assert isinstance(parser, argparse.ArgumentParser)
    return parser


@pytest.mark.parametrize("command", ["demo", "latency", "chaos", "node", "simulate"])
def test_every_flag_is_in_the_table_of_its_command(command: str) -> None:
    taken = {s for a in parser_of(command)._actions for s in a.option_strings if s.startswith("--")} - {"--help"}
    first_cells = re.findall(r"^\| (`-[^|]*) \|", section(command), re.MULTILINE)
    assert {flag for cell in first_cells for flag in re.findall(r"`(--[a-z-]+)`", cell)} == taken


@pytest.mark.parametrize("command", ["demo", "latency", "chaos"])
def test_the_defaults_are_those_of_the_parser(command: str) -> None:
    documented = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]*?) ?\|", section(command), re.MULTILINE))
    for action in parser_of(command)._actions:
        name = action.dest
        if name in documented and action.default not in (None, False):
            default = f"{action.default:g}" if isinstance(action.default, float) else str(action.default)
            assert documented[name] == default, name


def test_every_check_of_the_demonstration_is_explained() -> None:
    assert re.findall(r"^\| `([a-z]+)` \|", section("demo"), re.MULTILINE) == list(CHECKS)


def test_the_toml_example_is_understood(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
    file = tmp_path / "node.toml"
    file.write_text(example)
    settings = settings_of(parser_of("node").parse_args(["--config", str(file)]))
    assert settings.transport["peers"][3] == ("10.0.0.3", 5001)
    assert (settings.config.cluster, settings.config.quorum, settings.config.token_timeout_s) == ("kitchen", 2, 1.0)
