"""What the logs of a run say: how much came when, how late, and whether anything was lost, doubled or out of order."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate, compress, pairwise
from pathlib import Path

from bench.suite.traffic import HEADER_SIZE, first_word, sender_of

__all__ = ["Mistakes", "ReceiverLog", "faults"]


class ReceiverLog:
    """What one member received in one run, in its order."""

    def __init__(self, headers: bytes, batches: bytes) -> None:
        """
        Raises:
            ValueError: the two do not tell of the same number of messages.
        """
        both = array("Q", headers)
        self.words = both[::2]
        """The words of all messages (traffic.py)."""
        self._dues = both[1::2]
        pairs = array("Q", batches)
        self._times = pairs[::2]
        self._counts = pairs[1::2]
        # _ends[i]: messages of the first i batches
        self._ends = [0, *accumulate(self._counts)]
        if self._ends[-1] != len(self.words):
            raise ValueError(f"the batches have {self._ends[-1]} messages and the headers {len(self.words)}")

    @classmethod
    def read(cls, stem: str) -> ReceiverLog:
        """Read the files that ``Log.write`` wrote, and remove them."""
        files = [Path(stem + ".headers"), Path(stem + ".batches")]
        log = cls(*(file.read_bytes() for file in files))
        for file in files:
            file.unlink()
        return log

    def __len__(self) -> int:
        return len(self.words)

    def delivered(self, from_ns: int, to_ns: int) -> int:
        """How many messages came from ``from_ns`` on and before ``to_ns``."""
        first, last = (bisect_left(self._times, time_ns) for time_ns in (from_ns, to_ns))
        return self._ends[last] - self._ends[first]

    def latencies(self, from_ns: int, to_ns: int, only: int | None = None) -> list[int]:
        """How long messages took, in ns, from when they were due to their delivery, not sorted.

        Due, and not sent: who sends late, because the system held it up, is charged for that. Messages count that were
        due from ``from_ns`` on and before ``to_ns``, whenever they came; ``only``: those of that sender.
        """
        found: list[int] = []
        for time_ns, begin, end in zip(self._times, self._ends, self._ends[1:], strict=False):
            dues = self._dues[begin:end]
            if only is not None:
                dues = array("Q", compress(dues, (sender_of(word) == only for word in self.words[begin:end])))
            found += [time_ns - due for due in dues if from_ns <= due < to_ns]
        return found

    def longest_silence(self, from_ns: int, to_ns: int) -> int:
        """The longest time within these bounds, in ns, in which nothing was delivered."""
        marks = [from_ns, *(time_ns for time_ns in self._times if from_ns <= time_ns < to_ns), to_ns]
        return max(later - earlier for earlier, later in pairwise(marks))


class Mistakes:
    """What went wrong in a run; all are counts, over all receivers."""

    def __init__(self) -> None:
        self.lost = 0
        self.extra = 0
        """Doubled, of another run, or never sent."""
        self.disordered = 0
        """Messages that came earlier than one that their sender sent before them."""
        self.orders_differ = 0
        """Receivers whose sequence is not that of the first receiver, although a total order was promised."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.extra or self.disordered or self.orders_differ)

    def as_dict(self) -> dict[str, int]:
        return dict(vars(self))


def faults(logs: Mapping[int, ReceiverLog], sent: Mapping[int, int], round_number: int, *, ordered: bool) -> Mistakes:
    """Hold the logs of all receivers against what was sent.

    Args:
        logs: by receiver.
        sent: by sender, how many messages it sent in this round.
        ordered: whether a total order was promised: then all receivers must have the same sequence.
    """
    found = Mistakes()
    first: tuple[array[int], Mistakes] | None = None
    for log in logs.values():
        if first is not None and log.words == first[0]:
            one = first[1]  # what was found there is found here
        else:
            one = _faults_of(log.words, sent, round_number)
            found.orders_differ += ordered and first is not None
            first = first or (log.words, one)
        found.lost += one.lost
        found.extra += one.extra
        found.disordered += one.disordered
    return found


def _faults_of(words: array[int], sent: Mapping[int, int], round_number: int) -> Mistakes:
    found = Mistakes()
    known = 0
    for sender, count in sent.items():
        first = first_word(round_number, sender)
        mine = array("Q", [word for word in words if sender_of(word) == sender]) if len(sent) > 1 else words
        right = array("Q", range(first, first + count))
        if mine == right:
            known += count
            continue
        wanted = set(right)
        there = wanted.intersection(mine)
        found.lost += count - len(there)
        known += len(there)
        highest = -1
        for word in mine:
            if word in wanted:
                found.disordered += word < highest
                highest = max(highest, word)
    found.extra += len(words) - known
    return found


assert 2 * array("Q").itemsize == HEADER_SIZE  # a header is two of them
