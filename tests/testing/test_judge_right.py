"""Right runs are not blamed."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from judge_logs import (
    AGREED,
    HIGH,
    LOW,
    RECOVERY,
    RIGHT,
    SAFE,
    Logs,
    Script,
    aborted,
    calm,
    change,
    halves,
    large,
    ring_id_of,
    stretch,
)
from judge_wrong_stability import (
    left_out_after_the_stretch,
    live_member_is_left_out_and_comes_back,
    ring_forms_again_for_nothing,
)

from ringproto.testing.judge import RULES
from ringproto.testing.judge.transcript import (
    Delv,
    RegularConfiguration,
    Send,
    Stop,
    TokenRecord,
    Transcript,
    TransitionalConfiguration,
    Wait,
)


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_right_run_is_not_blamed(make: Callable[[], Logs]) -> None:
    assert make().judge(storage_survives=True, window_size=4, retransmits_max=1) == []


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_application_that_was_given_what_was_delivered_is_not_blamed(make: Callable[[], Logs]) -> None:
    """All of it where it read to the end, and a beginning of it where it did not."""
    logs = make().with_streams()
    assert logs.streams is not None
    for place, given in enumerate(logs.streams):
        if place % 2:
            logs.ended.add(place)
        else:
            del given[len(given) // 2 :]
    assert logs.judge() == []


def test_application_of_a_killed_process_may_have_more_than_its_torn_log() -> None:
    logs = calm().with_streams()
    logs.cut(2, logs.at(2, Delv, 3))
    assert logs.judge(truncated=True) == []
    assert {violation.rule for violation in logs.judge()} == {"S1"}


@pytest.mark.parametrize(
    ("make", "nodes"),
    [(calm, (1, 2, 3)), (change, (1, 2, 3)), (aborted, (1, 2)), (halves, (1, 2, 3))],
    ids=["calm", "change", "aborted", "halves"],
)
def test_right_end_is_not_blamed(make: Callable[[], Logs], nodes: tuple[int, ...]) -> None:
    logs = make()
    assert logs.judge(complete=logs.alive(*nodes)) == []


def test_a_change_outside_of_the_stretch_is_not_blamed() -> None:
    logs = left_out_after_the_stretch()
    within = stretch(1, 2, 3, formation=4, until=5, kept=True, changes_max=0)
    assert logs.judge(stretches=within) == []
    assert logs.judge(stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=0)) != []


def test_ring_whose_numbers_have_come_to_their_end_gives_way_to_another() -> None:
    within = stretch(1, 2, 3, formation=4, kept=True, changes_max=0)
    logs = ring_forms_again_for_nothing()
    assert [found.rule for found in logs.judge(stretches=within)] == ["stability"] * 3
    at = logs.at(2, TransitionalConfiguration, 0)
    logs.insert(2, at, TokenRecord(ring_id_of(logs, 4), 2**62, 1, 1, 0, 0, 0))
    assert [found for found in logs.judge(stretches=within) if found.rule == "stability"] == []


def test_who_is_behind_a_bad_link_may_be_left_out_once() -> None:
    allowed = stretch(1, 2, 3, formation=4, kept=False, changes_max=2)
    assert live_member_is_left_out_and_comes_back().judge(stretches=allowed) == []


@pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT)
def test_run_may_be_judged_at_any_moment(make: Callable[[], Logs]) -> None:
    """A run that is not over is right too: its logs up to one moment, which is any consistent cut of them."""
    whole = make()
    script = whole.script
    # Without the messages nobody is ahead of anybody: cut each log at its last configurations, in turn.
    for ring_sequence in range(1, script.formations + 1):
        logs = make()
        for log in logs.logs:
            later = [
                index
                for index, record in enumerate(log)
                if isinstance(record, RegularConfiguration) and record.ring_id.sequence > ring_sequence
            ]
            if later:
                del log[later[0] :]
        logs.logs = [log for log in logs.logs if len(log) > 1]
        assert logs.judge() == []


def test_empty_payloads_have_no_identity() -> None:
    logs = calm()
    mids = {f"1.{0x100}.{number}" for number in (3, 4)} | {f"2.{0x200}.2"}
    found = 0
    for log in logs.logs:
        for index, record in enumerate(log):
            if getattr(record, "mid", None) in mids:
                log[index] = record._replace(mid="")  # type: ignore[call-arg]
                found += 1
    assert found == 3 * 5
    assert logs.judge() == []


def test_log_of_a_killed_process_may_lack_its_end() -> None:
    """The sends of 3 are in no log any more, but the others delivered them."""
    for length in range(1, 60):
        logs = calm()
        log = logs.log(3)
        if length >= len(log):
            break
        del log[length:]
        assert logs.judge(truncated=True) == [], length
    assert length > 30


def test_log_of_a_killed_process_may_be_lost() -> None:
    logs = calm()
    logs.logs = [log for log in logs.logs if log is not logs.log(3)]
    assert logs.judge(truncated=True) == []
    logs.logs.append([])
    assert logs.judge(truncated=True) == []


def test_killed_process_is_told_from_one_that_lost_records_in_the_middle() -> None:
    logs = calm()
    logs.drop(3, Send)
    logs.insert(3, -1, Stop("clean"))
    assert {violation.rule for violation in logs.judge(truncated=True)} >= {"E1.3"}


def test_sample_of_waiting_for_after_the_stop_is_ignored() -> None:
    logs = calm()
    logs.insert(3, -1, Stop("clean"), Wait((3,)))
    assert logs.judge() == []


def test_restart_with_an_older_sequence_is_right_where_storage_does_not_survive() -> None:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.stop(2)
    script.formations = 0
    script.start(2)
    logs = script.logs()
    logs.change(2, RegularConfiguration, to={"ring_id": logs.log(2)[1].ring_id._replace(nonce=77)})  # type: ignore
    assert logs.judge() == []
    assert {violation.rule for violation in logs.judge(storage_survives=True)} == {"M1"}


def test_two_generals_out_of_one_ring_are_right() -> None:
    """2 was in 1's transitional configuration and goes elsewhere; neither has anything that the other must have."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.install(1, 2, only=(1,))
    script.install(2)
    assert script.logs().judge() == []


def test_hole_at_the_end_of_the_regular_configuration_is_right() -> None:
    """The last of a dead processor's messages reach nobody, and those before them only in part."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    for _ in range(3):
        script.send(3)
    script.deliver(1, 4)
    script.deliver(2, 4)
    script.stop(3)
    script.install(1, 2)
    assert script.logs().judge() == []


def test_messages_of_every_priority_and_guarantee_are_right() -> None:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    for guarantee in (AGREED, SAFE):
        script.send(2, RECOVERY, guarantee)
    script.recover(1, 2)
    for node in (1, 2):
        for priority in (LOW, HIGH, LOW):
            for guarantee in (AGREED, SAFE):
                script.send(node, priority, guarantee)
    script.deliver_all(1, 2)
    logs = script.logs()
    assert logs.judge(complete=logs.alive(1, 2)) == []


def test_text_names_the_processor_the_ring_and_the_message() -> None:
    logs = calm()
    logs.change(2, Delv, to={"digest": "0"}, seq=8)
    (violation,) = logs.judge()
    text = str(violation)
    assert text.startswith("E1.4: 2.200: in 4.1.0000000000abc004: ")
    assert "message 3.768.1 (seq 8)" in text and "3.300" in text
    assert logs.log(2)[violation.index].seq == 8  # type: ignore[union-attr]


def test_violations_of_one_rule_are_bounded() -> None:
    logs = large(20_000)
    for index, record in enumerate(logs.log(1)):
        if isinstance(record, TokenRecord):
            logs.log(1)[index] = record._replace(backlog=-1)
    violations = logs.judge()
    assert {violation.rule for violation in violations} >= {"K5"}
    assert sum(violation.rule == "K5" for violation in violations) == 20


def test_every_rule_has_its_own_function_with_its_text() -> None:
    assert len(set(RULES.values())) == len(RULES) >= 45
    assert all(rule.__doc__ for rule in RULES.values())


@pytest.mark.slow
def test_a_million_records_are_judged() -> None:
    logs = large(1_000_000)
    transcripts: list[Transcript] = logs.transcripts()
    began = time.process_time()
    assert logs.judge(complete=None, window_size=1000) == []
    used_s = time.process_time() - began
    print(f"\n{sum(map(len, transcripts))} records of {len(transcripts)} lives in {used_s:.1f} s of processor time")
