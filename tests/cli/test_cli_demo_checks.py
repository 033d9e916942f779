"""The checks of the demonstration: a good run passes, and each fault put into it is caught by its check.

The good run is made by hand: three processors form a ring; 2 is killed; 1 and 3 go on, one message being delivered only
in the transitional configuration; 2 comes back and is sent the state.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from ringproto.cli.demo.checks import Expected, check_all, parts_of
from ringproto.cli.demo.log import (
    Complete,
    Delivered,
    Entry,
    Note,
    ProcessLog,
    Regular,
    StreamDigest,
    Transitional,
    encode_all,
)

FIRST, SECOND, THIRD = "2.1.aa", "3.1.bb", "4.1.cc"
EXPECTED = Expected(nodes=(1, 2, 3), quorum=2, victim=2, records=9, contents_hash="contents")

Edit = Callable[[dict[str, ProcessLog]], None]


def alone(node: int) -> list[Entry]:
    ring = f"1.{node}.00"
    return [Regular(0.1, ring, (node,), (node,), (), False), Transitional(0.2, ring, (node,))]


def offers(ring: str, members: tuple[int, ...]) -> list[Entry]:
    return [Delivered(ring, i + 1, "r", member, "O", member) for i, member in enumerate(members)]


def record(ring: str, seq: int, mid: str) -> Delivered:
    return Delivered(ring, seq, mid.rpartition(".")[2][0], int(mid.partition(".")[0]), mid, hash(mid) % 1000)


def good_run() -> dict[str, ProcessLog]:
    everybody, survivors = (1, 2, 3), (1, 3)
    first: list[Entry] = [
        *offers(FIRST, everybody),
        Complete(0.4, FIRST, 6, everybody),
        record(FIRST, 7, "1.0.h0"),
        record(FIRST, 8, "2.0.l0"),
        record(FIRST, 9, "3.0.l0"),
        record(FIRST, 10, "2.0.h0"),
    ]
    second: list[Entry] = [
        Transitional(1.4, FIRST, survivors),
        record(FIRST, 11, "3.0.l1"),
        Regular(1.5, SECOND, survivors, (), (2,), True),
        *offers(SECOND, survivors),
        Complete(1.6, SECOND, 4, survivors),
        record(SECOND, 5, "3.0.h0"),
        record(SECOND, 6, "1.0.l0"),
        Transitional(2.0, SECOND, survivors),
    ]
    third: list[Entry] = [
        *offers(THIRD, everybody),
        Delivered(THIRD, 4, "r", 1, "B", 5),
        Delivered(THIRD, 5, "r", 1, "E", 6),
        Complete(2.4, THIRD, 8, everybody),
        Note(2.4, "state taken over", {"from": 1, "entries": 7, "bytes": 100, "revision": 7, "revision_before": 0}),
        record(THIRD, 9, "2.1.l0"),
        record(THIRD, 10, "2.1.h0"),
    ]
    lives = {}
    for node in everybody:
        joined = tuple(other for other in everybody if other != node)
        entries = [*alone(node), Regular(0.3, FIRST, everybody, joined, (), True), *first]
        if node in survivors:
            tail = [entry for entry in third if not isinstance(entry, Note)]
            entries += [*second, Regular(2.1, THIRD, everybody, (2,), (), True), *tail]
        lives[str(node)] = ProcessLog(node, 0, entries)
    lives["2"].killed = True
    del lives["2"].entries[-1]  # it had not come so far
    lives["2'"] = ProcessLog(2, 1, [*alone(2), Regular(2.1, THIRD, everybody, (1, 3), (), True), *third])
    accepted = {"1": (1, 1), "3": (1, 2), "2'": (1, 1)}
    for name, (high, low) in accepted.items():
        lives[name].accepted = {"h": high, "l": low}
        lives[name].report = {"state_hash": "state", "contents_hash": "contents", "revision": 9, "entries": 9}
    for life in lives.values():
        digest = StreamDigest()
        for entry in life.entries:
            digest.add(entry)
            life.audited.append(digest.state())
    del lives["1"].audited[1::3]  # it says so now and then
    lives["1"].audited.append(digest_of(lives["1"]))
    return lives


def digest_of(life: ProcessLog) -> tuple[int, str]:
    digest = StreamDigest()
    for entry in life.entries:
        digest.add(entry)
    return digest.state()


def broken(lives: dict[str, ProcessLog]) -> dict[str, list[str]]:
    checks = check_all(list(lives.values()), EXPECTED)
    return {check.name: check.violations for check in checks if not check.held}


def test_a_good_run_holds() -> None:
    assert broken(good_run()) == {}


def test_a_log_comes_over_the_pipe_as_it_was() -> None:
    for life in good_run().values():
        values, ring = encode_all(life.entries[:4], "")
        more, _ = encode_all(life.entries[4:], ring)
        received = ProcessLog(life.node, life.number)
        received.extend(json.loads(json.dumps(values)))
        received.extend(json.loads(json.dumps(more)))
        assert received.entries == life.entries


def test_parts_know_what_stood_before_the_completion() -> None:
    parts = parts_of(good_run()["1"])
    assert [part.regular.ring for part in parts] == ["1.1.00", FIRST, SECOND, THIRD]
    assert [part.complete_after for part in parts] == [0, 3, 2, 5]
    assert [len(part.delivered_transitional) for part in parts] == [0, 1, 0, 0]


def find(life: ProcessLog, mid: str) -> int:
    return next(i for i, entry in enumerate(life.entries) if isinstance(entry, Delivered) and entry.mid == mid)


def change(life: str, mid: str, /, **fields: Any) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        place = find(lives[life], mid)
        entry = entries[place]
        assert isinstance(entry, Delivered)
        entries[place] = entry._replace(**fields)

    return edit


def remove(life: str, mid: str) -> Edit:
    return lambda lives: lives[life].entries.pop(find(lives[life], mid)) and None


def change_regular(life: str, ring: str, /, **fields: Any) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        for place, entry in enumerate(entries):
            if isinstance(entry, Regular) and entry.ring == ring:
                entries[place] = entry._replace(**fields)

    return edit


def change_kind(kind: type, life: str, ring: str, /, **fields: Any) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        for place, entry in enumerate(entries):
            if isinstance(entry, kind) and getattr(entry, "ring", "") == ring:
                entries[place] = entry._replace(**fields)  # type: ignore[union-attr]

    return edit


def move(life: str, mid: str, places: int) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        place = find(lives[life], mid)
        entries.insert(place + places, entries.pop(place))

    return edit


def everywhere(*edits: Edit) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        for one in edits:
            one(lives)

    return edit


def report(life: str, **fields: Any) -> Edit:
    return lambda lives: lives[life].report.update(fields)


def drop(life: str, kind: type, ring: str) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        entries[:] = [e for e in entries if not (isinstance(e, kind) and getattr(e, "ring", "") == ring)]

    return edit


def doubled_complete(lives: dict[str, ProcessLog]) -> None:
    entries = lives["3"].entries
    place = next(i for i, e in enumerate(entries) if isinstance(e, Complete) and e.ring == SECOND)
    entries.insert(place, entries[place])


def end_before(life: str, ring: str) -> Edit:
    def edit(lives: dict[str, ProcessLog]) -> None:
        entries = lives[life].entries
        place = next(i for i, e in enumerate(entries) if isinstance(e, Regular) and e.ring == ring)
        del entries[place:]

    return edit


def complete_earlier(lives: dict[str, ProcessLog]) -> None:
    entries = lives["3"].entries
    place = next(i for i, e in enumerate(entries) if isinstance(e, Complete) and e.ring == SECOND)
    entries.insert(place - 1, entries.pop(place))


def never_killed(lives: dict[str, ProcessLog]) -> None:
    lives["2"].killed = False


def no_note(lives: dict[str, ProcessLog]) -> None:
    lives["2'"].entries = [e for e in lives["2'"].entries if not isinstance(e, Note)]


def lose_at_all(mid: str, *names: str) -> Edit:
    return everywhere(*(remove(name, mid) for name in names))


FAULTS: dict[str, tuple[str, str, Edit]] = {
    "does not begin alone": ("history", "did not begin", lambda lives: lives["3"].entries.__delitem__(slice(0, 2))),
    "not a member of its own": ("history", "its members are", change_regular("1", SECOND, members=(2, 3))),
    "two member sets for one ring": ("history", "elsewhere", change_regular("3", SECOND, members=(1, 2, 3))),
    "primary without a quorum": ("history", "primary is True", change_regular("3", "1.3.00", primary=True)),
    "joined is wrong": ("history", "not the difference", change_regular("1", THIRD, joined=())),
    "left is wrong": ("history", "not the difference", change_regular("1", SECOND, left=())),
    "ring ids fall": (
        "history",
        "must rise",
        everywhere(*(change_kind(k, "1", "1.1.00", ring="2.0.00") for k in (Regular, Transitional))),
    ),
    "no transitional": ("history", "no transitional", drop("3", Transitional, SECOND)),
    "transitional of strangers": (
        "history",
        "the transitional configuration before it",
        change_kind(Transitional, "3", SECOND, members=(1, 2, 3)),
    ),
    "another message at a place": ("order", "has the place of", change("3", "2.0.l0", mid="2.0.l7")),
    "another payload": ("order", "has the place of", change("3", "2.0.l0", checksum=12345)),
    "seq falls": ("order", "came after seq", move("3", "1.0.l0", -1)),
    "delivered twice": ("order", "delivered twice", change("1", "3.0.l0", mid="2.0.l0", sender=2)),
    "a foreign ring's message": ("order", "belongs to configuration", change("1", "3.0.l0", ring=SECOND)),
    "a gap after the completion": ("order", "was due", remove("2", "2.0.l0")),
    "a recovery message is missing": ("order", "unblocks stand before it", remove("2'", "B")),
    "one delivered less": ("together", "only one delivered", remove("3", "3.0.l1")),
    "one delivered it in the regular configuration": ("together", "only one delivered", move("3", "3.0.l1", -1)),
    "one completed in the transitional configuration": (
        "together",
        "RecoveryComplete at",
        lambda lives: move_complete_into_transitional(lives),
    ),
    "HIGH before the completion": ("barrier", "came before RecoveryComplete", move("1", "1.0.h0", -1)),
    "RECOVERY after the completion": ("barrier", "came after RecoveryComplete", move("2'", "E", 1)),
    "completed at another place": ("barrier", "elsewhere at 4", change_kind(Complete, "3", SECOND, seq=5)),
    "completed twice": ("barrier", "came 2 times", doubled_complete),
    "completed for others": ("barrier", "came for", change_kind(Complete, "1", THIRD, members=(1, 3))),
    "completed without a quorum": ("barrier", "without a quorum", change_regular("1", SECOND, primary=False)),
    "no completion and messages": ("barrier", "before RecoveryComplete", drop("1", Complete, SECOND)),
    "accepted and never delivered": (
        "accepted",
        "2 HIGH messages were accepted, 1 were delivered",
        lambda lives: lives["1"].accepted.update(h=2),
    ),
    "own message lost in the middle": (
        "accepted",
        "number 0 of its sender was due",
        lose_at_all("3.0.l0", "1", "2", "3"),
    ),
    "not first in first out": (
        "accepted",
        "was due",
        everywhere(*(change(name, "3.0.l0", mid="3.0.l2") for name in ("1", "2", "3"))),
    ),
    "sent by another": ("accepted", "came as sent by", change("1", "2.0.l0", sender=3)),
    "a message of another vanished from the stream": ("stream", "are not those", remove("1", "2.0.l0")),
    "two messages changed places": ("stream", "are not those", move("3", "2.0.l0", -1)),
    "completed before its recovery messages": ("stream", "are not those", complete_earlier),
    "another payload than was delivered": ("stream", "are not those", change("2", "2.0.l0", checksum=12345)),
    "the last message was not given": ("stream", "was given", remove("1", "2.1.h0")),
    "more was given than was delivered": ("stream", "was given", lambda lives: lives["3"].audited.pop() and None),
    "nobody says what was delivered": ("stream", "its ring delivered 0", lambda lives: lives["3"].audited.clear()),
    "states differ": ("state", "another state", report("3", state_hash="other")),
    "a record is missing": ("state", "missing: line 4", report("1", contents_hash="other", missing=["line 4"])),
    "a record too many": ("state", "applied 10 records", report("1", revision=10)),
    "a value differs": ("state", "a value differs", report("1", contents_hash="other")),
    "no final state": ("state", "no final state", lambda lives: lives["1"].report.clear()),
    "one is missing at the end": ("state", "at the end are", lambda lives: lives.__delitem__("3")),
    "nobody was killed": ("story", "should have been killed", never_killed),
    "did not come back": ("story", "did not end in", end_before("1", THIRD)),
    "was not sent the state": ("story", "was not sent the state", no_note),
    "HIGH did not flow again": (
        "story",
        "did not both flow",
        lose_at_all("2.1.h0", "1", "3", "2'"),
    ),
    "survivors did not go on": (
        "story",
        "did not go on",
        lose_at_all("3.0.h0", "1", "3"),
    ),
}


def move_complete_into_transitional(lives: dict[str, ProcessLog]) -> None:
    """In the second configuration, at processor 3: the transitional configuration comes before the completion."""
    entries = lives["3"].entries
    place = next(i for i, e in enumerate(entries) if isinstance(e, Transitional) and e.ring == SECOND)
    ahead = next(i for i, e in enumerate(entries) if isinstance(e, Complete) and e.ring == SECOND)
    entries.insert(ahead, entries.pop(place))


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_caught_by_its_check(name: str) -> None:
    check, text, edit = FAULTS[name]
    lives = good_run()
    before = copy.deepcopy(lives)
    edit(lives)
    assert lives != before, "the edit changed nothing"
    violations = broken(lives)
    assert check in violations, violations
    assert any(text in violation for violation in violations[check]), violations[check]


def test_a_killed_process_may_lack_the_end_of_its_log() -> None:
    lives = good_run()
    for length in range(len(lives["2"].entries), 0, -1):
        del lives["2"].entries[length:]
        assert broken(lives) == {}


def test_violations_are_bounded() -> None:
    lives = good_run()
    for place, entry in enumerate(lives["3"].entries):
        if isinstance(entry, Delivered):
            lives["3"].entries[place] = entry._replace(checksum=-1)
    assert len(broken(lives)["order"]) == 5


def test_a_line_that_is_not_a_log_is_an_error() -> None:
    for value in (["X", 1], ["R", 1], [], ["N"]):
        with pytest.raises((ValueError, TypeError, KeyError)):
            ProcessLog(1, 0).extend([value])
