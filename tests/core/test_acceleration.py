"""The accelerated window: the token leaves before the last new packets of a visit, on an installed ring."""

from __future__ import annotations

import pytest
from rings import make_ring, read

from ringproto._core.wire.regular import Kind
from ringproto.types import Guarantee, Priority


def visit_with_packets(window: int, packets: int) -> list[Kind]:
    """The kinds of what processor 1 sends to its successor in the visit that sends packets of full size."""
    cluster, wire = make_ring(accelerated_window=window)
    for number in range(packets):
        assert cluster.submit(1, bytes([number]) * 1300, Priority.HIGH, Guarantee.AGREED)
    assert cluster.run_until(lambda: all(len(cluster.messages(node)) == packets for node in (1, 2, 3)))
    sent = [seen for seen in wire.log if seen.source == 1 and seen.destination == 2]
    at = next(seen.time for seen in sent if seen.kind == Kind.DATA)
    sent = [seen for seen in sent if seen.time >= at]
    assert cluster.messages(1) == cluster.messages(2) == cluster.messages(3)
    assert not cluster.judge()
    return [seen.kind for seen in sent if seen.time < at + 1e-4 and seen.kind in (Kind.DATA, Kind.TOKEN)]


@pytest.mark.parametrize(("window", "after"), [(0, 0), (2, 2), (64, 5)])
def test_token_leaves_before_the_last_packets(window: int, after: int) -> None:
    kinds = visit_with_packets(window, 5)
    assert kinds.count(Kind.TOKEN) == 1 and kinds.count(Kind.DATA) == 5
    assert len(kinds) - 1 - kinds.index(Kind.TOKEN) == after


def test_ring_that_forms_is_not_accelerated() -> None:
    """Processor 2 lacks packets when 3 is gone, and gets them on the new ring: there every token goes last."""
    cluster, wire = make_ring(accelerated_window=64)
    wire.lose = lambda seen: seen.destination == 2 and seen.kind == Kind.DATA
    for number in range(20):
        assert cluster.submit(1, bytes([number]) * 1300, Priority.HIGH, Guarantee.AGREED)
    cluster.run(0.02)
    cluster.crash(3)
    wire.lose = lambda seen: seen.destination == 2 and seen.kind == Kind.DATA and not read(seen.datagram).old_ring
    assert cluster.run_until(lambda: cluster.configuration(2).members == (1, 2))
    wire.lose = None
    assert cluster.run_until_settled((1, 2), 5.0)
    assert cluster.messages(2) == cluster.messages(1) and len(cluster.messages(1)) == 20
    recovered = [seen for seen, packet in wire.packets() if packet.old_ring]
    assert recovered, "nothing had to be recovered, so the scenario says nothing"
    for seen in recovered:
        tokens = [token for token, _ in wire.tokens() if token.source == seen.source and token.time == seen.time]
        assert all(wire.log.index(seen) < wire.log.index(token) for token in tokens)
    assert not cluster.judge()
