"""What every command shares: the two ways to end badly, and the check for the packages of the extra ``cli``.

A command that was called wrongly raises :class:`UsageError` (exit code 2); one whose run did not hold raises
:class:`RunFailedError` (exit code 1). Both become one line on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from typing import Any, NoReturn

__all__ = [
    "NODES_MAX",
    "OneLineParser",
    "RunFailedError",
    "UsageError",
    "console",
    "describe_error",
    "need_extra",
    "one_line",
    "positive",
    "whole",
]

NODES_MAX = 16
"""Most processors that a command starts on this host."""

_WIDTH = 120


class UsageError(Exception):
    """The command was called wrongly; the text says what would be right."""


class RunFailedError(Exception):
    """The command was called rightly, and what it ran did not hold."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)} (see {self.prog} --help)\n")


def one_line(text: object) -> str:
    """The text with its line breaks and runs of spaces made single spaces."""
    return " ".join(str(text).split())


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line; the errors in a group are taken out of it."""
    inner = getattr(error, "exceptions", None)
    if inner:
        return "; ".join(describe_error(one) for one in inner)
    return f"{type(error).__name__}: {one_line(error)}"


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
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {greatest}, not {text!r}")
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
            raise argparse.ArgumentTypeError(f"must be a number above 0 and at most {greatest:g}, not {text!r}")
        return value

    return convert  # type: ignore[return-value]  # argparse calls it like a type
