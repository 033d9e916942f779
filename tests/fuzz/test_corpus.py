"""The inputs that fuzzing kept, through both targets, without atheris and on the core as it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzz_parser
import fuzz_sequences
import pytest
import stage
from engine import CORPUS, Target, seeds

from ringproto._core import Ready
from ringproto._core.wire.membership import MembershipCodec
from ringproto._core.wire.regular import Codec, Kind, Malformed

CORPUS_BYTES_MAX = 200_000


def run(target: Target, seed: Path) -> None:
    try:
        target(seed.read_bytes())
    except Exception as error:
        raise AssertionError(f"{seed} breaks the target: {error!r}") from error


def test_parser_inputs_break_nothing() -> None:
    for seed in seeds("parser"):
        run(fuzz_parser.check, seed)


def test_kept_inputs_are_few() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < CORPUS_BYTES_MAX


def test_parser_inputs_reach_every_decoder_and_every_reason() -> None:
    accepted = set()
    refused = set()
    for seed in seeds("parser"):
        data = seed.read_bytes()
        if not data:
            continue
        datagram = fuzz_parser.datagram_of(data)
        limits = fuzz_parser.LIMITS[data[0] >> 5 & 1]
        codec = Codec(fuzz_parser.CLUSTER, 1)
        try:
            kind, _ = codec.open(datagram)
            fuzz_parser.decode_and_encode(kind, codec, datagram, *limits)
            accepted.add(kind)
        except Malformed as error:
            refused.add(error.args[0])
    assert accepted == set(Kind)
    assert refused == fuzz_parser.REASONS


def test_sequence_inputs_break_nothing_and_play_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = set()
    happened = set()

    def watched(happening: Callable[..., None]) -> Callable[..., None]:
        def watch(*arguments: Any) -> None:
            happened.add(happening)
            happening(*arguments)

        return watch

    happenings = fuzz_sequences.HAPPENINGS
    monkeypatch.setattr(fuzz_sequences, "HAPPENINGS", tuple(map(watched, happenings)))
    for seed in seeds("sequences"):
        scenes.add(seed.read_bytes()[0] % len(stage.SCENES))
        run(fuzz_sequences.check, seed)
    assert scenes == set(range(len(stage.SCENES)))
    assert happened == set(happenings)


# The targets can fail


def test_parser_target_finds_a_field_that_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = next(seed.read_bytes() for seed in seeds("parser") if seed.read_bytes()[:1] == bytes([Kind.WAKE - 1]))
    monkeypatch.setattr(
        fuzz_parser, "decode_and_encode", lambda kind, codec, *_: MembershipCodec(codec).encode_wake(bytes(20))
    )
    with pytest.raises(AssertionError, match="encodes to"):
        fuzz_parser.check(golden)


def test_parser_target_finds_a_reason_that_nobody_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_parser, "REASONS", fuzz_parser.REASONS - {"too_short"})
    with pytest.raises(AssertionError, match="no reason that is documented"):
        fuzz_parser.check(bytes((fuzz_parser.RAW, 1)))


MALFORMED = bytes((6, 0x8A, 2, 1, 2))  # at an idle ring: two bytes that are no datagram
CONSENSUS = bytes((0, 0x54))  # alone, until a consensus timeout comes


def test_sequence_target_finds_a_datagram_that_is_counted_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz_sequences.check(MALFORMED)
    right = stage.Stage.hand

    def twice(self: stage.Stage, node: int, *datagrams: bytes) -> None:
        right(self, node, *datagrams, *datagrams)

    monkeypatch.setattr(stage.Stage, "hand", twice)
    with pytest.raises(AssertionError, match="were counted"):
        fuzz_sequences.check(MALFORMED)


def test_sequence_target_finds_a_datagram_that_was_sent_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz_sequences.check(CONSENSUS)
    right = stage.Stage.turn

    def twice(self: stage.Stage, node: int, *datagrams: bytes) -> Ready:
        ready = right(self, node, *datagrams)
        self.sent += ready.transmits
        return ready

    monkeypatch.setattr(stage.Stage, "turn", twice)
    with pytest.raises(AssertionError, match="were sent"):
        fuzz_sequences.check(CONSENSUS)


def test_sequence_target_finds_what_is_held_on_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_sequences, "WEIGHT_MAX", 1000)
    with pytest.raises(AssertionError, match="holds"):
        fuzz_sequences.check(MALFORMED)
