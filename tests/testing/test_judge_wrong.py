"""Every rule can fail: wrong logs, each made from a right one by one thing, and caught by the rule that it breaks.

Some rules follow from others (E6.1-2 from the rules about places and ids, for instance), and a log cannot break such a
rule without another one. Then the case names all that are broken, its own first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from judge_logs import (
    AGREED,
    HIGH,
    LOW,
    RECOVERY,
    SAFE,
    Logs,
    Script,
    aborted,
    calm,
    change,
    completed_in_transition,
    halves,
    obligation,
)

from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge import RULES
from ringproto.testing.transcript import (
    Abort,
    Delv,
    Free,
    Send,
    Start,
    Stop,
    Submit,
    Token,
    UnbDelv,
    UnbSend,
    Wait,
)
from ringproto.types import RingId

CASES: dict[str, tuple[set[str], Callable[[], Logs], dict[str, Any]]] = {}


def breaks(*rules: str, **options: Any) -> Callable[[Callable[[], Logs]], Callable[[], Logs]]:
    """A case: the function makes logs that break exactly these rules."""

    def add(make: Callable[[], Logs]) -> Callable[[], Logs]:
        assert make.__name__ not in CASES
        CASES[make.__name__] = (set(rules), make, options)
        return make

    return add


def _ring(logs: Logs, formation: int) -> RingId:
    """The id of that formation."""
    for log in logs.logs:
        for record in log:
            if isinstance(record, RegularConfiguration) and record.ring_id.sequence == formation:
                return record.ring_id
    raise LookupError(formation)


# E: order


@breaks("E1.1", "E5", "T2")
def two_messages_each_delivered_before_the_other_is_sent() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.unblock(1, 2)
    sent = [script.nodes[node].log.pop() for node in (1, 2)]
    script.deliver(1, 2)
    script.deliver(2, 1)
    for node in (1, 2):
        script.nodes[node].log.append(sent[node - 1])
    assert [node for node, _ in ring.sent] == [1, 2]
    return script.logs()


@breaks("E1.2")
def log_without_a_start() -> Logs:
    """It says who it is only after its first record."""
    logs = calm()
    script = Script()
    script.start(4)
    silent = script.logs().log(4)
    logs.logs.append([Token(RingId(1, 1, 1), 1, 0, 0, 0, 0, 0)])
    assert len(silent) == 3
    return logs


@breaks("E1.2")
def record_after_the_stop() -> Logs:
    logs = calm()
    logs.insert(2, -1, Stop("clean"), logs.log(2)[-1])
    logs.log(2)[-1] = Submit("2.late", LOW, AGREED, "0")
    return logs


@breaks("E1.2")
def incarnation_with_two_logs() -> Logs:
    logs = calm()
    logs.logs.append([Start(3, 0x300)])
    return logs


@breaks("E1.3")
def message_that_nobody_sent() -> Logs:
    logs = calm()
    logs.drop(3, Send)
    logs.drop(3, Submit)
    return logs


@breaks("E1.3")
def message_of_a_processor_without_a_log() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(2)
    script.deliver(1)
    logs = script.logs()
    logs.drop(2, Send)
    logs.drop(2, Submit)
    return logs


@breaks("E1.3")
def message_with_a_wrong_sender() -> Logs:
    logs = calm()
    logs.change(2, Delv, to={"sender": 1}, seq=8)
    return logs


@breaks("E1.3")
def message_delivered_before_it_is_sent() -> Logs:
    logs = calm()
    send = logs.drop(3, Send)
    logs.insert(3, logs.at(3, Delv, seq=8) + 1, send)
    return logs


@breaks("E1.4")
def message_sent_twice() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    submit = script.submit(1, RECOVERY)
    script.send(1, submit=submit)
    script.send(1, submit=submit)
    return script.logs()


@breaks("E1.4")
def message_sent_again_in_the_next_ring() -> Logs:
    """It is its turn in the queue again, and it is delivered again."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    submit = script.submit(1)
    script.send(1, submit=submit)
    script.deliver_all(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(1, submit=submit)
    script.deliver_all(1, 2)
    return script.logs()


@breaks("E1.4")
def two_messages_sent_to_one_place() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(1)
    script.nodes[1].ring.sent.pop()
    script.send(2)
    return script.logs()


@breaks("E1.4")
def other_payload_at_one_receiver() -> Logs:
    logs = calm()
    logs.change(3, Delv, to={"digest": "beef"}, seq=7)
    return logs


@breaks("E1.4")
def other_guarantee_at_one_receiver() -> Logs:
    logs = calm()
    logs.change(3, Delv, to={"guarantee": SAFE}, seq=7)
    return logs


@breaks("E1.4")
def other_priority_at_one_receiver() -> Logs:
    logs = calm()
    logs.change(3, Delv, to={"priority": LOW}, seq=8)
    return logs


@breaks("E1.4")
def message_where_others_have_an_unblock() -> Logs:
    logs = aborted()
    unblock = logs.log(2)[logs.at(2, UnbDelv, seq=4)]
    assert isinstance(unblock, UnbDelv)
    at = logs.at(3, UnbDelv, seq=4)
    logs.log(3)[at : at + 2] = [Delv("odd", 2, RECOVERY, AGREED, unblock.ring_id, 4, "0")]
    return logs


@breaks("E1.4", "E6.1-2")
def two_messages_exchanged_at_one_receiver() -> Logs:
    logs = calm()
    one, two = logs.at(2, Delv, seq=7), logs.at(2, Delv, seq=8)
    logs.swap(2, one, two)
    logs.change(2, Delv, to={"seq": 7}, seq=8)
    second = logs.log(2)[two]
    logs.log(2)[two] = second._replace(seq=8)  # type: ignore[call-arg]
    return logs


@breaks("E1.4", "E1.3")
def message_delivered_twice() -> Logs:
    """In the singleton and again in the ring, with a place of its own there."""
    logs = calm()
    first = logs.log(1)[logs.at(1, Delv)]
    assert isinstance(first, Delv)
    logs.insert(1, -1, first._replace(ring_id=_ring(logs, 4), seq=10))
    return logs


@breaks("E2.1", complete=[(1, 0x100), (2, 0x200)])
def member_of_the_last_configuration_is_gone() -> Logs:
    logs = calm()
    logs.insert(3, -1, Stop("crash"))
    return logs


@breaks("E2.2")
def message_sent_with_the_id_of_the_ring_before() -> Logs:
    logs = calm()
    logs.change(3, Send, to={"ring_id": _ring(logs, 3)})
    return logs


@breaks("E2.2")
def message_delivered_with_the_id_of_another_ring() -> Logs:
    logs = change()
    logs.change(2, Delv, to={"ring_id": _ring(logs, 4)}, ring_id=_ring(logs, 5))
    return logs


@breaks("E2.2")
def message_sent_in_the_transitional_configuration() -> Logs:
    logs = change()
    send = logs.drop(1, Send, ring_id=_ring(logs, 4), seq=10)
    logs.insert(1, logs.at(1, TransitionalConfiguration, ring_id=_ring(logs, 4)) + 1, send)
    return logs


@breaks("E2.2")
def message_before_the_first_configuration() -> Logs:
    logs = calm()
    logs.insert(3, 1, Submit("3.odd", HIGH, AGREED, "0"))
    return logs


@breaks("E2.3", "E6.1-2", "M1", "M5")
def two_configurations_in_another_order() -> Logs:
    """1 goes from ring A to B, 2 from B to A: no cut has both or neither."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.install(1, 2)
    logs = script.logs()
    a, b = _ring(logs, 3), _ring(logs, 4)
    logs.change(2, TransitionalConfiguration, to={"ring_id": b}, ring_id=a)
    logs.change(2, Abort, to={"ring_id": b}, ring_id=a)
    one, two = logs.at(2, RegularConfiguration, ring_id=a), logs.at(2, RegularConfiguration, ring_id=b)
    log: Any = logs.log(2)
    log[one], log[two] = log[one]._replace(ring_id=b), log[two]._replace(ring_id=a)
    return logs


@breaks("E3")
def own_message_is_never_delivered() -> Logs:
    """The last one sent before the change is lost for all, its sender too."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(1)
    script.install(1, 2)
    return script.logs()


@breaks("E3")
def own_unblock_is_never_delivered() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.install(1, 2)
    return script.logs()


@breaks("E4")
def one_of_two_misses_the_last_message_before_a_change() -> Logs:
    logs = change()
    logs.drop(2, Delv, ring_id=_ring(logs, 4), seq=10)
    return logs


@breaks("E4", "E6.1-2")
def one_delivers_in_the_regular_and_one_in_the_transitional_configuration() -> Logs:
    logs = change()
    delivery = logs.drop(2, Delv, ring_id=_ring(logs, 4), seq=7)
    logs.insert(2, logs.at(2, TransitionalConfiguration, ring_id=_ring(logs, 4)) + 1, delivery)
    return logs


@breaks("E4")
def one_of_two_misses_an_unblock_before_a_change() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(3)
    script.deliver(1)
    script.stop(3)
    script.install(1, 2)
    return script.logs()


@breaks("E5")
def own_messages_in_another_order() -> Logs:
    logs = calm()
    one, two = logs.at(1, Send, seq=6), logs.at(1, Send, seq=9)
    first, second = logs.log(1)[one], logs.log(1)[two]
    assert isinstance(first, Send) and isinstance(second, Send)
    logs.log(1)[one], logs.log(1)[two] = second, first
    submits = logs.at(1, Submit, mid=first.mid), logs.at(1, Submit, mid=second.mid)
    logs.swap(1, *submits)
    return logs


@breaks("E5", "T2")
def message_without_the_one_that_its_sender_had_delivered() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.deliver(2)
    script.send(2, RECOVERY)
    script.deliver(3, 2)
    return script.logs()


@breaks("E5", "E6.3")
def message_without_the_one_that_its_sender_had_sent() -> Logs:
    """In a transitional configuration, its sender in it."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    script.send(2)
    script.send(2)
    script.transitional(1, 1, 2)
    script.deliver(1, 4)
    return script.logs()


@breaks("E5")
def message_of_a_fellow_without_what_that_had_delivered() -> Logs:
    """2 delivered a message of 3, then sent; 1, in one transitional configuration with 2, has only the second."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(3)
    script.deliver(2)
    script.send(2)
    script.transitional(1, 1, 2)
    script.deliver(1, 5)
    return script.logs()


@breaks("E6.1-2", "M1", "M5", "E2.3")
def no_total_order_of_configurations() -> Logs:
    return two_configurations_in_another_order()


@breaks("E6.1-2", "T1")
def messages_in_another_order_at_one_receiver() -> Logs:
    logs = calm()
    logs.swap(2, logs.at(2, Delv, seq=7), logs.at(2, Delv, seq=8))
    return logs


@breaks("E6.3")
def hole_of_a_member_of_the_transitional_configuration() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(2)
    script.send(1)
    script.transitional(1, 1, 2)
    script.deliver(1, 5)
    return script.logs()


@breaks("E7.1")
def safe_message_is_delivered_and_not_by_a_member_that_goes_on() -> Logs:
    """1 delivers it in the regular configuration and dies; 2 and 3 go on without it."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(1, HIGH, SAFE)
    script.deliver(1)
    script.stop(1)
    script.install(2, 3)
    return script.logs()


@breaks("E7.1")
def obligation_of_a_transitional_configuration_is_forgotten() -> Logs:
    logs = obligation()
    for node in (2, 3):
        logs.drop(node, Delv, seq=6)
    return logs


@breaks("E7.2")
def safe_message_before_every_member_installed() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3, only=(1, 2))
    script.send(1, RECOVERY, SAFE)
    script.deliver(1)
    return script.logs()


@breaks("E7.2")
def safe_message_with_a_member_without_a_log() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.send(1, RECOVERY, SAFE)
    script.deliver(1)
    logs = script.logs()
    logs.logs.pop()
    return logs


@breaks("T1")
def unblock_delivered_out_of_order() -> Logs:
    """Both at one processor only, so that no other has another order."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.send(2, RECOVERY)
    script.deliver(3, 2)
    script.deliver(3, 1)
    return script.logs()


@breaks("T2")
def gap_in_a_regular_configuration() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.send(1, RECOVERY)
    script.send(2, RECOVERY)
    script.deliver(3, 2)
    return script.logs()


@breaks("T2")
def order_does_not_begin_with_one() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.send(1, RECOVERY)
    ring.sent *= 2
    ring.sent[1] = (1, ring.sent[1][1]._replace(seq=2))
    script.deliver(2, 2)
    logs = script.logs()
    logs.change(1, Send, to={"seq": 2})
    return logs


@breaks("T3")
def message_after_a_hole_of_its_own_sender() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(3)
    script.send(3)
    script.transitional(1, 1, 2)
    script.deliver(1, 5)
    return script.logs()


@breaks("T3")
def message_after_a_hole_that_its_sender_did_not_have() -> Logs:
    """2, outside, had delivered the message of 3 that is missing here before it sent this one."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.send(3)
    script.deliver(2)
    script.send(2)
    script.transitional(1, 1)
    script.deliver(1, 5)
    return script.logs()


# M: configurations


@breaks("M1")
def ids_fall_in_one_life() -> Logs:
    script = Script()
    script.start(1)
    script.formations = 8
    script.start(2)
    script.formations = 4
    script.install(1, 2)
    return script.logs()


@breaks("M1", storage_survives=True)
def ids_fall_over_a_restart() -> Logs:
    logs = change()
    log: Any = logs.log(3)
    log[1] = log[1]._replace(ring_id=RingId(2, 3, 77))
    logs.change(3, TransitionalConfiguration, to={"ring_id": log[1].ring_id})
    logs.change(3, Abort, to={"ring_id": log[1].ring_id})
    return logs


@breaks("M1'")
def restarted_representative_reloads_the_id_of_a_living_ring() -> Logs:
    """The peers' fault: 1 is back without its storage and gives its singleton an id that was there before."""
    logs = calm()
    logs.insert(1, -1, Stop("crash"))
    first: Any = logs.log(1)[1]
    logs.logs.append([Start(1, 0x1FF), first])
    return logs


@breaks("M2")
def two_rings_with_one_id() -> Logs:
    """Nothing was sent in it yet; its members disagree about who they are."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    logs = script.logs()
    logs.change(3, RegularConfiguration, 1, to={"members": (2, 3), "joined": (2,)})
    logs.change(3, Wait, 1, to={"members": (2, 3)})
    return logs


@breaks("M2")
def representative_is_no_member() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    logs = script.logs()
    for node in (1, 2):
        logs.change(node, RegularConfiguration, 1, to={"ring_id": RingId(3, 9, 9)})
    return logs


@breaks("M3")
def processor_is_not_in_its_transitional_configuration() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    logs = script.logs()
    logs.change(2, TransitionalConfiguration, to={"members": ()})
    return logs


@breaks("M3")
def processor_is_not_in_its_configuration() -> Logs:
    """1 alone says that it installed the ring of 2 and 3."""
    script = Script()
    script.start(1, 2, 3)
    script.install(2, 3)
    logs = script.logs()
    ring_id = _ring(logs, 4)
    first = _ring(logs, 1)
    logs.insert(1, -1, TransitionalConfiguration(first, ()), Abort(first))
    logs.insert(1, -1, RegularConfiguration(ring_id, (2, 3), (2, 3), (1,), True), Wait((2, 3)))
    return logs


@breaks("M4")
def regular_configuration_without_a_transitional_one() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    logs = script.logs()
    logs.drop(2, TransitionalConfiguration)
    return logs


@breaks("M4")
def two_transitional_configurations_in_a_row() -> Logs:
    logs = calm()
    at = logs.at(2, TransitionalConfiguration)
    logs.insert(2, at, logs.log(2)[at])
    return logs


@breaks("M4")
def history_begins_with_a_transitional_configuration() -> Logs:
    logs = calm()
    logs.insert(2, 1, TransitionalConfiguration(_ring(logs, 2), (2,)))
    return logs


@breaks("M4")
def transitional_configuration_ends_a_ring_that_is_not_on() -> Logs:
    logs = calm()
    logs.change(2, TransitionalConfiguration, to={"ring_id": _ring(logs, 3)})
    return logs


@breaks("M4")
def transitional_member_comes_from_nowhere() -> Logs:
    script = Script()
    script.start(1)
    logs = script.logs()
    logs.insert(1, -1, TransitionalConfiguration(_ring(logs, 1), (1, 9)))
    return logs


@breaks("M4")
def transitional_member_goes_nowhere() -> Logs:
    """3 is counted in, and the next ring does not have it."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    for node in (1, 2):
        script.transitional(node, 1, 2, 3)
    script.install(1, 2)
    return script.logs()


@breaks("M5")
def transitional_configurations_differ() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.transitional(1, 1, 2)
    script.install(1, 2, 3)
    return script.logs()


@breaks("M5")
def transitional_member_came_from_elsewhere() -> Logs:
    """A new incarnation of 2 is taken for the old one."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.stop(2)
    script.start(2)
    script.transitional(1, 1, 2)
    script.install(1, 2)
    return script.logs()


@breaks("M6")
def first_configuration_is_no_singleton() -> Logs:
    logs = calm()
    logs.change(3, RegularConfiguration, to={"members": (2, 3), "joined": (2, 3)})
    logs.change(3, RegularConfiguration, 1, to={"joined": (1,)})
    logs.change(3, Wait, to={"members": (2, 3)})
    return logs


@breaks("M7")
def joined_leaves_one_out() -> Logs:
    logs = calm()
    logs.change(1, RegularConfiguration, 1, to={"joined": (3,)})
    return logs


@breaks("M7")
def left_names_one_that_was_not_there() -> Logs:
    logs = change()
    logs.change(1, RegularConfiguration, to={"left": (3, 4)}, ring_id=_ring(logs, 5))
    return logs


# K: the token


@breaks("K1")
def token_accepted_again() -> Logs:
    logs = calm()
    at = logs.at(2, Token, 3)
    logs.insert(2, at + 1, logs.log(2)[at])
    return logs


@breaks("K2")
def second_token_of_one_ring() -> Logs:
    """A duplicate commit token started it: 3 accepts another one with a token_seq that 2 has accepted."""
    script = Script()
    script.start(1, 2, 3)
    ring = script.install(1, 2, 3)
    script.nodes[2].log.append(Token(ring.id, 2, 0, 0, 0, 0, 0))
    script.nodes[3].log.append(Token(ring.id, 2, 0, 0, 1, 0, 0))
    return script.logs()


@breaks("K3")
def aru_above_seq() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(Token(ring.id, 1, 4, 5, 0, 0, 0))
    return script.logs()


@breaks("K3")
def seq_falls() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(Token(ring.id, 1, 4, 4, 0, 0, 0))
    script.nodes[2].log.append(Token(ring.id, 2, 3, 3, 0, 0, 0))
    return script.logs()


@breaks("K3")
def aru_raised_by_another_than_who_lowered_it() -> Logs:
    """2 lowers it to 3; 3 raises it to 8."""
    script = Script()
    script.start(1, 2, 3)
    ring = script.install(1, 2, 3)
    for token_seq, node, aru in ((1, 1, 8), (2, 2, 8), (3, 3, 3), (4, 1, 8)):
        script.nodes[node].log.append(Token(ring.id, token_seq, 8, aru, 0, 0, 0))
    return script.logs()


@breaks("K4")
def packet_freed_that_one_member_lacks() -> Logs:
    """2 has packets up to 2, and says so; 1 frees 2, and then 4."""
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    for token_seq, node, aru in ((1, 1, 0), (2, 2, 4), (3, 1, 2)):
        script.nodes[node].log.append(Token(ring.id, token_seq, 4, aru, 0, 0, 0))
    script.nodes[1].log.append(Free(ring.id, 2))
    assert script.logs().judge() == []
    script.nodes[1].log.append(Free(ring.id, 4))
    return script.logs()


@breaks("K4")
def packet_freed_a_rotation_too_early() -> Logs:
    logs = calm()
    at = logs.at(1, Token, seq=9)
    logs.insert(1, at + 1, Free(_ring(logs, 4), 9))
    return logs


@breaks("K5")
def too_many_retransmission_requests() -> Logs:
    logs = calm()
    logs.change(1, Token, 5, to={"retransmission_requests": 129})
    return logs


@breaks("K5")
def negative_backlog() -> Logs:
    logs = calm()
    logs.change(1, Token, 5, to={"backlog": -1})
    return logs


@breaks("K5", window_size=4)
def too_many_packets_outstanding() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(Token(ring.id, 1, 117, 100, 0, 0, 0))
    return script.logs()


# B: the barrier


@breaks("B1", truncated=True)
def message_delivered_before_the_completion() -> Logs:
    """Queued before the change, and slipped past the barrier: 3 sends it before its unblock. Its log is lost."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(1)
    script.send(3)
    script.unblock(2, 3)
    script.deliver_all(1, 2)
    logs = script.logs()
    logs.logs.pop()
    return logs


@breaks("B7", "B1", "B2")
def completion_after_the_first_message() -> Logs:
    logs = calm()
    done = logs.drop(3, RecoveryComplete)
    logs.insert(3, logs.at(3, Delv, seq=6) + 1, done)
    return logs


@breaks("B2")
def message_sent_before_the_completion() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(1)
    script.send(1, LOW)
    return script.logs()


@breaks("B2")
def message_sent_in_a_configuration_without_the_quorum() -> Logs:
    logs = halves()
    half, merged = _ring(logs, 6), _ring(logs, 7)
    logs.cut(3, logs.at(3, TransitionalConfiguration, ring_id=half))
    for node in (1, 2):
        logs.cut(node, logs.at(node, RegularConfiguration, ring_id=merged))
    submit: Any = logs.log(3)[-1]
    mid, priority, guarantee, digest = submit
    logs.insert(3, -1, Send(mid, priority, guarantee, half, 3, digest))
    return logs


@breaks("B3")
def completion_at_another_place_than_the_last_unblock() -> Logs:
    logs = calm()
    logs.change(2, RecoveryComplete, to={"seq": 4})
    return logs


@breaks("B3", "T1", "E6.1-2")
def completions_at_different_places() -> Logs:
    """2004: completion was a bit in the token. The two have another last unblock."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1, 2)
    script.deliver(1)
    logs = script.logs()
    ring_id = _ring(logs, 3)
    logs.insert(2, -1, UnbDelv(2, ring_id, 2), UnbDelv(1, ring_id, 1))
    logs.insert(2, -1, RecoveryComplete(ring_id, 1, (1, 2)), Wait(()))
    return logs


@breaks("B3", "T2", "E5")
def another_recovery_message_before_the_completion() -> Logs:
    """The last unblock has the same place; one recovery message is missing at 2."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.send(1, RECOVERY)
    script.recover(1, 2)
    logs = script.logs()
    logs.drop(2, Delv)
    return logs


@breaks("B4")
def completion_without_one_unblock() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(1, 2)
    script.deliver_all(1, 2, 3)
    logs = script.logs()
    ring_id = _ring(logs, 4)
    logs.insert(1, -1, RecoveryComplete(ring_id, 2, (1, 2, 3)))
    return logs


@breaks("B4", quorum=3)
def completion_without_the_quorum() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.recover(1, 2)
    logs = script.logs()
    for node in (1, 2):
        for number in (0, 1):
            logs.change(node, RegularConfiguration, number, to={"primary": False})
    return logs


@breaks("B4", quorum=2)
def primary_without_the_quorum() -> Logs:
    script = Script(quorum=2)
    script.start(1)
    logs = script.logs()
    logs.change(1, RegularConfiguration, to={"primary": True})
    return logs


@breaks("B5")
def recovery_message_sent_after_the_unblock() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.send(1, RECOVERY)
    return script.logs()


@breaks("B5", "E5")
def recovery_message_delivered_after_the_unblock() -> Logs:
    """The places of the two are exchanged on their way."""
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.send(1, RECOVERY)
    script.unblock(1)
    send, unblock = ring.sent[0][1], ring.sent[1][1]
    ring.sent[:] = [(1, unblock._replace(seq=1)), (1, send._replace(seq=2))]  # type: ignore[list-item]
    script.deliver(2)
    logs = script.logs()
    logs.change(1, Send, to={"seq": 2})
    logs.change(1, UnbSend, to={"seq": 1})
    return logs


@breaks("B6")
def unblock_sent_twice() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1, 1)
    return script.logs()


@breaks("B6", "B16")
def unblock_delivered_twice() -> Logs:
    """The second time at a place where nobody else has got to, and nobody sent anything."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.deliver(2)
    logs = script.logs()
    logs.insert(2, -1, UnbDelv(1, _ring(logs, 3), 2))
    return logs


@breaks("B7")
def completion_is_missing_in_the_transitional_configuration() -> Logs:
    """2 delivers the last unblock there and not the completion, and goes on as if the round had been aborted."""
    logs = completed_in_transition()
    for node in (2, 3):
        logs.cut(node, logs.at(node, Delv))
        logs.drop(node, RecoveryComplete)
        logs.insert(node, -1, Abort(_ring(logs, 4)), RegularConfiguration(RingId(5, 2, 5), (2, 3), (), (1,), True))
        logs.insert(node, -1, Wait((2, 3)))
    return logs


@breaks("B7")
def completion_names_other_members() -> Logs:
    logs = calm()
    logs.change(1, RecoveryComplete, 1, to={"members": (1, 2)})
    return logs


@breaks("B7", "B1", "B2")
def completion_comes_later_than_the_last_unblock() -> Logs:
    """After one more recovery message, which nobody may send then."""
    logs = calm()
    done = logs.drop(2, RecoveryComplete)
    logs.insert(2, -1, done)
    return logs


@breaks("B8")
def one_place_is_the_unblock_of_two() -> Logs:
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.unblock(1, 2)
    script.deliver(1)
    script.deliver(3, 1)
    logs = script.logs()
    logs.change(3, UnbDelv, to={"node": 2})
    logs.change(3, Wait, -1, to={"members": (1, 3)})
    return logs


@breaks("B9")
def round_is_not_aborted() -> Logs:
    logs = aborted()
    logs.drop(2, Abort, ring_id=_ring(logs, 4))
    return logs


@breaks("B9")
def round_is_aborted_twice() -> Logs:
    logs = aborted()
    at = logs.at(2, Abort, ring_id=_ring(logs, 4))
    logs.insert(2, at, logs.log(2)[at])
    return logs


@breaks("B9")
def complete_round_is_aborted() -> Logs:
    logs = change()
    ring_id = _ring(logs, 4)
    logs.insert(2, logs.at(2, TransitionalConfiguration, ring_id=ring_id), Abort(ring_id))
    return logs


@breaks("B9")
def round_is_completed_after_it_was_aborted() -> Logs:
    logs = calm()
    logs.insert(3, logs.at(3, RecoveryComplete), Abort(_ring(logs, 4)))
    return logs


@breaks("B9")
def round_of_a_ring_that_was_never_installed_is_aborted() -> Logs:
    logs = calm()
    logs.insert(3, -1, Abort(RingId(99, 1, 1)))
    return logs


@breaks("B9")
def round_is_aborted_in_the_middle_of_the_next() -> Logs:
    logs = aborted()
    abort = logs.drop(2, Abort, ring_id=_ring(logs, 4))
    logs.insert(2, -1, abort)
    return logs


@breaks("B10")
def barrier_completes_twice() -> Logs:
    logs = calm()
    logs.insert(2, -1, logs.log(2)[logs.at(2, RecoveryComplete)])
    return logs


@breaks("B10", "B4")
def barrier_completes_after_the_next_regular_configuration() -> Logs:
    """2 has the last unblock when the ring ends, and its completion only in the next one."""
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.deliver_all(1, 2)
    script.install(1, 2)
    logs = script.logs()
    logs.insert(2, -1, RecoveryComplete(_ring(logs, 3), 1, (1, 2)))
    return logs


@breaks("B11")
def messages_of_one_queue_change_places() -> Logs:
    logs = calm()
    mids = [f"1.{0x100}.3", f"1.{0x100}.4"]
    logs.swap(1, logs.at(1, Submit, mid=mids[0]), logs.at(1, Submit, mid=mids[1]))
    return logs


@breaks("B11")
def accepted_message_is_left_out() -> Logs:
    script = Script()
    script.start(1)
    script.recover(1)
    script.submit(1)
    script.send(1)
    return script.logs()


@breaks("B11")
def message_that_was_never_accepted_is_sent() -> Logs:
    logs = calm()
    logs.drop(2, Submit, priority=LOW)
    return logs


@breaks("B11")
def recovery_message_is_left_out() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.submit(1, RECOVERY)
    script.send(1, RECOVERY)
    return script.logs()


@breaks("B11", complete=[(1, 0x100), (2, 0x200), (3, 0x300)])
def accepted_message_is_never_sent() -> Logs:
    logs = calm()
    logs.insert(2, -1, Submit("2.512.9", LOW, SAFE, "0"))
    return logs


@breaks("B12")
def fragments_of_two_messages_are_mixed() -> Logs:
    """What goes out, and is delivered everywhere, is not what was accepted."""
    logs = calm()
    mid = logs.log(3)[logs.at(3, Send)].mid  # type: ignore[union-attr]
    logs.change(3, Send, to={"digest": "beef"})
    for node in (1, 2, 3):
        logs.change(node, Delv, to={"digest": "beef"}, mid=mid)
    return logs


@breaks("B12")
def guarantee_is_lost_on_the_way_to_the_ring() -> Logs:
    logs = calm()
    logs.change(1, Submit, to={"guarantee": AGREED}, guarantee=SAFE)
    return logs


@breaks("B13")
def singleton_completes_without_its_unblock() -> Logs:
    script = Script()
    script.start(1)
    logs = script.logs()
    logs.insert(1, -1, RecoveryComplete(_ring(logs, 1), 1, (1,)))
    return logs


@breaks("B13")
def singleton_delivers_an_unblock_that_it_never_sent() -> Logs:
    logs = calm()
    logs.drop(1, UnbSend, ring_id=_ring(logs, 1))
    return logs


@breaks("B14")
def completion_without_a_member_that_died_before_its_unblock() -> Logs:
    """2026: the ghost member. The others count an unblock of 3 that it never sent."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.stop(3)
    logs = script.logs()
    index = logs.at(3, UnbSend)
    logs.cut(3, index)
    logs.insert(3, -1, Stop("crash"))
    return logs


@breaks("B15", complete=[(1, 0x100), (2, 0x200)])
def connected_processors_end_apart() -> Logs:
    script = Script()
    script.start(1, 2)
    script.recover(1)
    script.recover(2)
    return script.logs()


@breaks("B15", complete=[(1, 0x100), (2, 0x200), (3, 0x300)])
def message_is_never_delivered_at_the_end() -> Logs:
    logs = calm()
    logs.cut(2, logs.at(2, Delv, seq=9))
    return logs


@breaks("B15", complete=[(1, 0x100), (2, 0x200)])
def barrier_never_completes() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1, 2)
    script.deliver_all(1, 2)
    logs = script.logs()
    logs.cut(2, logs.at(2, UnbDelv, seq=2))
    return logs


@breaks("B15", complete=[(1, 0x100), (9, 0x900)])
def processor_that_had_to_be_alive_has_no_log() -> Logs:
    script = Script()
    script.start(1)
    script.recover(1)
    return script.logs()


@breaks("B15", complete=[(1, 0x100)])
def processor_ends_between_two_configurations() -> Logs:
    script = Script()
    script.start(1)
    script.recover(1)
    script.transitional(1, 1)
    return script.logs()


@breaks("B16")
def unblock_of_another_ring_is_delivered() -> Logs:
    logs = aborted()
    logs.change(2, UnbDelv, to={"ring_id": _ring(logs, 2)}, ring_id=_ring(logs, 4), node=2)
    logs.change(2, Wait, to={"members": (2, 3)}, members=(3,))
    return logs


@breaks("B16")
def unblock_of_an_earlier_incarnation_counts() -> Logs:
    """3 was restarted before the ring was formed and is not in it yet; the unblock is of its former life."""
    script = Script()
    script.start(1, 2, 3)
    script.install(1, 2, 3)
    script.recover(1, 2, 3)
    script.stop(3)
    script.start(3)
    script.install(1, 2, 3, only=(1, 2))
    script.unblock(1)
    script.deliver(2)
    logs = script.logs()
    logs.insert(2, -1, UnbDelv(3, _ring(logs, 6), 2), Wait((2,)))
    return logs


@breaks("B16")
def unblock_delivered_at_another_place_than_it_was_sent() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.deliver(2)
    logs = script.logs()
    logs.change(1, UnbSend, to={"seq": 2})
    return logs


@breaks("B17", complete=[(1, 0x100), (2, 0x200)])
def full_queue_keeps_the_unblock_out() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    script.deliver_all(1, 2)
    script.submit(2)
    return script.logs()


@breaks("B18")
def recovery_message_of_an_aborted_round_is_sent_in_the_next() -> Logs:
    script = Script()
    script.start(1, 2)
    stale = script.submit(1, RECOVERY)
    script.install(1, 2)
    script.send(1, submit=stale)
    script.recover(1, 2)
    return script.logs()


@breaks("B19")
def unblock_of_an_aborted_round_is_sent() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.unblock(1)
    logs = script.logs()
    logs.change(1, UnbSend, to={"ring_id": _ring(logs, 1)})
    return logs


@breaks("B19")
def unblock_is_sent_in_the_transitional_configuration() -> Logs:
    script = Script()
    script.start(1, 2)
    script.install(1, 2)
    script.transitional(1, 1)
    script.unblock(1)
    return script.logs()


@breaks("B20")
def waiting_for_forgets_one() -> Logs:
    logs = aborted()
    logs.change(1, Wait, to={"members": ()}, members=(3,))
    return logs


@breaks("B20")
def waiting_for_is_not_brought_up_to_date() -> Logs:
    logs = calm()
    logs.drop(2, Wait, -1)
    return logs


@pytest.mark.parametrize("name", CASES)
def test_wrong_log_is_caught_by_its_rule(name: str) -> None:
    rules, make, options = CASES[name]
    violations = make().judge(**options)
    assert {violation.rule for violation in violations} == rules, "\n".join(map(str, violations))
    assert all(violation.text for violation in violations)


def test_every_rule_has_a_wrong_log() -> None:
    caught = {rule for rules, _, _ in CASES.values() for rule in rules}
    assert caught == {rule.removesuffix(" at the end") for rule in RULES}
    assert len(CASES) >= 60
