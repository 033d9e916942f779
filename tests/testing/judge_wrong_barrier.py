"""Wrong logs for the rules of the barrier (B)."""

from __future__ import annotations

from typing import Any

from judge_logs import (
    AGREED,
    LOW,
    RECOVERY,
    SAFE,
    Logs,
    Script,
    aborted,
    breaks,
    calm,
    change,
    completed_in_transition,
    halves,
    ring_id_of,
)

from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import Abort, Delv, Send, Stop, Submit, UnbDelv, UnbSend, Wait
from ringproto.types import RingId


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
    half, merged = ring_id_of(logs, 6), ring_id_of(logs, 7)
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
    ring_id = ring_id_of(logs, 3)
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
    ring_id = ring_id_of(logs, 4)
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
    logs.insert(2, -1, UnbDelv(1, ring_id_of(logs, 3), 2))
    return logs


@breaks("B7")
def completion_is_missing_in_the_transitional_configuration() -> Logs:
    """2 delivers the last unblock there and not the completion, and goes on as if the round had been aborted."""
    logs = completed_in_transition()
    for node in (2, 3):
        logs.cut(node, logs.at(node, Delv))
        logs.drop(node, RecoveryComplete)
        logs.insert(node, -1, Abort(ring_id_of(logs, 4)), RegularConfiguration(RingId(5, 2, 5), (2, 3), (), (1,), True))
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
    logs.drop(2, Abort, ring_id=ring_id_of(logs, 4))
    return logs


@breaks("B9")
def round_is_aborted_twice() -> Logs:
    logs = aborted()
    at = logs.at(2, Abort, ring_id=ring_id_of(logs, 4))
    logs.insert(2, at, logs.log(2)[at])
    return logs


@breaks("B9")
def complete_round_is_aborted() -> Logs:
    logs = change()
    ring_id = ring_id_of(logs, 4)
    logs.insert(2, logs.at(2, TransitionalConfiguration, ring_id=ring_id), Abort(ring_id))
    return logs


@breaks("B9")
def round_is_completed_after_it_was_aborted() -> Logs:
    logs = calm()
    logs.insert(3, logs.at(3, RecoveryComplete), Abort(ring_id_of(logs, 4)))
    return logs


@breaks("B9")
def round_of_a_ring_that_was_never_installed_is_aborted() -> Logs:
    logs = calm()
    logs.insert(3, -1, Abort(RingId(99, 1, 1)))
    return logs


@breaks("B9")
def round_is_aborted_in_the_middle_of_the_next() -> Logs:
    logs = aborted()
    abort = logs.drop(2, Abort, ring_id=ring_id_of(logs, 4))
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
    logs.insert(2, -1, RecoveryComplete(ring_id_of(logs, 3), 1, (1, 2)))
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
def guarantee_is_lost_on_the_way_to_thering_id_of() -> Logs:
    logs = calm()
    logs.change(1, Submit, to={"guarantee": AGREED}, guarantee=SAFE)
    return logs


@breaks("B13")
def singleton_completes_without_its_unblock() -> Logs:
    script = Script()
    script.start(1)
    logs = script.logs()
    logs.insert(1, -1, RecoveryComplete(ring_id_of(logs, 1), 1, (1,)))
    return logs


@breaks("B13")
def singleton_delivers_an_unblock_that_it_never_sent() -> Logs:
    logs = calm()
    logs.drop(1, UnbSend, ring_id=ring_id_of(logs, 1))
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
    logs.change(2, UnbDelv, to={"ring_id": ring_id_of(logs, 2)}, ring_id=ring_id_of(logs, 4), node=2)
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
    logs.insert(2, -1, UnbDelv(3, ring_id_of(logs, 6), 2), Wait((2,)))
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
    logs.change(1, UnbSend, to={"ring_id": ring_id_of(logs, 1)})
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
