"""Misuse: it raises, the message says what would be right, and nothing has changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
from service_cluster import Cluster, numbered, until

from ringproto import (
    Config,
    ConfigError,
    Guarantee,
    Message,
    Priority,
    RingClosedError,
    RingError,
    open_ring,
)
from ringproto.transports import LoopbackNetwork, open_multicast_udp, open_unicast_udp


class BareTransport:
    """The least that a transport is; its network is nowhere."""

    def __init__(self, node: Any = 1, datagram_size_max: int = 1400) -> None:
        self.node = node
        self.datagram_size_max = datagram_size_max
        self.sent = 0
        self.closed = False

    async def send(self, transmits: Any) -> None:
        self.sent += 1
        await trio.lowlevel.checkpoint()

    async def receive(self) -> list[bytes]:
        await trio.sleep_forever()
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        self.closed = True

    def statistics(self) -> dict[str, int]:
        return {}


async def refused(transport: Any, **arguments: Any) -> Exception:
    """What ``open_ring`` raises before its body is entered."""
    arguments.setdefault("config", Config.testing())
    tasks = trio.lowlevel.current_statistics().tasks_living
    try:
        with trio.move_on_after(5.0):
            async with open_ring(transport, **arguments):
                await trio.sleep(1.0)
                pytest.fail("the body was entered")
    except (TypeError, ValueError, RingError) as error:
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        return error
    pytest.fail("nothing was raised")


@pytest.mark.parametrize("node", [0, -1, 2**32, 1.0, "1", None, True])
async def test_id_that_is_no_node_id_is_refused(node: Any) -> None:
    transport = BareTransport(node)
    error = await refused(transport)
    assert isinstance(error, ValueError)
    assert "1 to 4294967295" in str(error) and repr(node) in str(error)
    assert not transport.sent and not transport.closed


@pytest.mark.parametrize("node", [0, -1, 2**32, "1"])
async def test_network_refuses_an_id_that_is_no_node_id(node: Any) -> None:
    with pytest.raises(ValueError, match=r"4294967295|32"):
        LoopbackNetwork().open(node)


async def test_one_id_twice_in_a_network_is_refused(cluster: Cluster) -> None:
    first, second = await cluster.form(1, 2)
    with pytest.raises(ValueError, match="another node id"):
        cluster.network.open(1)
    await first.ring.high.send(b"undisturbed|")
    await cluster.delivered([b"undisturbed|"], first, second)


async def test_one_id_twice_on_a_multicast_group_is_refused() -> None:
    transport = await open_multicast_udp(1, "239.192.7.77", 45_977, interface="127.0.0.1")
    try:
        with pytest.raises(ValueError, match="another node id"):
            await open_multicast_udp(1, "239.192.7.77", 45_977, interface="127.0.0.1")
    finally:
        await transport.aclose()


async def test_one_id_twice_on_a_unicast_port_is_refused() -> None:
    peers = {1: ("127.0.0.1", 45_978), 2: ("127.0.0.1", 45_979)}
    transport = await open_unicast_udp(1, peers)
    try:
        with pytest.raises(OSError, match="45978"):
            await open_unicast_udp(1, peers)
    finally:
        await transport.aclose()


async def test_one_transport_for_two_rings_is_refused(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    error = await refused(program.transport)
    assert isinstance(error, ValueError) and "one of its own" in str(error)
    await program.ring.high.send(b"undisturbed|")
    await cluster.delivered([b"undisturbed|"], program)


async def test_transport_that_was_refused_can_be_used_with_what_is_right(cluster: Cluster) -> None:
    transport = cluster.network.open(1)
    for wrong in (
        {"config": "lan"},
        {"recover": 3},
        {"seed": b"short"},
        {"config": Config.testing(datagram_size=9000)},
    ):
        await refused(transport, **wrong)
    program = cluster.start(1, transport=transport)
    await cluster.settled(program)


async def test_closed_transport_cannot_be_used_again(cluster: Cluster) -> None:
    transport = cluster.network.open(1)
    await transport.aclose()
    program = cluster.start(1, transport=transport)
    program.error_expected = True
    await program.end()
    assert isinstance(program.error, (RingError, ValueError)), repr(program.error)
    assert "closed" in str(program.error)


@pytest.mark.parametrize("transport", [None, "eth0", object(), LoopbackNetwork()])
async def test_what_is_no_transport_is_refused(transport: Any) -> None:
    error = await refused(transport)
    assert isinstance(error, TypeError) and "ringproto.transports.Transport" in str(error)
    assert type(transport).__name__ in str(error)


@pytest.mark.parametrize("config", ["lan", {"quorum": 2}, Config])
async def test_what_is_no_config_is_refused(config: Any) -> None:
    transport = BareTransport()
    error = await refused(transport, config=config)
    assert isinstance(error, TypeError) and "Config" in str(error)
    assert not transport.sent and not transport.closed


@pytest.mark.parametrize("recover", [1, "recover", [1]])
@pytest.mark.parametrize("name", ["recover", "recovery_overdue"])
async def test_what_is_no_function_is_refused(name: str, recover: Any) -> None:
    error = await refused(BareTransport(), **{name: recover})
    assert isinstance(error, TypeError) and name in str(error) and "async" in str(error)


@pytest.mark.parametrize("name", ["recover", "recovery_overdue"])
async def test_function_with_a_yield_is_refused_before_anything_is_started(name: str) -> None:
    async def waits_for_nobody(_: Any) -> AsyncIterator[None]:
        yield

    def remembers(_: Any) -> Iterator[None]:
        yield

    for function in (waits_for_nobody, remembers):
        transport = BareTransport()
        error = await refused(transport, **{name: function})
        assert isinstance(error, TypeError) and name in str(error) and "yield" in str(error)
        assert not transport.sent and not transport.closed


@pytest.mark.parametrize("seed", [b"", b"x" * 15, b"x" * 17, "x" * 16, 7])
async def test_seed_must_be_16_bytes(seed: Any) -> None:
    transport = BareTransport()
    error = await refused(transport, seed=seed)
    assert isinstance(error, (TypeError, ValueError)) and "16" in str(error)
    assert not transport.sent


@pytest.mark.parametrize("ring_sequence", [-1, 2**64, 1.5, "7", None])
async def test_ring_sequence_must_be_one_that_can_be_sent(ring_sequence: Any) -> None:
    transport = BareTransport()
    error = await refused(transport, ring_sequence=ring_sequence)
    assert isinstance(error, (TypeError, ValueError)) and "ring_sequence" in str(error)
    assert not transport.sent


@pytest.mark.parametrize("audit", [(), "log", 3])
async def test_audit_must_be_a_list(audit: Any) -> None:
    transport = BareTransport()
    error = await refused(transport, audit=audit)
    assert isinstance(error, TypeError) and "audit" in str(error) and "list" in str(error)
    assert not transport.sent


async def test_datagrams_larger_than_the_transport_takes_are_refused() -> None:
    transport = BareTransport(datagram_size_max=1400)
    error = await refused(transport, config=Config.testing(datagram_size=1401))
    assert isinstance(error, ConfigError)
    assert "1401" in str(error) and "1400" in str(error) and "datagram_size" in str(error)
    assert not transport.sent and not transport.closed


async def test_transport_with_tiny_datagrams_is_refused() -> None:
    error = await refused(BareTransport(datagram_size_max=100))
    assert isinstance(error, ConfigError) and "512" in str(error) and "100" in str(error)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("quorum", 0),
        ("quorum", 65),
        ("token_timeout_s", 0),
        ("token_timeout_s", "1"),
        ("token_retransmit_s", 0.6),
        ("message_size_max", 2**40),
        ("send_queue_max", 1.5),
        ("cluster", ""),
        ("leave_timeout_s", float("nan")),
        ("no_such_field", 1),
    ],
)
async def test_bad_field_of_the_config_is_named(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=field):
        Config.lan(**{field: value})


class Subclass(bytes):
    """It may say of itself what it likes."""


UNFIT = ["text", bytearray(b"array"), memoryview(b"view"), Subclass(b"sub"), None, 7, [b"list"]]


@pytest.mark.parametrize("payload", UNFIT, ids=lambda payload: type(payload).__name__)
async def test_payload_that_is_not_bytes_is_refused_and_nothing_is_sent(cluster: Cluster, payload: Any) -> None:
    (program,) = await cluster.form(1)
    ring = program.ring
    for sender in (ring.high, ring.low, ring.sender(Priority.LOW, Guarantee.SAFE)):
        with pytest.raises(TypeError, match="bytes"):
            await sender.send(payload)
        with pytest.raises(TypeError, match="bytes"):
            sender.send_nowait(payload)
        with pytest.raises(TypeError, match="bytes"):
            await sender.send_batch([b"good", payload])
    await ring.high.send(b"the only one|")
    await cluster.delivered([b"the only one|"], program)
    await trio.sleep(0.5)
    assert program.payloads == [b"the only one|"]


@pytest.mark.parametrize("payload", [*UNFIT, bytes(1001)], ids=lambda payload: type(payload).__name__)
async def test_batch_is_refused_as_a_whole_wherever_the_fault_stands(cluster: Cluster, payload: Any) -> None:
    """Also a batch that is larger than the queue, of which the last does not fit."""
    config = Config.testing(message_size_max=1000, send_queue_max=4)
    (program,) = await cluster.form(1, config=config)
    good = numbered("never", 9)
    for sender in (program.ring.high, program.ring.sender(Priority.LOW, Guarantee.SAFE)):
        for place in range(len(good) + 1):
            with pytest.raises((TypeError, ValueError), match=r"must be bytes|message_size_max"):
                await sender.send_batch(iter([*good[:place], payload, *good[place:]]))
            statistics = program.ring.statistics()
            assert statistics["queue_high"] == statistics["queue_low"] == 0
    await program.ring.high.send(b"the only one|")
    await cluster.delivered([b"the only one|"], program)
    assert program.payloads == [b"the only one|"]


async def test_batch_whose_iterable_fails_is_refused_as_a_whole(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)

    def payloads() -> Iterator[bytes]:
        yield b"never|"
        raise KeyError("the caller's own")

    with pytest.raises(KeyError, match="the caller's own"):
        await program.ring.high.send_batch(payloads())
    await program.ring.high.send(b"the only one|")
    await cluster.delivered([b"the only one|"], program)
    assert program.payloads == [b"the only one|"]


async def test_batch_is_sent_as_it_was_when_it_was_given(cluster: Cluster) -> None:
    """It is larger than its queue, and the caller changes the list while the rest waits for room."""
    goes_on = trio.Event()

    async def recover(recovery: Any) -> None:
        await goes_on.wait()

    program = cluster.start(1, recover=recover, config=Config.testing(send_queue_max=4))
    await until(lambda: program._ring is not None and program.ring.configuration.ring_id.sequence > 1, "it runs")
    payloads: list[Any] = numbered("batch", 10)
    given = list(payloads)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(program.ring.high.send_batch, payloads)
        await until(lambda: program.ring.statistics()["queue_high"] == 4, "the queue is full")
        payloads[5:] = [None, "text"]
        goes_on.set()
    await cluster.delivered(given, program)
    assert program.payloads == given


async def test_what_cannot_be_sent_is_refused_while_others_wait_for_room(cluster: Cluster) -> None:
    async def never(recovery: Any) -> None:
        await trio.sleep_forever()

    config = Config.testing(send_queue_max=1, message_size_max=1000)
    program = cluster.start(1, recover=never, config=config)
    await until(lambda: program._ring is not None, "it runs")
    sender = program.ring.high
    await sender.send(b"fills|")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, b"waits|")
        await until(lambda: program.ring.statistics()["senders_waiting_high"] == 1, "somebody waits")
        with trio.move_on_after(1.0) as scope:
            for payload in (Subclass(b"sub"), bytes(1001)):
                with pytest.raises((TypeError, ValueError), match=r"must be bytes|message_size_max"):
                    await sender.send(payload)
                with pytest.raises((TypeError, ValueError), match=r"must be bytes|message_size_max"):
                    await sender.send_batch([b"good", payload])
        assert not scope.cancelled_caught, "it waited for its turn before it was looked at"
        nursery.cancel_scope.cancel()


async def test_payload_above_the_maximum_is_refused_and_nothing_is_sent(cluster: Cluster) -> None:
    (program,) = await cluster.form(1, config=Config.testing(message_size_max=1000))
    ring = program.ring
    large = bytes(1001)
    for sender in (ring.high, ring.low):
        for call in (sender.send(large), sender.send_batch([b"good", large])):
            with pytest.raises(ValueError, match=r"1001 bytes.*message_size_max \(1000\)"):
                await call
        with pytest.raises(ValueError, match="message_size_max"):
            sender.send_nowait(large)
    await trio.sleep(0.5)
    assert program.messages == []
    await ring.high.send(bytes(1000))
    await until(lambda: len(program.messages) == 1, "what fits comes")


async def test_recovery_is_no_priority_of_a_sender(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    with pytest.raises(ValueError, match="recover"):
        program.ring.sender(Priority.RECOVERY)


@pytest.mark.parametrize(("priority", "guarantee"), [(3, 0), ("HIGH", 0), (1, 2), (1, "SAFE"), (None, 0)])
async def test_sender_of_no_priority_or_guarantee_is_refused(cluster: Cluster, priority: Any, guarantee: Any) -> None:
    (program,) = await cluster.form(1)
    with pytest.raises(ValueError, match=r"Priority|Guarantee"):
        program.ring.sender(priority, guarantee)


async def test_closed_sender_refuses_and_the_others_go_on(cluster: Cluster) -> None:
    (program,) = await cluster.form(1)
    sender = program.ring.sender(Priority.HIGH)
    await sender.send(b"before|")
    await sender.aclose()
    await sender.aclose()
    for call in (sender.send(b"no"), sender.send_batch([b"no"]), sender.send_batch([])):
        with pytest.raises(RingClosedError, match=r"ring\.sender"):
            await call
    with pytest.raises(trio.ClosedResourceError):
        sender.send_nowait(b"no")
    await program.ring.high.send(b"after|")
    await program.ring.sender(Priority.HIGH).send(b"after that|")
    await cluster.delivered([b"before|", b"after|", b"after that|"], program)
    assert len(program.messages) == 3


async def test_sender_that_is_closed_while_it_waits_is_told(cluster: Cluster) -> None:
    async def never(recovery: Any) -> None:
        await trio.sleep_forever()

    program = cluster.start(1, recover=never, config=Config.testing(send_queue_max=1))
    await until(lambda: program._ring is not None, "it runs")
    sender = program.ring.sender(Priority.LOW)
    await sender.send(b"fills|")
    told: list[Exception] = []

    async def wait() -> None:
        try:
            await sender.send(b"waits|")
        except Exception as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(0.1)
        sender.close()
        with trio.move_on_after(1.0):
            while not told:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    assert told and isinstance(told[0], trio.ClosedResourceError), "trio's channels wake whoever waits in them"


@pytest.mark.parametrize("limit", [0, -1, 1.5, "all"])
async def test_batch_limit_must_be_a_number_from_1(cluster: Cluster, limit: Any) -> None:
    program = cluster.start(1, body=lambda ring: trio.sleep_forever())
    await cluster.settled_others(program)
    with pytest.raises((TypeError, ValueError), match="limit"):
        await program.ring.events.receive_batch(limit)
    assert not isinstance(await program.ring.events.receive(), Message)
