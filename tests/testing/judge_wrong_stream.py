"""Wrong streams: the audit is right, and the application was given something else (rules S1 and S2)."""

from __future__ import annotations

from judge_logs import Logs, aborted, breaks, calm, change

from ringproto.events import RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.testing.judge.transcript import Delv
from ringproto.types import Priority


def _place(logs: Logs, who: int, kind: type, number: int = 0) -> int:
    """Where the so-manyth event of a kind stands in the stream of this processor."""
    return [place for place, event in enumerate(logs.given(who)) if type(event) is kind][number]


@breaks("S1")
def completion_is_given_before_the_recovery_messages() -> Logs:
    logs = calm().with_streams()
    given = logs.given(1)
    first = next(
        place for place, event in enumerate(given) if isinstance(event, Delv) and event.priority == Priority.RECOVERY
    )
    given.insert(first, given.pop(_place(logs, 1, RecoveryComplete, -1)))
    return logs


@breaks("S1")
def two_messages_change_places() -> Logs:
    logs = calm().with_streams()
    given = logs.given(3)
    given[-1], given[-2] = given[-2], given[-1]
    return logs


@breaks("S1")
def all_messages_are_reversed() -> Logs:
    logs = calm().with_streams()
    given = logs.given(2)
    after = _place(logs, 2, RecoveryComplete, -1) + 1
    given[after:] = reversed(given[after:])
    return logs


@breaks("S1")
def message_of_another_vanishes() -> Logs:
    logs = calm().with_streams()
    del logs.given(2)[-2]
    return logs


@breaks("S1")
def message_is_given_twice() -> Logs:
    logs = calm().with_streams()
    given = logs.given(1)
    given.insert(len(given) - 1, given[-2])
    return logs


@breaks("S1")
def message_is_given_that_was_not_delivered() -> Logs:
    logs = calm().with_streams()
    last = logs.given(1)[-1]
    assert isinstance(last, Delv)
    logs.given(1).append(last._replace(seq=last.seq + 1, mid="9.9.9"))
    return logs


@breaks("S1")
def byte_of_a_payload_is_another() -> Logs:
    logs = calm().with_streams()
    last = logs.given(1)[-1]
    assert isinstance(last, Delv)
    logs.given(1)[-1] = last._replace(digest="f" * 16)
    return logs


@breaks("S1")
def place_in_the_order_is_another() -> Logs:
    logs = calm().with_streams()
    last = logs.given(1)[-1]
    assert isinstance(last, Delv)
    logs.given(1)[-1] = last._replace(seq=last.seq + 1)
    return logs


@breaks("S1")
def message_is_given_behind_the_next_configuration() -> Logs:
    logs = change().with_streams()
    given = logs.given(1)
    place = _place(logs, 1, TransitionalConfiguration, 1)
    given.insert(place, given.pop(place - 1))
    return logs


@breaks("S1")
def configuration_is_not_given() -> Logs:
    logs = aborted().with_streams()
    del logs.given(2)[_place(logs, 2, RegularConfiguration, -1)]
    return logs


@breaks("S1")
def members_are_others() -> Logs:
    logs = change().with_streams()
    given = logs.given(2)
    place = _place(logs, 2, RegularConfiguration, -1)
    configuration = given[place]
    assert isinstance(configuration, RegularConfiguration)
    given[place] = configuration._replace(members=(2, 3))
    return logs


@breaks("S1", truncated=True)
def torn_log_does_not_excuse_what_it_has() -> Logs:
    logs = calm().with_streams()
    del logs.given(2)[-3]
    return logs


@breaks("S2")
def last_message_is_not_given_to_who_read_to_the_end() -> Logs:
    logs = calm().with_streams()
    logs.script.stop(3, "clean")
    logs.log(3).append(logs.script.everybody[2].log[-1])
    logs.given(3).pop()
    logs.end(3)
    return logs


CALM = calm()


@breaks("S2", complete=CALM.alive(1, 2, 3))
def last_message_is_not_given_although_all_is_over() -> Logs:
    logs = calm().with_streams()
    logs.given(2).pop()
    return logs
