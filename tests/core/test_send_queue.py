"""The send queues: bounded, first in first out, and a cursor that belongs to its own queue."""

from __future__ import annotations

import sys
import tracemalloc

from ringproto._core.packets.send_queue import SendQueue
from ringproto.types import Guarantee

AGREED, SAFE = Guarantee.AGREED, Guarantee.SAFE


def head(queue: SendQueue) -> tuple[bytes, Guarantee]:
    return queue.head(), queue.guarantee()


def test_messages_come_out_as_they_went_in() -> None:
    queue = SendQueue(10, 100)
    assert (len(queue), queue.bytes, queue.cursor) == (0, 0, 0)
    for payload, guarantee in ((b"a", AGREED), (b"bb", SAFE), (b"", AGREED)):
        assert queue.put(payload, guarantee)
    out = []
    while len(queue):
        out.append(head(queue))
        queue.pop()
    assert out == [(b"a", AGREED), (b"bb", SAFE), (b"", AGREED)]
    assert queue.bytes == 0


def test_queue_full_of_messages_says_so_and_changes_nothing() -> None:
    queue = SendQueue(2, 100)
    assert queue.put(b"1", AGREED) and queue.put(b"2", AGREED)
    assert not queue.put(b"3", AGREED)
    assert (len(queue), queue.bytes, head(queue)) == (2, 2, (b"1", AGREED))
    queue.pop()
    assert queue.put(b"3", AGREED)


def test_queue_full_of_bytes_says_so_and_changes_nothing() -> None:
    queue = SendQueue(100, 10)
    assert queue.put(b"12345678", AGREED)
    assert not queue.put(b"123", AGREED)
    assert (len(queue), queue.bytes) == (1, 8)
    assert queue.put(b"12", AGREED)
    assert not queue.put(b"1", AGREED)
    assert queue.put(b"", AGREED)


def test_empty_queue_takes_one_message_of_any_size() -> None:
    queue = SendQueue(100, 10)
    assert queue.put(b"x" * 1000, AGREED)
    assert not queue.put(b"", AGREED)
    queue.pop()
    assert queue.put(b"y" * 1000, AGREED)


def test_queue_of_one_takes_one() -> None:
    queue = SendQueue(1, 10)
    assert queue.put(b"x", AGREED)
    assert not queue.put(b"y", AGREED)


def test_head_stays_until_its_last_byte_is_sent() -> None:
    queue = SendQueue(10, 100)
    queue.put(b"long", SAFE)
    queue.put(b"next", AGREED)
    queue.cursor = 3
    assert head(queue) == (b"long", SAFE)
    assert queue.bytes == 8
    queue.pop()
    assert (head(queue), queue.cursor, queue.bytes) == ((b"next", AGREED), 0, 4)


def test_rewind_begins_the_head_again_and_keeps_everything() -> None:
    queue = SendQueue(10, 100)
    queue.put(b"long", SAFE)
    queue.cursor = 3
    queue.rewind()
    assert (queue.cursor, head(queue), len(queue), queue.bytes) == (0, (b"long", SAFE), 1, 4)


def test_clear_forgets_everything_with_the_cursor() -> None:
    queue = SendQueue(1, 4)
    queue.put(b"long", SAFE)
    queue.cursor = 3
    queue.clear()
    assert (len(queue), queue.bytes, queue.cursor) == (0, 0, 0)
    assert queue.put(b"new", AGREED)
    assert head(queue) == (b"new", AGREED)


def test_long_queue_forgets_what_was_sent_and_keeps_the_rest() -> None:
    queue = SendQueue(10_000, 10**6)
    payloads = [b"%d" % number for number in range(3000)]
    for place, payload in enumerate(payloads):
        assert queue.put(payload, AGREED)
        if place % 3:
            queue.pop()
    assert len(queue) == 1000 and queue.bytes == sum(map(len, payloads[2000:]))
    for payload in payloads[2000:]:
        assert head(queue) == (payload, AGREED)
        queue.pop()
    assert (len(queue), queue.bytes) == (0, 0)


def test_what_was_sent_is_not_kept() -> None:
    queue = SendQueue(100, 10**6)
    payload = bytes(1000)
    before = sys.getrefcount(payload)
    queue.put(payload, AGREED)
    queue.put(b"next", AGREED)
    queue.pop()
    assert sys.getrefcount(payload) == before


def test_queue_that_is_always_in_use_does_not_grow() -> None:
    queue = SendQueue(100, 10**6)
    payload = b"x" * 1000
    queue.put(payload, AGREED)
    tracemalloc.start()
    try:
        for _ in range(2):
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(5000):
                queue.put(payload, AGREED)
                queue.pop()
        assert tracemalloc.get_traced_memory()[0] - before < 5000
    finally:
        tracemalloc.stop()
