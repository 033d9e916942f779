"""The stream of numbers that stands for randomness."""

from __future__ import annotations

from ringproto._core.entropy import Entropy


def numbers(seed: bytes, count: int) -> list[int]:
    entropy = Entropy(seed)
    return [entropy.next() for _ in range(count)]


def test_one_seed_gives_one_stream_for_ever() -> None:
    assert numbers(bytes(16), 5) == numbers(bytes(16), 5)
    # Written down once: what a seed of the simulator replays must not change silently.
    assert numbers(bytes(range(16)), 2) == [0x291CAD30EA6B67EA, 0xB2AB6A7276061CFB]


def test_other_seeds_give_other_streams() -> None:
    streams = [numbers(bytes([byte]) + bytes(15), 3) for byte in range(50)]
    assert len({number for stream in streams for number in stream}) == 150


def test_numbers_have_64_bits_and_do_not_repeat() -> None:
    drawn = numbers(b"0123456789abcdef", 2000)
    assert len(set(drawn)) == 2000
    assert all(0 <= number < 2**64 for number in drawn)
    for bit in range(64):
        ones = sum(number >> bit & 1 for number in drawn)
        assert 800 < ones < 1200
