"""What a command says itself, without what its ring says to the log."""

from __future__ import annotations

import re

_OF_THE_RING = re.compile(rb"(ringproto node: (info|warning): )?node \d+: ")


def own_words(stderr: bytes) -> list[bytes]:
    """The lines of the command."""
    return [line for line in stderr.splitlines() if not _OF_THE_RING.match(line)]
