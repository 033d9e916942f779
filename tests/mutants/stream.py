"""Mutants of the way from the audit to the application: what is said to be delivered is right, what arrives is not."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    Mutant(
        "completion-before-its-recovery-messages",
        "The messages of a packet go into the stream together, after the completion that the last chunk of it brings: "
        "the application hears that recovery is complete and gets recovery messages after that.",
        (
            Edit(
                "packets/delivery",
                "                self._add(messages, size)\n                messages = []\n                size = 0\n"
                "                self._deliver_unblock(",
                "                self._deliver_unblock(",
            ),
        ),
    ),
    Mutant(
        "messages-of-a-packet-reversed",
        "The messages of one packet come to the application in the opposite order.",
        (Edit("packets/delivery", "self._events.extend(messages)", "self._events.extend(messages[::-1])"),),
    ),
    Mutant(
        "message-of-another-vanishes",
        "Of a packet of another processor with many messages the last one never reaches the application.",
        (
            Edit(
                "packets/delivery",
                "        self._add(messages, size)\n\n",
                "        if len(messages) > 3 and sender not in self._barrier._table:\n            messages.pop()\n"
                "        self._add(messages, size)\n\n",
            ),
        ),
    ),
    Mutant(
        "newest-first",
        "An application that takes less than there is gets the newest events.",
        (Edit("packets/delivery", "event = events.popleft()", "event = events.pop()"),),
    ),
)
"""The judge reads audits, so it sees none of these but by comparing (rules S1 and S2)."""
