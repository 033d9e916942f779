"""Links that lose: a transport like any other, but for what it is told to lose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
import trio.testing

from ringproto._processes.transports import local_transport, open_transport
from ringproto.chaos.faulty_transport import CALM, HEADER_SIZE, HELD_MAX, Disorder, HeldDatagrams, LossyLinks
from ringproto.testing.transport_contract import CONTRACT, Check
from ringproto.transports import BackgroundTransport, LoopbackNetwork, Transport
from ringproto.transports.unicast_udp import UnicastUDP


async def open_links(nodes: tuple[int, ...]) -> Sequence[Transport]:
    network = LoopbackNetwork()
    return [LossyLinks(network.open(node), Random(node)) for node in nodes]


@asynccontextmanager
async def three() -> AsyncIterator[list[LossyLinks]]:
    network = LoopbackNetwork()
    links = [LossyLinks(network.open(node), Random(node)) for node in (1, 2, 3)]
    yield links
    for one in links:
        await one.aclose()


async def arrived(links: LossyLinks) -> list[bytes]:
    """What has arrived when nothing more comes."""
    datagrams: list[bytes] = []
    with trio.move_on_after(0.5):
        while True:
            datagrams += await links.receive()
    return datagrams


async def open_links_over_udp(nodes: tuple[int, ...]) -> Sequence[Transport]:
    description = local_transport("unicast", nodes)
    return [LossyLinks(await open_transport(node, description), Random(node)) for node in nodes]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_links_over_udp_keep_the_contract_of_transports(check: Check) -> None:
    await check(open_links_over_udp)


async def test_background_work_of_the_transport_below_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done = 0

    async def work(self: UnicastUDP) -> None:
        nonlocal done
        done += 1

    monkeypatch.setattr(UnicastUDP, "run_background", work)
    links, other = await open_links_over_udp((1, 2))
    assert isinstance(links, BackgroundTransport)
    await links.run_background()
    assert done == 1
    await links.aclose()
    await other.aclose()
    await LossyLinks(LoopbackNetwork().open(1), Random(1)).run_background()  # which has none


async def test_links_make_no_segments_of_small_datagrams() -> None:
    first, second = await open_links_over_udp((1, 2))
    await first.send([(2, b"\0"), (0, b"small")])
    with trio.fail_after(10):
        assert await second.receive() == [b"\0", b"small"]
    assert first.statistics()["bytes_sent"] == len(b"\0small")
    await first.aclose()
    await second.aclose()


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_links_keep_the_contract_of_transports(check: Check, autojump_clock: trio.testing.MockClock) -> None:
    await check(open_links)


async def test_a_link_that_is_cut_loses_everything_and_no_other_does(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, other):
        two.lose({1: 1.0})
        await one.send([(0, b"to all"), (2, b"to two")])
        await other.send([(0, b"from three")])
        assert await arrived(two) == [b"from three"]
        assert await arrived(other) == [b"to all"]
        assert await arrived(one) == [b"from three"]
        assert (two.statistics()["drops_link"], two.statistics()["datagrams_received"]) == (2, 1)
        assert two.statistics()["bytes_received"] == len(b"from three")
        two.lose({})
        await one.send([(2, b"again")])
        assert await arrived(two) == [b"again"]


async def test_a_link_has_a_direction(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.lose({1: 1.0})
        await two.send([(1, b"hello")])
        assert await arrived(one) == [b"hello"]


async def test_a_link_loses_about_the_part_that_it_is_told(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.lose({1: 0.3})
        sent = [b"%d" % number for number in range(2000)]
        for start in range(0, len(sent), 100):
            await one.send([(2, datagram) for datagram in sent[start : start + 100]])
        got = await arrived(two)
        assert 1250 < len(got) < 1550
        assert [datagram for datagram in sent if datagram in set(got)] == got
        assert two.statistics()["drops_link"] == len(sent) - len(got)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
async def test_what_is_no_probability_is_refused_and_changes_nothing(
    probability: float, autojump_clock: trio.testing.MockClock
) -> None:
    async with three() as (one, two, _):
        two.lose({1: 1.0})
        with pytest.raises(ValueError, match="node 3 must be lost with a probability from 0 to 1"):
            two.lose({3: probability})
        await one.send([(2, b"hello")])
        assert await arrived(two) == []


async def test_what_must_be_written_first_is_written_before_a_datagram_leaves(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = LoopbackNetwork()
    steps: list[str] = []

    class Inner(LossyLinks):
        async def send(self, transmits: Sequence[tuple[int, bytes]]) -> None:
            steps.append(f"sends {len(transmits)}")
            await super().send(transmits)

    links = LossyLinks(Inner(network.open(1), Random(1)), Random(1), lambda: steps.append("written"))
    await links.send([(0, b"one"), (0, b"two")])
    assert steps == ["written", "sends 2"]
    await links.aclose()


async def test_a_datagram_without_a_sender_is_dropped(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    bare, links = network.open(1), LossyLinks(network.open(2), Random(2))
    await bare.send([(2, b"x" * HEADER_SIZE), (2, b"\1\0\0\0\1hello")])
    assert await arrived(links) == [b"hello"]
    assert links.statistics()["drops_no_sender"] == 1
    await bare.aclose()
    await links.aclose()


SENT = [b"%d" % number for number in range(500)]


async def send_all(links: LossyLinks) -> None:
    for start in range(0, len(SENT), 50):
        await links.send([(2, datagram) for datagram in SENT[start : start + 50]])


async def test_a_delay_comes_over_everything_and_leaves_the_order(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.disturb(Disorder(delay_s=0.1))
        began = trio.current_time()
        await send_all(one)
        first = await two.receive()
        assert 0.0 < trio.current_time() - began <= 0.1
        assert [*first, *await arrived(two)] == SENT


async def test_copies_come_beside_every_datagram_and_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.disturb(Disorder(duplication=0.2, late_s=0.1))
        await send_all(one)
        got = await arrived(two)
        assert list(dict.fromkeys(got)) == SENT
        copies = len(got) - len(SENT)
        assert 60 < copies < 140
        assert two.statistics()["copies_link"] == copies
        assert max(map(got.count, SENT)) == 2
        assert any(first != second for first, second in zip(got[::2], got[1::2], strict=False)), "copies come later"


async def test_some_are_overtaken_and_none_is_lost(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.disturb(Disorder(reordering=0.2, late_s=0.1))
        await send_all(one)
        got = await arrived(two)
        assert sorted(got) == sorted(SENT)
        late = sum(int(datagram) < max(map(int, got[:place])) for place, datagram in enumerate(got) if place)
        assert 60 < late < 140


async def test_cancelling_receive_loses_nothing_that_is_held(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.disturb(Disorder(delay_s=0.3))
        await send_all(one)
        got = []
        for _ in range(200):
            with trio.move_on_after(0.003):
                got += await two.receive()
        assert got == SENT


async def test_links_that_are_calm_again_hold_nothing_up(autojump_clock: trio.testing.MockClock) -> None:
    async with three() as (one, two, _):
        two.disturb(Disorder(delay_s=0.2))
        await one.send([(2, b"held")])
        with trio.move_on_after(0.0001):
            await two.receive()
        two.disturb(Disorder())
        began = trio.current_time()
        await one.send([(2, b"now")])
        assert await two.receive() == [b"now"]
        assert trio.current_time() == began
        assert await arrived(two) == [b"held"]


def test_what_is_held_is_bounded() -> None:
    held = HeldDatagrams(Random(1))
    held.disorder = Disorder(delay_s=100.0)
    for _ in range(2 * HELD_MAX):
        held.take(b"x", 0.0)
        held.due(0.0)
    assert len(held) == HELD_MAX


@pytest.mark.parametrize(
    "wrong", [{"delay_s": -1.0}, {"late_s": float("inf")}, {"duplication": 1.1}, {"reordering": float("nan")}]
)
def test_a_disorder_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be a"):
        Disorder(**wrong)


def test_disorder_says_what_it_is_in_words() -> None:
    assert str(CALM) == "no disorder"
    assert str(Disorder(delay_s=0.01, duplication=0.02, late_s=0.1)) == (
        "delay up to 10 ms, 2% come twice, up to 100 ms apart"
    )
