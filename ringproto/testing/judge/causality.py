"""The rules about cycles (E1.1, E2.3, E6.1-2), found by replaying all logs at once.

Every life has a finger on its log and moves it forward as far as it may. For E1.1 it may pass a delivery when the
message has been sent. For E2.3 a configuration is moreover passed by all who install it at one moment, as if it were a
single event. For E6 everything delivered is such an event, so what is built is the one total order itself. When no
finger can move and a log is not at its end, each waits for another one: following the waits gives the cycle.
Each replay is linear in the length of the logs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from ringproto.testing.judge.history import History, Incarnation, Stay, Violation
from ringproto.testing.judge.transcript import Delv, UnbDelv
from ringproto.types import RingId

__all__ = ["RULES"]


def e1_1_no_cycle(run: History) -> Iterator[Violation]:
    """Happened-before has no cycle: no message depends on one that was sent only after it was delivered."""
    replay = _Replay(run, together=False)
    replay.run()
    yield from replay.blame("E1.1", "happened-before has a cycle")


def e2_3_configuration_changes_are_consistent_cuts(run: History) -> Iterator[Violation]:
    """With each configuration taken as one event of all who install it, happened-before still has no cycle."""
    first = _Replay(run, together=False)
    first.run()
    if first.stuck():
        return  # E1.1 says it
    replay = _Replay(run, together=True)
    replay.run()
    yield from replay.blame("E2.3", "a configuration change is no consistent cut")


class _Replay:
    """Sends and deliveries of all lives; with ``together`` the configurations too."""

    def __init__(self, run: History, *, together: bool) -> None:
        self.run_ = run
        self.together = together
        self.lives = run.lives
        self.stay = [0] * len(run.lives)
        self.place = [-1] * len(run.lives)
        """In the stay's order; -1 is its configuration, the end its transitional configuration."""
        self.sent: dict[RingId, set[int]] = {ring_id: set() for ring_id in run.rings}
        self.waiting: dict[Any, list[int]] = defaultdict(list)
        self.waits_for: dict[int, tuple[Any, Incarnation]] = {}
        self.arrived: Counter[Any] = Counter()
        self.total: Counter[Any] = Counter()
        if together:
            for stay in run.stays():
                self.total[stay.ring_id] += 1
                self.total[_gate(stay)] += 1

    def run(self) -> None:
        ready = list(range(len(self.lives)))
        while ready:
            self._advance(ready.pop(), ready)

    def stuck(self) -> bool:
        return bool(self.waits_for)

    def _pass(self, key: Any, number: int, ready: list[int]) -> bool:
        """Whether all have come to this event; if so the others go on."""
        if not self.together:
            return True
        self.arrived[key] += 1
        if self.arrived[key] < self.total[key]:
            self.waiting[key].append(number)
            self.waits_for[number] = (key, self.lives[number])
            return False
        for other in self.waiting.pop(key, ()):
            del self.waits_for[other]
            self.place[other] += 1
            ready.append(other)
        return True

    def _advance(self, number: int, ready: list[int]) -> None:
        life = self.lives[number]
        while self.stay[number] < len(life.stays):
            stay = life.stays[self.stay[number]]
            place = self.place[number]
            if place < 0:
                if not self._pass(stay.ring_id, number, ready):
                    return
                place = self.place[number] = 0
            order, sent = stay.order, self.sent[stay.ring_id]
            while place < len(order):
                seq = order[place]
                if seq < 0:
                    sent.add(~seq)
                    for other in self.waiting.pop((stay.ring_id, ~seq), ()):
                        del self.waits_for[other]
                        ready.append(other)
                elif seq not in sent:
                    source = self.run_.rings[stay.ring_id].sent.get(seq)
                    if source is not None and source.stay.life is not life:
                        self.place[number] = place
                        self.waiting[stay.ring_id, seq].append(number)
                        self.waits_for[number] = ((stay.ring_id, seq), source.stay.life)
                        return
                place += 1
            self.place[number] = place
            if place == len(order) and not self._pass(_gate(stay), number, ready):
                return
            self.stay[number] += 1
            self.place[number] = -1

    def blame(self, rule: str, what: str) -> Iterator[Violation]:
        """One cycle, followed from the first life that is stuck."""
        if not self.waits_for:
            return
        numbers = {id(life): number for number, life in enumerate(self.lives)}

        def step(number: int) -> tuple[str, int]:
            key, other = self.waits_for[number]
            stay = self.lives[number].stays[self.stay[number]]
            if isinstance(key, tuple) and len(key) == 2 and key in self.waiting and stay.ring_id == key[0]:
                return f"{self.lives[number]} delivers seq {key[1]} of {key[0]}, sent later", numbers[id(other)]
            late = next(
                other
                for other in self.waits_for
                if other not in self.waiting[key] and self._comes_to(key, self.lives[other], self.stay[other])
            )
            return f"{self.lives[number]} installs {stay.ring_id}", late

        yield _cycle(rule, what, self.lives, min(self.waits_for), step, self._log_index)

    def _comes_to(self, key: Any, life: Incarnation, stay: int) -> bool:
        return any(key in (other.ring_id, _gate(other)) for other in life.stays[stay:])

    def _log_index(self, number: int) -> int:
        return self.lives[number].stays[self.stay[number]].configuration_at


def _gate(stay: Stay) -> Any:
    """The transitional configuration that ends this stay; its own when it is not known which one it is."""
    if stay.transitional is None or stay.following is None:
        return ("end", id(stay))
    return ("transitional", stay.ring_id, stay.following.ring_id)


def _cycle(
    rule: str,
    what: str,
    lives: list[Incarnation],
    start: int,
    step: Callable[[int], tuple[str, int]],
    log_index: Callable[[int], int],
) -> Violation:
    """Follow the waits until a life comes up again."""
    texts: list[str] = []
    seen: dict[int, int] = {}
    number = start
    while number not in seen:
        seen[number] = len(texts)
        text, following = step(number)
        texts.append(text)
        number = following
    return lives[number].violation(rule, log_index(number), f"{what}: {'; '.join(texts[seen[number] :])}")


def e6_1_one_total_order(run: History) -> Iterator[Violation]:
    """There is one total order of messages, unblocks and configurations that agrees with the log of every process."""
    sequences: list[list[Any]] = []
    for life in run.lives:
        keys: list[Any] = []
        for stay in life.stays:
            ring_id = stay.ring_id
            keys.append(ring_id)
            split = stay.regular_length
            for index, record in enumerate(stay.stream):
                if index == split:
                    keys.append(_gate(stay))
                if type(record) is Delv:
                    keys.append(record.mid or (ring_id, record.seq))
                elif type(record) is UnbDelv:
                    keys.append((ring_id, -record.node))
            if split == len(stay.stream):
                keys.append(_gate(stay))
        sequences.append(list(dict.fromkeys(keys)))
    total = Counter(chain.from_iterable(sequences))
    position = [0] * len(sequences)
    parked: dict[Any, list[int]] = {}
    ready = list(range(len(sequences)))
    while ready:
        number = ready.pop()
        sequence = sequences[number]
        place = position[number]
        end = len(sequence)
        while place < end:
            key = sequence[place]
            needed = total[key]
            if needed > 1:
                group = parked.get(key)
                if group is None:
                    parked[key] = [number]
                    break
                if len(group) + 1 < needed:
                    group.append(number)
                    break
                del parked[key]
                for other in group:
                    position[other] += 1
                ready += group
            place += 1
        position[number] = place
    stuck = [number for number, sequence in enumerate(sequences) if position[number] < len(sequence)]
    if not stuck:
        return

    def step(number: int) -> tuple[str, int]:
        key = sequences[number][position[number]]
        late = next(other for other in stuck if key in sequences[other][position[other] + 1 :])
        return f"{run.lives[number]} has {_say(key)} before {_say(sequences[late][position[late]])}", late

    def log_index(number: int) -> int:
        key = sequences[number][position[number]]
        for stay in run.lives[number].stays:
            if key == stay.ring_id:
                return stay.configuration_at
            for at, record in zip(stay.stream_at, stay.stream, strict=True):
                if isinstance(record, Delv) and key in (record.mid, (stay.ring_id, record.seq)):
                    return at
                if isinstance(record, UnbDelv) and key == (stay.ring_id, -record.node):
                    return at
        return 0

    yield _cycle("E6.1-2", "there is no one total order", run.lives, stuck[0], step, log_index)


def _say(key: Any) -> str:
    if isinstance(key, RingId):
        return f"configuration {key}"
    if isinstance(key, str):
        return f"message {key}"
    if key[0] == "transitional":
        return f"the transitional configuration from {key[1]} to {key[2]}"
    return f"the unblock of node {-key[1]} in {key[0]}" if key[1] < 0 else f"seq {key[1]} of {key[0]}"


RULES = {
    "E1.1": e1_1_no_cycle,
    "E2.3": e2_3_configuration_changes_are_consistent_cuts,
    "E6.1-2": e6_1_one_total_order,
}
