"""What the core says of what happened: each configuration with its causes, limits that differ, and what was missed."""

from __future__ import annotations

from typing import Any

import pytest
from papers import Three, deaf_to_data, say
from rings import CONFIG, DATAGRAM_SIZE, make_ring
from test_refusal import HERE, OTHER

from ringproto._core import Notice
from ringproto._core.membership.reasons import Reasons
from ringproto._core.notices import Notices
from ringproto.config import MUST_BE_EQUAL
from ringproto.events import RegularConfiguration
from ringproto.testing.simulator.cluster import Cluster
from ringproto.types import RingId


def said(cluster: Cluster, node: int, kind: str = "configuration") -> list[Notice]:
    """The notices of a processor that were not asked for yet."""
    return [notice for notice in cluster.hosts[node].take_notices() if notice.kind == kind]


def fields(notice: Notice) -> dict[str, Any]:
    return dict(notice.fields)


def forget(cluster: Cluster, *nodes: int) -> None:
    for node in nodes:
        cluster.hosts[node].take_notices()


def test_first_configuration_says_that_the_processor_has_started() -> None:
    cluster, _ = make_ring(1)
    (notice,) = said(cluster, 1)
    assert not notice.warning
    assert notice.text.endswith("members 1; cause: it has started")
    assert fields(notice)["members"] == (1,) and fields(notice)["cause"] == "it has started"


def test_joining_is_said_by_the_ring_with_who_wanted_to_come() -> None:
    cluster, _ = make_ring(1, 2)
    forget(cluster, 1, 2)
    cluster.start(3)
    assert cluster.run_until_settled((1, 2, 3))
    (notice,) = said(cluster, 1)
    assert "members 1, 2, 3; joined: 3; cause: processor 3 wants to join" in notice.text
    assert fields(notice)["joined"] == (3,) and fields(notice)["left"] == {}


def test_orderly_leave_is_the_cause_and_said_of_the_member() -> None:
    cluster, _ = make_ring(1, 2, 3)
    forget(cluster, 1, 2)
    cluster.leave(3)
    assert cluster.run_until_settled((1, 2))
    causes = set()
    for node in (1, 2):
        (notice,) = said(cluster, node)
        cause = fields(notice)["left"][3]
        assert f"left: 3 ({cause}); cause: " in notice.text
        causes.add(cause)
    # One of the two heard it first, and the other one may have been told by its join.
    assert "left in an orderly way" in causes
    assert causes <= {"left in an orderly way", "given up by 1", "given up by 2"}


def test_crash_is_a_lost_token_and_a_member_that_did_not_answer() -> None:
    cluster, _ = make_ring(1, 2, 3)
    forget(cluster, 1, 2)
    cluster.crash(3)
    assert cluster.run_until_settled((1, 2))
    causes = {node: fields(said(cluster, node)[-1]) for node in (1, 2)}
    lost = f"no token came for {CONFIG.token_timeout_s:g} s"
    # One of the two noticed it, and the other one was told by its join.
    noticed = [node for node in causes if causes[node]["cause"] == lost]
    assert noticed
    for node in causes:
        assert causes[node]["cause"] in (lost, *(f"member {other} looks for another ring" for other in noticed))
    gone = {causes[node]["left"][3] for node in causes}
    own = {"answered neither the token nor a join", f"did not agree within {CONFIG.consensus_timeout_s:g} s"}
    assert gone & own
    assert gone <= own | {"given up by 1", "given up by 2"}


def test_processor_that_started_anew_is_the_cause() -> None:
    cluster, _ = make_ring(1, 2, 3)
    forget(cluster, 1, 2)
    cluster.crash(3)
    cluster.restart(3)
    assert cluster.run_until_settled((1, 2, 3))
    causes = {fields(notice)["cause"] for node in (1, 2) for notice in said(cluster, node)}
    assert "processor 3 has started anew" in causes or "processor 3 wants to join" in causes


def test_merge_names_the_other_ring() -> None:
    cluster, _ = make_ring(1, 2, 3, 4)
    cluster.partition((1, 2), (3, 4))
    assert cluster.run_until(lambda: cluster.formed((1, 2)) and cluster.formed((3, 4)))
    cluster.run(0.5)
    forget(cluster, 1, 2, 3, 4)
    cluster.heal()
    assert cluster.run_until_settled((1, 2, 3, 4))
    causes = [fields(notice)["cause"] for node in (1, 2, 3, 4) for notice in said(cluster, node)]
    assert any("is on another ring; they merge" in cause for cause in causes)


def test_failure_to_receive_is_said_with_its_time(judged: list[Cluster]) -> None:
    ring = Three(judged)
    forget(ring.cluster, 1, 2)
    deaf_to_data(ring.wire, 3)
    for number in range(5):
        say(ring.cluster, 1, number)
    assert ring.cluster.run_until(lambda: ring.cluster.formed((1, 2)))
    causes = [fields(notice) for node in (1, 2) for notice in said(ring.cluster, node)]
    failed = f"failed to receive for {CONFIG.fail_to_receive_s:g} s"
    assert any(one["left"].get(3) == failed for one in causes)
    assert any(one["cause"] == f"member 3 {failed}" for one in causes)


def test_configuration_without_quorum_says_so() -> None:
    cluster, _ = make_ring(1, 2, 3, quorum=2)
    forget(cluster, 1)
    cluster.partition((1,), (2, 3))
    assert cluster.run_until(lambda: cluster.configuration(1).members == (1,))
    notice = said(cluster, 1)[-1]
    assert "members 1; no quorum; left: 2 (" in notice.text
    assert fields(notice)["primary"] is False


@pytest.mark.parametrize("field", MUST_BE_EQUAL)
def test_limits_that_differ_are_named_on_both_sides(field: str) -> None:
    cluster, _ = make_ring(3, 5)
    forget(cluster, 3, 5)
    cluster.start(9, config=CONFIG.replace(**{field: OTHER[field]}))
    newcomer = cluster.processor(9)
    assert cluster.run_until(lambda: newcomer.left)
    there = [notice for node in (3, 5) for notice in said(cluster, node, "limits_refused")]
    differ = f"{field} is {OTHER[field]} there and {HERE[field]} here"
    assert there and all(notice.warning for notice in there)
    assert {notice.text for notice in there} == {f"processor 9 is not let in: {differ}"}
    assert {fields(notice)["processor"] for notice in there} == {9}
    assert f"{field} is {HERE[field]} there and {OTHER[field]} here" in str(newcomer.failure)


def test_member_of_a_ring_says_that_a_larger_one_refuses_it() -> None:
    cluster = Cluster(1, CONFIG, datagram_size=DATAGRAM_SIZE)
    cluster.partition((1, 2), (3, 4, 5))
    cluster.start(1, 2, config=CONFIG.replace(window_size=OTHER["window_size"]))
    cluster.start(3, 4, 5)
    assert cluster.run_until(lambda: cluster.formed((1, 2)) and cluster.formed((3, 4, 5)))
    forget(cluster, 1, 2, 3, 4, 5)
    cluster.heal()
    cluster.run(1.0)
    notices = said(cluster, 1, "limits_refused")
    assert any("refuses this one: window_size is 32 there and 31 here" in notice.text for notice in notices)
    assert not cluster.processor(1).left


# The list


def test_notices_that_nobody_takes_are_bounded_and_the_rest_is_counted() -> None:
    notices = Notices()
    for number in range(100):
        notices.add("kind", f"text {number}", number=number)
    taken = notices.take()
    assert [notice.text for notice in taken[:64]] == [f"text {number}" for number in range(36, 100)]
    assert [notice.kind for notice in taken[64:]] == ["notices_missed"]
    assert "36 more" in taken[64].text
    assert notices.take() == [] and not notices.waiting


def test_last_notice_of_each_kind_is_kept_whatever_comes_behind_it() -> None:
    notices = Notices()
    for number in range(3):
        notices.add("configuration", f"members {number}")
    for number in range(100):
        notices.add("put_off", f"text {number}")
    taken = notices.take()
    assert [notice.text for notice in taken if notice.kind == "configuration"] == ["members 2"]
    assert [notice.text for notice in taken if notice.kind == "put_off"] == [f"text {n}" for n in range(37, 100)]
    assert "39 more" in taken[-1].text


# The causes


def configuration(*members: int, left: tuple[int, ...] = ()) -> RegularConfiguration:
    return RegularConfiguration(RingId(7, members[0], 9), members, (), left, True)


def test_first_cause_stands_and_all_is_forgotten_with_the_configuration() -> None:
    reasons = Reasons()
    reasons.ended("the first")
    reasons.ended("what followed")
    reasons.gone((3,), "the first of it")
    reasons.gone((3, 4), "what followed")
    text, told = reasons.take(configuration(1, 2, left=(3, 4, 5)))
    assert told["cause"] == "the first"
    assert told["left"] == {3: "the first of it", 4: "what followed", 5: "the others went on without it"}
    assert text.endswith(
        "left: 3 (the first of it), 4 (what followed), 5 (the others went on without it); cause: the first"
    )
    assert reasons.take(configuration(1, left=(3,)))[1]["left"] == {3: "the others went on without it"}


def test_causes_that_are_remembered_are_bounded() -> None:
    reasons = Reasons()
    reasons.gone(range(100_000), "gone")
    assert len(reasons._gone) == 512
