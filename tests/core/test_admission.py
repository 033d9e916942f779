"""To whom this processor listens, whom it refuses, and whose refusal it accepts."""

from __future__ import annotations

from typing import Any

import pytest
from wire_samples import LIMITS

from ringproto._core.counters import Counters
from ringproto._core.entropy import Entropy
from ringproto._core.membership.admission import Admission
from ringproto._core.membership.peers import Freshness
from ringproto._core.wire.membership import Identity, Limits, Refuse
from ringproto.config import MUST_BE_EQUAL, Config

CONFIG = Config(quorum=2, members_max=64, message_size_max=2**20, window_size=256).fitted(1400)
INCARNATION = Entropy(bytes(16)).next()
"""The incarnation of each processor here."""
OTHER = {
    "quorum": 3,
    "members_max": 65,
    "message_size_max": 2**20 + 1,
    "window_size": 255,
    "datagram_size": 1401,
}


class Me(Admission):
    """Processor 5."""

    def __init__(self, config: Config = CONFIG) -> None:
        self.counters = Counters()
        super().__init__(5, config, 1400, INCARNATION, Entropy(bytes(16)), self.counters)


def identity(serial: int = 1, incarnation: int = 77, limits: Limits = LIMITS) -> Identity:
    return Identity(incarnation, serial, limits)


def differing(field: str) -> Limits:
    return LIMITS._replace(**{field: OTHER[field]})


def test_identity_has_a_serial_that_rises_and_the_limits_in_use() -> None:
    me = Me()
    assert [me.identity() for _ in range(3)] == [Identity(me.incarnation, serial, LIMITS) for serial in (1, 2, 3)]
    assert me.serial == 3


def test_news_of_others_that_live_is_heard_and_what_is_not_is_counted() -> None:
    me = Me()
    assert me.hear(1, identity(4), 0.0, present=False) is Freshness.UNPROVEN
    me.peers.believe(1, 77, 4, 0.0)
    assert me.hear(1, identity(4), 0.0, present=False) is Freshness.NEWS
    assert me.hear(1, identity(4), 0.0, present=False) is Freshness.LATE
    assert me.hear(1, identity(3), 0.0, present=False) is Freshness.LATE
    assert me.counters.values == {"dropped_late_copy": 2, "dropped_unproven": 1}
    assert me.incarnation_of(1) == 77
    assert me.incarnation_of(9) is None


def test_own_id_is_not_refused_whatever_its_limits() -> None:
    assert Me().refusal(5, identity(limits=differing("quorum")), 1, 0.0) is None


@pytest.mark.parametrize("field", MUST_BE_EQUAL)
def test_processor_with_another_limit_is_not_listened_to(field: str) -> None:
    me = Me()
    assert not me.suits(identity(limits=differing(field)))
    assert me.counters.values == {"dropped_other_limits": 1}
    assert me.suits(identity())
    assert me.refusal(1, identity(limits=differing(field)), 3, 0.0) == Refuse(1, 77, 3, LIMITS)


def test_equal_limits_are_not_refused() -> None:
    assert Me().refusal(1, identity(), 3, 0.0) is None


def test_refusal_is_said_to_each_once_in_a_while() -> None:
    me = Me()
    stranger = identity(limits=differing("quorum"))
    spacing = CONFIG.consensus_timeout_s
    assert me.refusal(1, stranger, 3, 10.0) is not None
    assert me.refusal(1, stranger, 3, 10.0 + 0.9 * spacing) is None
    assert me.refusal(2, stranger, 3, 10.0 + 0.9 * spacing) is not None
    # Those that were not answered do not put the next answer off.
    assert spacing == 0.25
    assert me.refusal(1, stranger, 3, 10.25) is not None


def test_memory_of_the_refused_is_bounded() -> None:
    config = CONFIG.replace(members_max=2, consensus_timeout_s=100.0)
    me = Me(config)
    stranger = identity(limits=LIMITS)  # members_max differs
    for node in range(10, 30):
        assert me.refusal(node, stranger, 1, float(node)) is not None
    # Eight are remembered; the first was forgotten and is answered again.
    assert me.refusal(29, stranger, 1, 30.0) is None
    assert me.refusal(22, stranger, 1, 30.0) is None
    assert me.refusal(21, stranger, 1, 30.0) is not None
    assert me.refusal(10, stranger, 1, 30.0) is not None


def test_strangers_together_are_refused_once_a_join_timeout_and_a_few_at_once() -> None:
    me = Me()
    stranger = identity(limits=differing("quorum"))
    refused = [node for node in range(10, 110) if me.refusal(node, stranger, 3, 10.0)]
    assert refused == list(range(10, 18))
    # Whom there was no answer for is not remembered as refused.
    assert CONFIG.join_timeout_s == 0.02
    later = [
        me.refusal(50, stranger, 3, 10.01),
        me.refusal(51, stranger, 3, 10.021),
        me.refusal(52, stranger, 3, 10.022),
    ]
    assert [answer is not None for answer in later] == [False, True, False]
    flood = sum(me.refusal(1000 + turn, stranger, 3, 11.0 + turn / 5000) is not None for turn in range(5000))
    assert flood <= 8 + 1.0 / CONFIG.join_timeout_s + 1


def refuse(**changes: Any) -> Refuse:
    return Refuse(5, INCARNATION, 1, differing("window_size"))._replace(**changes)


@pytest.mark.parametrize("field", MUST_BE_EQUAL)
def test_refusal_names_the_field_and_both_values(field: str) -> None:
    failure = Me().refused(1, refuse(limits=differing(field)), 1)
    assert failure is not None
    assert f"{field} is {OTHER[field]} there and {getattr(LIMITS, field)} here" in str(failure)
    for other in MUST_BE_EQUAL:
        assert (f"{other} is" in str(failure)) == (other == field)


def test_refusal_names_all_fields_that_differ() -> None:
    failure = Me().refused(1, refuse(limits=differing("quorum")._replace(window_size=9)), 1)
    assert failure is not None
    assert "quorum is 3 there and 2 here; window_size is 9 there and 256 here" in str(failure)


def test_refusal_of_somebody_else_or_of_an_earlier_life_is_not_mine() -> None:
    me = Me()
    assert me.refused(1, refuse(target=6), 1) is None
    assert me.refused(1, refuse(target_incarnation=INCARNATION - 1), 1) is None
    assert me.counters.values == {"dropped_not_for_me": 2}


def test_refusal_over_equal_limits_means_nothing() -> None:
    me = Me()
    assert me.refused(1, refuse(limits=LIMITS), 1) is None
    assert me.counters.values == {"refusals_received": 1}


@pytest.mark.parametrize(
    ("sender", "theirs", "mine", "right"),
    [
        (1, 1, 1, True),  # of equals the smaller id
        (9, 1, 1, False),
        (9, 2, 1, True),  # the larger ring
        (1, 1, 2, False),
        (1, 3, 3, True),
        (9, 3, 3, False),
    ],
)
def test_larger_ring_is_right_and_of_equals_the_smaller_id(sender: int, theirs: int, mine: int, right: bool) -> None:
    assert (Me().refused(sender, refuse(members=theirs), mine) is not None) is right


def test_of_two_that_refuse_each_other_exactly_one_stops() -> None:
    for members in ((1, 1), (1, 2), (2, 1), (4, 4)):
        stops = []
        for node, other in ((5, 9), (9, 5)):
            one = Admission(node, CONFIG, 1400, INCARNATION, Entropy(bytes(16)), Counters())
            here, there = members if node == 5 else members[::-1]
            answer = Refuse(node, INCARNATION, there, differing("quorum"))
            stops.append(one.refused(other, answer, here) is not None)
        assert sorted(stops) == [False, True]
