"""Wrong logs for the rules of order and delivery (E and T)."""

from __future__ import annotations

from typing import Any

from judge_logs import (
    AGREED,
    HIGH,
    LOW,
    RECOVERY,
    SAFE,
    Logs,
    Script,
    aborted,
    breaks,
    calm,
    change,
    obligation,
    ring_id_of,
)

from ringproto.events import RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import Abort, Delv, Send, Start, Stop, Submit, TokenRecord, UnbDelv
from ringproto.types import RingId


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
    """Nobody knows whose it is."""
    logs = calm()
    logs.logs.append([TokenRecord(RingId(1, 1, 1), 1, 0, 0, 0, 0, 0)])
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
def message_sent_again_in_the_nextring_id_of() -> Logs:
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
    logs.insert(1, -1, first._replace(ring_id=ring_id_of(logs, 4), seq=10))
    return logs


@breaks("E2.1", complete=[(1, 0x100), (2, 0x200)])
def member_of_the_last_configuration_is_gone() -> Logs:
    logs = calm()
    logs.insert(3, -1, Stop("crash"))
    return logs


@breaks("E2.2")
def message_sent_with_the_id_of_the_ring_before() -> Logs:
    logs = calm()
    logs.change(3, Send, to={"ring_id": ring_id_of(logs, 3)})
    return logs


@breaks("E2.2")
def message_delivered_with_the_id_of_anotherring_id_of() -> Logs:
    logs = change()
    logs.change(2, Delv, to={"ring_id": ring_id_of(logs, 4)}, ring_id=ring_id_of(logs, 5))
    return logs


@breaks("E2.2")
def message_sent_in_the_transitional_configuration() -> Logs:
    logs = change()
    send = logs.drop(1, Send, ring_id=ring_id_of(logs, 4), seq=10)
    logs.insert(1, logs.at(1, TransitionalConfiguration, ring_id=ring_id_of(logs, 4)) + 1, send)
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
    a, b = ring_id_of(logs, 3), ring_id_of(logs, 4)
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
    logs.drop(2, Delv, ring_id=ring_id_of(logs, 4), seq=10)
    return logs


@breaks("E4", "E6.1-2")
def one_delivers_in_the_regular_and_one_in_the_transitional_configuration() -> Logs:
    logs = change()
    delivery = logs.drop(2, Delv, ring_id=ring_id_of(logs, 4), seq=7)
    logs.insert(2, logs.at(2, TransitionalConfiguration, ring_id=ring_id_of(logs, 4)) + 1, delivery)
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
