"""What every command shares: the two ways to end badly, and the check for the packages of the extra ``cli``.

A command that was called wrongly raises :class:`UsageError` (exit code 2); one whose run did not hold raises
:class:`RunFailedError` (exit code 1), and one that a signal ended :class:`InterruptedRunError` (128 and the signal's
number). All become one line on standard error, never a traceback.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import reprlib
import signal
import stat
import sys
from typing import Any, NoReturn

__all__ = [
    "NODES_MAX",
    "InterruptedRunError",
    "OneLineParser",
    "RunFailedError",
    "UsageError",
    "console",
    "describe_error",
    "need_extra",
    "one_line",
    "positive",
    "printable",
    "read_regular",
    "shown",
    "told",
    "whole",
]

NODES_MAX = 16
"""Most processors that a command starts on this host."""

_WIDTH = 120
_SHOWN_MAX = 60
"""So many characters of a value are shown in a message."""
_TOLD_MAX = 1000
"""Longest message, in characters."""
_LONG_WORD = re.compile(rf"\S{{{_SHOWN_MAX + 20},}}")
_BITS_MAX = 128

_values = reprlib.Repr()
_values.maxstring = _values.maxother = _values.maxlong = _SHOWN_MAX


class UsageError(Exception):
    """The command was called wrongly; the text says what would be right."""


class RunFailedError(Exception):
    """The command was called rightly, and what it ran did not hold."""


class InterruptedRunError(RunFailedError):
    """A signal ended the run."""

    def __init__(self, number: int) -> None:
        super().__init__(f"interrupted by {signal.Signals(number).name}")
        self.exit_code = 128 + number
        """What a shell makes of a process that a signal ended."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {told(message)} (see {self.prog} --help)\n")


def one_line(text: object) -> str:
    """The text with its line breaks and runs of spaces made single spaces."""
    return " ".join(str(text).split())


def printable(text: str) -> str:
    """The text with everything that a terminal would obey made an escape."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def told(text: object) -> str:
    """What goes to standard error: one line, of bounded length, in which no word is longer than a value that is shown.

    Much of it was given by whoever called the command, and may be anything.
    """
    line = printable(one_line(text))
    line = _LONG_WORD.sub(lambda word: f"{word[0][:_SHOWN_MAX]}...", line)
    return line if len(line) <= _TOLD_MAX else f"{line[:_TOLD_MAX]}..."


def shown(value: object) -> str:
    """A value as Python would write it, but with some 60 characters at most."""
    if isinstance(value, int) and value.bit_length() > _BITS_MAX:
        return f"a number of {value.bit_length()} bits"
    try:
        text = _values.repr(value)
    except ValueError:  # there is a number in it that has too many digits to be written
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def describe_error(error: BaseException) -> str:
    """What went wrong, in one line; the errors in a group are taken out of it."""
    inner = getattr(error, "exceptions", None)
    if inner:
        return "; ".join(describe_error(one) for one in inner)
    return f"{type(error).__name__}: {one_line(error)}"


def read_regular(file: str, bytes_max: int) -> bytes:
    """The content of a file that somebody named, and that may be anything: a pipe, a device, a disk's worth of data.

    Raises:
        UsageError: it cannot be read, is not a regular file, or has more than ``bytes_max`` bytes.
    """
    try:
        # Without waiting for somebody to write into what may be a pipe.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as source:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UsageError(f"{file} is not a regular file")
            data = source.read(bytes_max + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"cannot read {file}: {error}") from error
    if len(data) > bytes_max:
        raise UsageError(f"{file} is larger than {bytes_max} bytes, the most that is read of it")
    return data


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
