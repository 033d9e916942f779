"""What all tests of transports share: none of them waits for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from types import FrameType

import pytest

GIVEN_UP_AFTER_S = 120


@pytest.fixture(autouse=True)
def given_up() -> Iterator[None]:
    """End a test that hangs. A virtual clock does not, when nobody waits for a time."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def give_up(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the test was given up after {GIVEN_UP_AFTER_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(GIVEN_UP_AFTER_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
