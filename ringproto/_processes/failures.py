"""The ways in which a command ends badly, and how that is told in one line.

A command that was called wrongly raises :class:`UsageError` (exit code 2); one whose run did not hold raises
:class:`RunFailedError` (exit code 1), and one that a signal ended :class:`InterruptedRunError` (128 and the signal's
number). All become one line on standard error, never a traceback.
"""

from __future__ import annotations

import re
import reprlib
import signal

__all__ = [
    "InterruptedRunError",
    "RunFailedError",
    "UsageError",
    "describe_error",
    "one_line",
    "printable",
    "shown",
    "told",
]

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
