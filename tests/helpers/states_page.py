"""The table and the diagram of states in docs/protocol.md, made from the table of the core.

``python tests/helpers/states_page.py`` writes them into the page; a test compares the page with what this makes.
"""

from __future__ import annotations

from pathlib import Path

from ringproto._core.states import IGNORED, TABLE, TURN, Input, Row, State

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
BEGIN, END = "<!-- made by tests/helpers/states_page.py: begin -->\n", "<!-- end -->\n"


def diagram() -> list[str]:
    """Which inputs lead from which state to which."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> gather"]
    for source in State:
        for target in State:
            inputs = [what.name for what in Input if target in TABLE[source][what].next]
            if target in TURN[source]:
                inputs.append("a turn")
            if inputs:
                lines.append(f"    {source.value} --> {target.value}: {', '.join(inputs)}")
    return [*lines, "```"]


def cell(row: Row) -> str:
    """What a row of the core's table says, in a cell of the page's."""
    if row.handler == IGNORED:
        return IGNORED
    states = [state.value for state in State if state in row.next]
    return f"`{row.handler}`" + (f" → {', '.join(states)}" if states else "")


def table() -> list[str]:
    """Every pair of input and state."""
    states = list(State)
    lines = [f"| input | {' | '.join(state.value for state in states)} |", f"| {'--- | ' * (len(states) + 1)}".rstrip()]
    lines += [f"| {what.name} | {' | '.join(cell(TABLE[state][what]) for state in states)} |" for what in Input]
    return lines


def made() -> str:
    """What stands between the two marks of the page."""
    text = (
        "The following table shows the same and is complete: it has every pair of input and state, with the method of\n"
        "`ringproto/_core/membership/` that handles it (a [handler](#the-handlers)), and the states that it can lead\n"
        "to. The inputs are the datagrams and then the timers.\n"
    )
    return "\n".join([*diagram(), "", text, *table(), ""])


def page_with(text: str, part: str) -> str:
    """A page whose marked part is this one."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{part}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), made()), encoding="utf-8")
