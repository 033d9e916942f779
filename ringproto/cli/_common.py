"""What every command shares: its parser, types of arguments, and the check for the packages of the extra ``cli``.

The errors by which a command ends badly are in ``ringproto._processes.failures``.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import Any, NoReturn

from ringproto._processes.failures import UsageError, shown, told

__all__ = ["NODES_MAX", "OneLineParser", "console", "need_extra", "positive", "whole"]

NODES_MAX = 16
"""Most processors that a command starts on this host."""

_WIDTH = 120


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {told(message)} (see {self.prog} --help)\n")


def need_extra(*modules: str) -> None:
    """Raise :class:`UsageError` unless the modules, which come with the extra ``cli``, can be imported."""
    packages = {"hdrh": "hdrhistogram", "rich": "rich", "matplotlib": "matplotlib", "tomli": "tomli"}
    missing = [packages[module] for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(f"this needs {' and '.join(missing)}: pip install 'ringproto[cli]'")


def whole(least: int, greatest: int) -> type[int]:
    """A type for argparse: a whole number in the range."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= greatest:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {greatest}, not {shown(text)}")
        return value

    return convert  # type: ignore[return-value]  # argparse calls it like a type


def console() -> Any:
    """The terminal, or whatever standard output is: then wide enough that tables stay whole."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH
    return Console(markup=False, highlight=False, emoji=False, width=width)


def positive(greatest: float) -> type[float]:
    """A type for argparse: a number above 0, up to ``greatest``."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = 0.0
        if not 0.0 < value <= greatest:
            raise argparse.ArgumentTypeError(f"must be a number above 0 and at most {greatest:g}, not {shown(text)}")
        return value

    return convert  # type: ignore[return-value]  # argparse calls it like a type
