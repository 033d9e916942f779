"""Wrong logs for the rules of configurations and of the token (M and K)."""

from __future__ import annotations

from typing import Any

from judge_logs import Logs, Script, breaks, calm, change, ring_id_of

from ringproto.events import RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import Abort, Free, Start, Stop, TokenRecord, Wait
from ringproto.types import RingId


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
def restarted_representative_reloads_the_id_of_a_livingring_id_of() -> Logs:
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
    ring_id = ring_id_of(logs, 4)
    first = ring_id_of(logs, 1)
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
    logs.insert(2, 1, TransitionalConfiguration(ring_id_of(logs, 2), (2,)))
    return logs


@breaks("M4")
def transitional_configuration_ends_a_ring_that_is_not_on() -> Logs:
    logs = calm()
    logs.change(2, TransitionalConfiguration, to={"ring_id": ring_id_of(logs, 3)})
    return logs


@breaks("M4")
def transitional_member_comes_from_nowhere() -> Logs:
    script = Script()
    script.start(1)
    logs = script.logs()
    logs.insert(1, -1, TransitionalConfiguration(ring_id_of(logs, 1), (1, 9)))
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
    logs.change(1, RegularConfiguration, to={"left": (3, 4)}, ring_id=ring_id_of(logs, 5))
    return logs


# K: the token


@breaks("K1")
def token_accepted_again() -> Logs:
    logs = calm()
    at = logs.at(2, TokenRecord, 3)
    logs.insert(2, at + 1, logs.log(2)[at])
    return logs


@breaks("K2")
def second_token_of_onering_id_of() -> Logs:
    """A duplicate commit token started it: 3 accepts another one with a token_seq that 2 has accepted."""
    script = Script()
    script.start(1, 2, 3)
    ring = script.install(1, 2, 3)
    script.nodes[2].log.append(TokenRecord(ring.id, 2, 0, 0, 0, 0, 0))
    script.nodes[3].log.append(TokenRecord(ring.id, 2, 0, 0, 1, 0, 0))
    return script.logs()


@breaks("K3")
def aru_above_seq() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(TokenRecord(ring.id, 1, 4, 5, 0, 0, 0))
    return script.logs()


@breaks("K3")
def seq_falls() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(TokenRecord(ring.id, 1, 4, 4, 0, 0, 0))
    script.nodes[2].log.append(TokenRecord(ring.id, 2, 3, 3, 0, 0, 0))
    return script.logs()


@breaks("K3")
def aru_raised_by_another_than_who_lowered_it() -> Logs:
    """2 lowers it to 3; 3 raises it to 8."""
    script = Script()
    script.start(1, 2, 3)
    ring = script.install(1, 2, 3)
    for token_seq, node, aru in ((1, 1, 8), (2, 2, 8), (3, 3, 3), (4, 1, 8)):
        script.nodes[node].log.append(TokenRecord(ring.id, token_seq, 8, aru, 0, 0, 0))
    return script.logs()


@breaks("K4")
def packet_freed_that_one_member_lacks() -> Logs:
    """2 has packets up to 2, and says so; 1 frees 2, and then 4."""
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    for token_seq, node, aru in ((1, 1, 0), (2, 2, 4), (3, 1, 2)):
        script.nodes[node].log.append(TokenRecord(ring.id, token_seq, 4, aru, 0, 0, 0))
    script.nodes[1].log.append(Free(ring.id, 2))
    assert script.logs().judge() == []
    script.nodes[1].log.append(Free(ring.id, 4))
    return script.logs()


@breaks("K4")
def packet_freed_a_rotation_too_early() -> Logs:
    logs = calm()
    at = logs.at(1, TokenRecord, seq=9)
    logs.insert(1, at + 1, Free(ring_id_of(logs, 4), 9))
    return logs


@breaks("K5")
def too_many_retransmission_requests() -> Logs:
    logs = calm()
    logs.change(1, TokenRecord, 5, to={"retransmission_requests": 129})
    return logs


@breaks("K5")
def negative_backlog() -> Logs:
    logs = calm()
    logs.change(1, TokenRecord, 5, to={"backlog": -1})
    return logs


@breaks("K5", window_size=4)
def too_many_packets_outstanding() -> Logs:
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    script.nodes[1].log.append(TokenRecord(ring.id, 1, 117, 100, 0, 0, 0))
    return script.logs()


def rotation_with(fcc: int) -> Logs:
    """Ten packets are sent between two visits of the token at 1."""
    script = Script()
    script.start(1, 2)
    ring = script.install(1, 2)
    for token_seq, node, seq in ((1, 1, 0), (2, 2, 5), (3, 1, 10)):
        script.nodes[node].log.append(TokenRecord(ring.id, token_seq, seq, seq, fcc, 0, 0))
    return script.logs()


@breaks("K5")
def token_does_not_count_what_was_sent_in_a_rotation() -> Logs:
    return rotation_with(fcc=9)


@breaks("K5", window_size=9)
def more_than_the_window_in_a_rotation() -> Logs:
    return rotation_with(fcc=10)
