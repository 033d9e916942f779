"""Tables of what flow control does, on processors where everything has a price: ``python bench/priced.py``.

They are the same on every machine; what the prices are stands in tests/helpers/priced_ring.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from priced_ring import FRAME_SIZE, Outcome, PricedRing, Prices

from ringproto import Config


def flood(count: int, cores: int, target_s: float | None) -> str:
    """One row: ``HIGH`` idle and in a flood of ``LOW``, and what ``LOW`` loses."""
    ring = PricedRing(count, Config.lan(send_queue_max=1024, rotation_target_s=target_s), cores=cores)
    alone = ring.run(0.2, flood=True, high_every=1.0)
    ring.run(0.05, flood=False, high_every=1.0)
    idle, both = ring.run(0.2, flood=False), ring.run(0.4, flood=True)
    target = "none" if target_s is None else f"{target_s * 1e3:g} ms"
    return (
        f"| {count} on {cores} | {target} | {idle.high_s(50) * 1e3:.2f} | {both.high_s(50) * 1e3:.2f} | "
        f"{both.high_s(99) * 1e3:.2f} | {alone.low_per_s:,.0f} | {both.low_per_s / alone.low_per_s:.0%} |"
    )


def loaded(loss: float, window: int, size: int, wire_s: float, **changes: float | None) -> Outcome:
    config = Config.lan(send_queue_max=1024, accelerated_window=window, **changes)
    return PricedRing(3, config, loss=loss, size=size, prices=Prices(wire=wire_s)).run(0.4, flood=True, high_every=1.0)


def segmented(loss: float, frames: int, size: int) -> Outcome:
    """With datagrams of so many frames, each of which may be lost."""
    config = Config.lan(send_queue_max=1024)
    ring = PricedRing(3, config, loss=loss, datagram_size=frames * FRAME_SIZE, size=size)
    return ring.run(0.4, flood=True, high_every=1.0)


def main() -> None:
    print(
        "| processors on cores | target | HIGH idle, p50 ms | in the flood, p50 | p99 | LOW alone, /s | beside HIGH |"
    )
    for count, cores in ((3, 3), (3, 2), (9, 4)):
        for target_s in (None, Config.lan().rotation_target_s):
            print(flood(count, cores, target_s), flush=True)
    print("| way | payload | LOW /s, token last | LOW /s, accelerated |")
    for wire_s in (1e-5, 1e-4):
        for size in (200, 1300):
            rates = [loaded(0.0, window, size, wire_s).low_per_s for window in (0, 256)]
            print(f"| {wire_s * 1e6:.0f} us | {size} | {rates[0]:,.0f} | {rates[1] / rates[0]:.2f} times |", flush=True)
    print("| loss | LOW /s | of lossless | mean rotation, ms | retransmissions |")
    lossless = loaded(0.0, 0, 200, 1e-5)
    for loss in (0.0, 0.01, 0.05, 0.2):
        got = loaded(loss, 0, 200, 1e-5, token_retransmit_min_s=0.002)
        print(
            f"| {loss:.0%} | {got.low_per_s:,.0f} | {got.low_per_s / lossless.low_per_s:.0%} | "
            f"{got.rotation_s * 1e3:.2f} | {got.retransmissions} |",
            flush=True,
        )
    print("| payload | frames of a datagram | LOW /s, losing 0, 0.1 %, 1 %, 5 % and 20 % of the frames |")
    for size in (200, 1300):
        for frames in (1, 8):
            rates = [segmented(loss, frames, size).low_per_s for loss in (0.0, 0.001, 0.01, 0.05, 0.2)]
            print(f"| {size} | {frames} | {', '.join(f'{rate:,.0f}' for rate in rates)} |", flush=True)


if __name__ == "__main__":
    main()
