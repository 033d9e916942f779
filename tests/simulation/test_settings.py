"""What the processors of a run are set to: what users have, anything that is valid, and what makes much happen."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from ringproto.config import Config
from ringproto.testing.campaign.settings import PRESETS, Settings, bound_s, draw_settings, judged, rests, unit_s
from ringproto.testing.simulator.network import Weather

DELAY_S = 0.0002


def draws(count: int, **choices: bool) -> list[Settings]:
    draw = random.Random(14)
    return [draw_settings(draw, 5, light=False, **choices) for _ in range(count)]


def test_a_third_of_the_draws_is_a_preset_a_third_random_and_a_third_scaled() -> None:
    kinds = Counter("preset" if settings.kind in PRESETS else settings.kind for settings in draws(600))
    assert kinds.keys() == {"preset", "random", "scaled"}
    assert all(150 <= count <= 250 for count in kinds.values()), kinds


def test_presets_are_drawn_as_they_are_shipped_with_the_latencies_they_are_for() -> None:
    seen = set()
    for settings in draws(200):
        if settings.kind not in PRESETS:
            continue
        seen.add(settings.kind)
        assert settings.config.replace(quorum=1) == getattr(Config, settings.kind)()
        assert settings.judged
        if settings.kind == "wan":
            assert 0.01 <= settings.clear.latency_s[0] <= settings.clear.latency_s[1] <= 0.1
        else:
            assert settings.clear == Weather()
    assert seen == set(PRESETS)


def test_random_settings_come_from_all_magnitudes_and_most_of_them_must_live() -> None:
    drawn = [settings for settings in draws(600) if settings.kind == "random"]
    timeouts = [settings.config.token_timeout_s for settings in drawn]
    assert min(timeouts) < 0.05
    assert max(timeouts) > 500.0
    assert 0.6 < sum(settings.judged for settings in drawn) / len(drawn) < 0.95
    parts = [settings.config.token_timeout_s / settings.config.retransmit_s for settings in drawn if settings.judged]
    assert min(parts) < 5.0
    assert max(parts) > 20.0


def test_plain_draws_must_live_and_have_no_limits_of_next_to_nothing() -> None:
    assert all(settings.judged and not settings.rare for settings in draws(100, plain=True))
    assert any(settings.rare for settings in draws(100))


def test_costly_runs_have_scaled_settings_without_such_limits() -> None:
    assert {(settings.kind, settings.rare) for settings in draws(50, scaled=True)} == {("scaled", False)}


@pytest.mark.parametrize("name", ["lan", "testing"])
def test_shipped_settings_must_live_on_a_local_network(name: str) -> None:
    assert judged(getattr(Config, name)(), 12, DELAY_S)


@pytest.mark.parametrize(
    "changes",
    [
        {"token_timeout_s": 0.4},  # 0.3 + 2 * 5 * 0.0002 + 8 * (0.0004 + 0.02) is more
        {"token_retransmit_s": 0.351},
        {"consensus_timeout_s": 0.16, "join_timeout_s": 0.02},
        {"fail_to_receive_s": 1.9},
    ],
)
def test_settings_that_need_not_live_are_known(changes: dict[str, float]) -> None:
    config = Config(
        token_timeout_s=1.0,
        token_retransmit_s=0.33,
        token_hold_s=0.3,
        token_retransmit_min_s=0.02,
        consensus_timeout_s=0.2,
        fail_to_receive_s=2.0,
    )
    assert judged(config, 5, DELAY_S)
    assert not judged(config.replace(**changes), 5, DELAY_S)


def test_a_slow_network_makes_settings_that_need_not_live() -> None:
    assert judged(Config.lan(), 5, 0.005)
    assert not judged(Config.lan(), 5, 0.03)


def test_the_bound_is_counted_in_the_longest_step_of_a_merge() -> None:
    assert unit_s(Config.lan()) == 0.13
    assert unit_s(Config.lan(consensus_timeout_s=0.5)) == 0.25
    assert unit_s(Config.lan(token_timeout_s=2.0)) == 0.5
    assert bound_s(Config.lan(), 3, 0.05) == pytest.approx(20 * 0.13)
    assert bound_s(Config.lan(), 12, 0.06) == pytest.approx(50 * 0.13)
    assert bound_s(Config.lan(), 24, 0.0) == pytest.approx(40 * 0.13)


def test_a_token_rests_where_it_comes_round_before_it_is_sent_again() -> None:
    config = Config.lan(token_retransmit_s=0.1, token_hold_s=0.09)
    assert rests(config, 5, 0.0009)
    assert not rests(config, 5, 0.0011)
