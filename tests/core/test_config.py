"""Settings: every wrong value is refused by a message that names the field and what would be right."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from typing import Any

import pytest

from ringproto._core import Processor
from ringproto._core.ring.ring import RingState
from ringproto.config import _RANGES, Config
from ringproto.errors import ConfigError
from ringproto.types import RingId

BOUNDED = sorted(_RANGES)
WHOLE = [field.name for field in dataclasses.fields(Config) if str(field.type).startswith("int")]


@pytest.mark.parametrize("name", BOUNDED)
@pytest.mark.parametrize("wrong", [-1, -math.inf, math.inf, math.nan, 10**400, -(10**400), "3", b"3", True, [], 1j])
def test_value_out_of_range_is_refused_by_name(name: str, wrong: object) -> None:
    with pytest.raises(ConfigError, match=rf"Config\.{name} must be a (whole )?number from "):
        Config(**{name: wrong})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [name for name in BOUNDED if name in WHOLE])
def test_fraction_is_refused_where_things_are_counted(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"Config\.{name} must be a whole number from "):
        Config(**{name: 600.5})


@pytest.mark.parametrize("wrong", ["", "x" * 256, "é" * 128, "\ud800", b"bytes", None, 7])
def test_cluster_is_a_name_that_can_be_said(wrong: object) -> None:
    with pytest.raises(ConfigError, match=r"Config\.cluster "):
        Config(cluster=wrong)  # type: ignore[arg-type]


def test_error_about_a_huge_number_is_short() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(quorum=10**4000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("make", [Config, Config().replace, Config.lan, Config.wan, Config.testing])
def test_unknown_field_is_refused_with_those_there_are(make: Any) -> None:
    with pytest.raises(
        ConfigError,
        match=r"no field 'tokn_timeout_s'; did you mean token_timeout_s.*\? Its fields are cluster, quorum.*visit_max",
    ):
        make(tokn_timeout_s=1.0)
    with pytest.raises(ConfigError, match=r"no field 'xyz'; its fields are cluster, quorum"):
        make(xyz=1.0)


def test_settings_can_be_copied_and_pickled() -> None:
    config = Config.wan(quorum=3)
    assert copy.copy(config) == copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config


def test_settings_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Config("a cluster")  # type: ignore[call-arg]


def test_members_max_that_no_datagram_of_this_size_can_name_is_refused_with_what_would_be_right() -> None:
    """The numbers that docs/configuration.md gives: 82 bytes and 8 for each member."""

    def start(datagram_size: int, **changes: Any) -> None:
        Processor(
            1, Config.lan(**changes), datagram_size=datagram_size, seed=bytes(16), now=0.0, ring_sequence=0, audit=None
        )

    start(594)
    with pytest.raises(ConfigError, match="members_max"):
        start(593)
    start(1352, members_max=158)
    with pytest.raises(ConfigError, match="Lower members_max to 158"):
        start(1352, members_max=159)


@pytest.mark.parametrize(
    ("datagram_size", "windows"),
    [(600, (512, 384)), (1352, (512, 384)), (11_588, (176, 132)), (32_000, (64, 48)), (65_000, (31, 23))],
)
def test_windows_are_as_many_packets_as_have_so_many_bytes(datagram_size: int, windows: tuple[int, int]) -> None:
    assert Config.lan().fitted(datagram_size).windows == windows
    processor = Processor(1, Config.lan(), datagram_size=datagram_size, seed=bytes(16), now=0.0)
    assert processor.config.windows == windows


def test_windows_that_are_given_stay() -> None:
    assert Config.lan(window_size=7).fitted(65_000).windows == (7, 5)
    assert Config.lan(window_size=1).fitted(65_000).windows == (1, 1)
    assert Config.lan(visit_max=3).fitted(1352).windows == (512, 3)
    assert Config.lan(window_size=30, visit_max=9).fitted(1352).windows == (30, 9)
    assert Config.lan(visit_max=9).fitted(32_000, 100_000).windows == (64, 9)


@pytest.mark.parametrize(
    ("changes", "retransmit_s"),
    [
        ({}, 1 / 6),
        ({"token_timeout_s": 0.2}, 0.2 / 3),
        ({"token_timeout_s": 10.0}, 1 / 6),
        ({"token_timeout_s": 10.0, "token_retransmit_s": 2.0}, 2.0),
    ],
)
def test_token_is_sent_again_in_time_for_short_timeouts_and_soon_for_long_ones(
    changes: dict[str, float], retransmit_s: float
) -> None:
    config = Config.lan(**changes)
    assert config.retransmit_s == pytest.approx(retransmit_s)
    assert config.hold_s == pytest.approx(0.8 * retransmit_s)


@pytest.mark.parametrize(
    ("receive_buffer", "visit_max"),
    [(None, 48), (4 * 2**20, 48), (2_048_000, 48), (2_047_999, 47), (212_992, 4), (32_000, 1), (1, 1)],
)
def test_one_visit_fits_into_the_receive_buffer(receive_buffer: int | None, visit_max: int) -> None:
    config = Config.lan()
    assert config.fitted(32_000, receive_buffer).windows == (64, visit_max)
    processor = Processor(1, config, datagram_size=32_000, receive_buffer=receive_buffer, seed=bytes(16), now=0.0)
    assert processor.config.windows == (64, visit_max)


def test_memory_that_the_settings_allow() -> None:
    mib = 2**20
    config = Config(
        members_max=10,
        message_size_max=mib,
        window_size=100,
        datagram_size=1000,
        send_queue_bytes_max=5 * mib,
        events_bytes_max=7 * mib,
    )
    windows = 2 * 1024 * 1000
    assert config.begun_max_bytes == 10 * 3 * mib
    assert config.memory_max_bytes() == 10 * 3 * mib + windows + 3 * 5 * mib + 7 * mib + mib
    # An empty queue takes one message of any permitted size.
    large = config.replace(message_size_max=6 * mib)
    assert large.memory_max_bytes() == 10 * 3 * 6 * mib + windows + 3 * 6 * mib + 7 * mib + 6 * mib


def test_memory_of_windows_goes_with_the_datagrams_of_the_transport() -> None:
    def windows(datagram_size: int | None) -> int:
        config = Config(members_max=1, message_size_max=1, send_queue_bytes_max=1, events_bytes_max=1)
        return config.memory_max_bytes(datagram_size) - 8

    assert windows(1352) == 2 * 4096 * 1352
    assert windows(32_000) == 2 * 512 * 32_000
    assert windows(None) == windows(65_000) == windows(65_507) == 2 * 256 * 65_000
    assert max(preset().memory_max_bytes() for preset in (Config.lan, Config.wan, Config.testing)) < 2**29


def test_the_window_of_a_ring_has_the_slots_that_the_memory_is_computed_with() -> None:
    config = Config(window_size=100).fitted(1000)
    assert RingState(RingId(1, 1, 0), (1,), 1, config, 10).window.capacity == 1024
