"""The results as Markdown, and their place in docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.suite.tables import Table

__all__ = ["MarkersMissingError", "markdown", "write_between_markers"]

BEGIN = "<!-- results of `make bench` begin -->"
END = "<!-- results of `make bench` end -->"


class MarkersMissingError(Exception):
    """The document has no place for results."""


def _table(table: Table) -> str:
    lines = [f"**{table.title}**", "", "| " + " | ".join(table.head) + " |"]
    # Figures stand on the right, as far as Markdown knows that.
    lines.append("| --- |" + " ---: |" * (len(table.head) - 1))
    lines += ["| " + " | ".join(row) + " |" for row in table.rows]
    return "\n".join(lines) + "\n"


def markdown(
    tables: Sequence[Table], about: Mapping[str, str], absent: Mapping[str, str], failures: Sequence[str]
) -> str:
    """A section: where and how it was measured, all tables, what could not be measured."""
    parts = ["\n".join(f"- {name}: {value}" for name, value in about.items()) + "\n"]
    parts += [_table(table) for table in tables]
    if absent:
        parts.append("Not measured: " + "; ".join(f"{name} ({reason})" for name, reason in absent.items()) + ".\n")
    if failures:
        parts.append("Runs that failed: " + "; ".join(failures) + ".\n")
    return "\n".join(parts)


def write_between_markers(file: Path, section: str) -> None:
    """Replace what stands between the two markers of a document.

    Raises:
        MarkersMissingError: it does not have both, once, in order.
    """
    text = file.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise MarkersMissingError(f"{file} must have the lines {BEGIN} and {END}, once and in this order")
    file.write_text(f"{before}{BEGIN}\n\n{section}\n{END}{after}")
