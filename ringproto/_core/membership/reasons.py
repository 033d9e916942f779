"""Why a ring ended, and why a member is not on the next one: what the notice of a configuration says.

The modules of membership say here what they act on, when they act on it. The first cause stands, because what follows
from it is no cause. All is forgotten when the next ring is installed.
"""

from __future__ import annotations

from collections.abc import Iterable

from ringproto.events import RegularConfiguration

_MAX = 512
"""Most processors of which a cause is remembered: two rings of the largest size."""


UNKNOWN = "the others went on without it"
"""Said of a member that is gone and of which nothing else is known."""


class Reasons:
    """What one processor knows of the end of its ring."""

    __slots__ = ("_gone", "_why")

    def __init__(self) -> None:
        self._why = ""
        self._gone: dict[int, str] = {}

    def ended(self, why: str) -> None:
        """This is why the ring ended."""
        self._why = self._why or why

    def gone(self, nodes: Iterable[int], why: str) -> None:
        """This is why these processors will not be on the next ring."""
        for node in nodes:
            if len(self._gone) < _MAX:
                self._gone.setdefault(node, why)

    def take(self, configuration: RegularConfiguration) -> tuple[str, dict[str, object]]:
        """The text and the fields of the notice of a configuration; what was known is forgotten."""
        why, gone = self._why, self._gone
        self._why, self._gone = "", {}
        left = {node: gone.get(node, UNKNOWN) for node in configuration.left}
        parts = [f"configuration {configuration.ring_id}: members {_listed(configuration.members)}"]
        if not configuration.primary:
            parts.append("no quorum")
        if configuration.joined:
            parts.append(f"joined: {_listed(configuration.joined)}")
        if left:
            parts.append("left: " + ", ".join(f"{node} ({cause})" for node, cause in left.items()))
        parts.append(f"cause: {why}")
        fields: dict[str, object] = {
            "ring_id": str(configuration.ring_id),
            "members": configuration.members,
            "joined": configuration.joined,
            "left": left,
            "primary": configuration.primary,
            "cause": why,
        }
        return "; ".join(parts), fields


def _listed(nodes: Iterable[int]) -> str:
    return ", ".join(map(str, nodes))
