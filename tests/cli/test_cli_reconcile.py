"""How replicas agree on one state, without a ring: messages are handed over by hand, in one order to all."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ringproto import RingId
from ringproto.cli.demo.reconcile import Offer, ReconcileError, Reconciliation, state_messages
from ringproto.cli.demo.store import Store

RING = RingId(9, 1, 77)
EMPTY = Offer((0, 0, 0), 0, Store().chain)


def store_of(*keys: int) -> Store:
    store = Store()
    for key in keys:
        store.put(b"%d" % key, b"value")
    return store


def offer_of(store: Store, epoch: int = 0) -> Offer:
    return Offer((epoch, 0, 0), store.revision, store.chain)


def rounds_of(offers: dict[int, Offer]) -> dict[int, Reconciliation]:
    members = tuple(sorted(offers))
    return {node: Reconciliation(RING, members, offer, node) for node, offer in offers.items()}


def deliver(rounds: dict[int, Reconciliation], sender: int, payloads: Iterable[bytes]) -> None:
    for payload in payloads:
        for current in rounds.values():
            current.deliver(sender, payload)


def offered(offers: dict[int, Offer]) -> dict[int, Reconciliation]:
    rounds = rounds_of(offers)
    for node, offer in offers.items():
        deliver(rounds, node, [offer.encode()])
    return rounds


def test_an_empty_newcomer_takes_over_the_state_whole() -> None:
    full = store_of(*range(2000))
    rounds = offered({1: EMPTY, 2: offer_of(full, 5), 3: offer_of(full, 5)})
    assert {current.leader for current in rounds.values()} == {2}
    assert all(current.needs_state for current in rounds.values())
    deliver(rounds, 2, state_messages(full))
    taken = rounds[1].result()
    assert taken is not None and taken.state_hash() == full.state_hash()
    assert rounds[2].result() is None and rounds[3].result() is None


def test_equal_histories_need_no_state() -> None:
    rounds = offered({1: offer_of(store_of(1, 2), 5), 2: offer_of(store_of(1, 2), 4)})
    assert not any(current.needs_state for current in rounds.values())
    assert rounds[2].result() is None


def test_all_empty_replicas_need_no_state() -> None:
    rounds = offered({1: EMPTY, 2: EMPTY})
    assert rounds[1].leader == 1 and not rounds[1].needs_state and rounds[1].result() is None


def test_no_leader_before_every_offer_is_there() -> None:
    rounds = rounds_of({1: EMPTY, 2: EMPTY})
    deliver(rounds, 1, [EMPTY.encode()])
    assert rounds[1].leader is None and not rounds[1].needs_state and not rounds[1].replaces_own


def test_the_later_configuration_leads_although_another_applied_more() -> None:
    ahead_of_its_own, main_line = store_of(1, 2, 3, 4, 5), store_of(1, 2, 6)
    rounds = offered({1: offer_of(ahead_of_its_own, 4), 2: offer_of(main_line, 5)})
    assert rounds[1].leader == 2 and rounds[1].replaces_own


def test_an_empty_replica_never_leads_whatever_configuration_it_saw() -> None:
    rounds = offered({1: EMPTY._replace(epoch=(9, 0, 0)), 2: offer_of(store_of(1), 4)})
    assert rounds[1].leader == 2


def test_the_higher_revision_leads_within_one_configuration_and_then_the_lower_node() -> None:
    assert offered({1: offer_of(store_of(1), 4), 2: offer_of(store_of(1, 2), 4)})[1].leader == 2
    rounds = offered({1: offer_of(store_of(1), 4), 2: offer_of(store_of(2), 4)})
    assert rounds[1].leader == 1 and rounds[2].replaces_own


def test_completion_before_the_offers_or_before_the_state_is_an_error() -> None:
    full = store_of(*range(2000))
    rounds = rounds_of({1: EMPTY, 2: offer_of(full)})
    with pytest.raises(ReconcileError, match=r"offers of \[1, 2\] are missing"):
        rounds[1].result()
    rounds = offered({1: EMPTY, 2: offer_of(full)})
    deliver(rounds, 2, list(state_messages(full))[:-1])
    with pytest.raises(ReconcileError, match="state of processor 2 is not"):
        rounds[1].result()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda messages: messages[:1] + messages[2:],
        lambda messages: [messages[0], messages[1], *messages[1:]],
        lambda messages: [messages[0], messages[1][:-1] + b"\0", *messages[2:]],
        lambda messages: messages[1:],
        lambda messages: [*messages, messages[-1]],
        lambda messages: [messages[0][:-5], *messages[1:]],
        lambda messages: [messages[0], messages[1][:-3], *messages[2:]],
        lambda messages: [messages[0], b"?", *messages[1:]],
    ],
    ids=["part lost", "part twice", "part altered", "no begin", "end twice", "begin torn", "part torn", "unknown"],
)
def test_a_state_that_does_not_arrive_as_it_was_sent_is_an_error(spoil: object) -> None:
    full = store_of(*range(5000))
    rounds = offered({1: EMPTY, 2: offer_of(full)})
    messages = list(state_messages(full))
    assert len(messages) > 4
    with pytest.raises(ReconcileError):
        deliver({1: rounds[1]}, 2, spoil(messages))  # type: ignore[operator]


def test_state_from_another_than_the_leader_and_a_second_offer_are_errors() -> None:
    full = store_of(1, 2, 3)
    with pytest.raises(ReconcileError, match="processor 1 sent state, but the leader is 2"):
        deliver(offered({1: EMPTY, 2: offer_of(full)}), 1, state_messages(full))
    with pytest.raises(ReconcileError, match="two offers"):
        deliver(offered({1: EMPTY, 2: EMPTY}), 1, [EMPTY.encode()])
    with pytest.raises(ReconcileError, match="not a member"):
        deliver(rounds_of({1: EMPTY, 2: EMPTY}), 3, [EMPTY.encode()])


def test_a_state_other_than_the_one_offered_is_an_error() -> None:
    rounds = offered({1: EMPTY, 2: offer_of(store_of(1, 2, 3))})
    with pytest.raises(ReconcileError, match="did not offer"):
        deliver(rounds, 2, state_messages(store_of(3, 2, 1)))
