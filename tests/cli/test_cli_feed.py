"""One processor's share: what is sent, at which pace, and what is sent again."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from ringproto.cli.demo.feed import Feed, read_payload
from ringproto.cli.demo.records import Record
from ringproto.cli.demo.store import Store

SHARE = [Record(b"key %d" % i, b"value\twith|signs %d" % i) for i in range(40)]


async def collect(feed: Feed, sent: list[bytes], seconds: float) -> None:
    async def send(payload: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(payload)

    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feed.run, "h", send)
            nursery.start_soon(feed.run, "l", send)


async def test_nothing_is_sent_before_the_beginning(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[bytes] = []
    feed = Feed(1, 0, SHARE, 1.0)
    await collect(feed, sent, 5.0)
    assert sent == [] and not feed.finished


async def test_the_share_is_sent_evenly_and_each_record_once(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[bytes] = []
    feed = Feed(1, 0, SHARE, 10.0)
    feed.begin(Store())
    await collect(feed, sent, 5.0)
    assert 15 <= len(sent) <= 25
    await collect(feed, sent, 20.0)
    read = [read_payload(payload) for payload in sent]
    assert sorted((key, value) for _, key, value in read) == sorted(SHARE)
    assert [mid for mid, _, _ in read if ".h" in mid] == [f"1.0.h{i}" for i in range(8)]
    assert [mid for mid, _, _ in read if ".l" in mid] == [f"1.0.l{i}" for i in range(32)]
    assert feed.accepted == {"h": 8, "l": 32}


async def test_a_share_is_finished_when_everything_was_delivered(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[bytes] = []
    feed = Feed(1, 0, SHARE, 1.0)
    feed.begin(Store())
    await collect(feed, sent, 5.0)
    assert feed.waiting == 0 and not feed.finished
    for payload in sent:
        assert feed.own_delivered(read_payload(payload)[0]) is not None
    assert feed.finished
    assert feed.own_delivered("1.0.l0") is None


async def test_what_the_state_has_already_is_not_sent(autojump_clock: trio.testing.MockClock) -> None:
    store = Store()
    for record in SHARE[:30]:
        store.put(*record)
    sent: list[bytes] = []
    feed = Feed(1, 1, SHARE, 1.0)
    feed.begin(store)
    await collect(feed, sent, 5.0)
    assert sorted(read_payload(payload)[1] for payload in sent) == sorted(record.key for record in SHARE[30:])


async def test_what_a_state_that_came_lacks_is_sent_again_once(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[bytes] = []
    feed = Feed(1, 0, SHARE, 1.0)
    feed.begin(Store())
    await collect(feed, sent, 5.0)
    lacking = Store()
    for payload in sent:
        mid, key, value = read_payload(payload)
        feed.own_delivered(mid)
        if key != SHARE[7].key:
            lacking.put(key, value)
    feed.state_taken_over(lacking)
    feed.state_taken_over(lacking)
    assert feed.sent_again == 1 and not feed.finished
    again: list[bytes] = []
    await collect(feed, again, 5.0)
    ((mid, key, value),) = map(read_payload, again)
    assert (mid, key, value) == ("1.0.l32", *SHARE[7])


async def test_a_cancelled_send_counts_as_not_accepted(autojump_clock: trio.testing.MockClock) -> None:
    feed = Feed(1, 0, SHARE, 1.0)
    feed.begin(Store())

    async def never(payload: bytes) -> None:
        await trio.sleep_forever()

    with trio.move_on_after(1.0):
        await feed.run("l", never)
    assert feed.accepted == {"h": 0, "l": 0} and feed.waiting == len(SHARE)


@pytest.mark.parametrize("payload", [b"", b"1.0.h0", b"1.0.h0|key", b"\xff|key\tvalue"])
def test_a_payload_that_is_no_record_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read_payload(payload)


async def test_no_more_than_is_allowed_is_sent(autojump_clock: trio.testing.MockClock) -> None:
    sent: list[bytes] = []
    feed = Feed(1, 0, SHARE, 1.0, allowed=0.5)
    feed.begin(Store())
    await collect(feed, sent, 5.0)
    assert feed.accepted == {"h": 4, "l": 16} and feed.waiting == 20
    for payload in sent:
        feed.own_delivered(read_payload(payload)[0])
    assert feed.idle and not feed.finished
    feed.allow(0.9)
    feed.allow(0.2)
    await collect(feed, sent, 5.0)
    assert feed.accepted == {"h": 7, "l": 28}
    feed.allow(1.0)
    await collect(feed, sent, 5.0)
    assert sorted(read_payload(payload)[1] for payload in sent) == sorted(record.key for record in SHARE)
