"""A message: a value like a named tuple, and no tuple."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys

import pytest

from ringproto import Guarantee, Message, Priority, RingId

RING = RingId(4, 1, 99)
MESSAGE = Message(b"x", 7, Priority.LOW, Guarantee.SAFE, RING, 12)

compiled = pytest.mark.skipif(
    os.environ.get("RINGPROTO_INTERPRETED", "") not in ("", "0"),
    reason="about what is compiled, and this run is interpreted",
)


def test_fields_are_those_it_was_made_of() -> None:
    assert (MESSAGE.payload, MESSAGE.sender, MESSAGE.priority) == (b"x", 7, Priority.LOW)
    assert (MESSAGE.guarantee, MESSAGE.ring_id, MESSAGE.seq) == (Guarantee.SAFE, RING, 12)
    assert (
        Message(payload=b"x", sender=7, priority=Priority.LOW, guarantee=Guarantee.SAFE, ring_id=RING, seq=12)
        == MESSAGE
    )


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b"y"},
        {"sender": 8},
        {"priority": Priority.HIGH},
        {"guarantee": Guarantee.AGREED},
        {"ring_id": RingId(5, 1, 99)},
        {"seq": 13},
    ],
)
def test_messages_are_equal_if_all_fields_are(change: dict[str, object]) -> None:
    other = MESSAGE._replace(**change)
    assert other != MESSAGE and hash(other) != hash(MESSAGE)
    assert other._replace(**{name: getattr(MESSAGE, name) for name in change}) == MESSAGE
    assert len({MESSAGE, other, MESSAGE._replace()}) == 2


def test_message_is_no_tuple_and_equals_none() -> None:
    assert MESSAGE != (b"x", 7, Priority.LOW, Guarantee.SAFE, RING, 12)
    assert not isinstance(MESSAGE, tuple)


def test_message_can_be_matched_copied_pickled_and_read() -> None:
    match MESSAGE:
        case Message(payload, sender, seq=12):
            assert (payload, sender) == (b"x", 7)
        case _:
            pytest.fail("it does not match")
    assert copy.copy(MESSAGE) == copy.deepcopy(MESSAGE) == pickle.loads(pickle.dumps(MESSAGE)) == MESSAGE
    assert repr(MESSAGE).startswith("Message(payload=b'x', sender=7, priority=<Priority.LOW: 2>, ")


def test_whether_a_message_is_settled_is_no_part_of_what_it_is() -> None:
    """One message may be settled at one member and not at another, and is the same message."""
    settled = MESSAGE._replace(settled=True)
    assert (MESSAGE.settled, settled.settled) == (False, True)
    assert settled == MESSAGE and hash(settled) == hash(MESSAGE) and len({settled, MESSAGE}) == 1
    assert repr(settled) == repr(MESSAGE).replace("settled=False)", "settled=True)") != repr(MESSAGE)
    assert "settled" not in (*Message._fields, *Message.__match_args__)


def test_copies_of_a_settled_message_are_settled() -> None:
    settled = MESSAGE._replace(settled=True)
    copies = [copy.copy(settled), copy.deepcopy(settled), pickle.loads(pickle.dumps(settled)), settled._replace(seq=9)]
    assert [each.settled for each in copies] == [True] * 4
    assert [pickle.loads(pickle.dumps(MESSAGE)).settled, settled._replace(settled=False).settled] == [False, False]


def test_unknown_field_is_refused() -> None:
    with pytest.raises(TypeError, match="color"):
        MESSAGE._replace(color=1)


@compiled
def test_nobody_changes_a_message() -> None:
    with pytest.raises(AttributeError):
        MESSAGE.seq = 13
    with pytest.raises(AttributeError):
        MESSAGE.settled = True
    with pytest.raises(AttributeError):
        MESSAGE.color = 1  # type: ignore[attr-defined]


@compiled
def test_garbage_collector_does_not_look_at_messages() -> None:
    """As named tuples they cost more in its rounds than in all that was done to make them."""
    assert not gc.is_tracked(MESSAGE)


def test_interpreted_without_cython_says_what_is_missing() -> None:
    program = "import sys; sys.modules['cython'] = None\nimport ringproto"
    environment = {**os.environ, "RINGPROTO_INTERPRETED": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and "needs Cython" in ended.stderr.splitlines()[-1]


@compiled
def test_compiled_needs_no_cython() -> None:
    program = "import sys; sys.modules['cython'] = None\nimport ringproto"
    environment = {**os.environ, "RINGPROTO_INTERPRETED": ""}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
