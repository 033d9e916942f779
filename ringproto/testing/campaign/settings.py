"""What the processors of one run are set to, and within which times they must be together.

A third of the runs has a preset as it is shipped, because that is what users have. A third has random values out of
all that is valid. The rest has the settings for tests, all times multiplied by the same factor: short times, in which
much happens for each step that the simulator computes.

Not every valid setting makes a ring that lives: a token timeout of two delays breaks at the first lost token. So
liveness and stability are asked for where ``judged`` says so, and safety always.
"""

from __future__ import annotations

import dataclasses
import math
import random as random_module

from ringproto._core import members_that_fit
from ringproto.config import Config
from ringproto.errors import ConfigError
from ringproto.testing.simulator.network import Weather

__all__ = ["BOUND_UNITS", "PRESETS", "Settings", "bound_s", "draw_settings", "judged", "rests", "unit_s"]

BOUND_UNITS = {0.05: 20, 1.0: 50}
"""At a loss of up to so much, the members are together within so many units."""
MEMBERS = 12
"""Of more processors than these the bound grows in proportion."""
TRIES = 8
"""So often, at least, a token can be sent again before its timeout where stability is asked for."""
RETRANSMITS = 3
"""So often ``token_retransmit_s`` passes, at least, before the timeout where stability is asked for."""
JOINS = 8
"""So often a join can be said and answered within a consensus timeout where liveness is asked for."""
RECEIVE_TIMEOUTS = 2
"""So many token timeouts ``fail_to_receive_s`` is, at least, where stability is asked for."""

SCALES = (1, 5, 5, 20)
"""All times of a full run with scaled settings are those of ``Config.testing()`` so many times."""
LIGHT_SCALES = (1, 1, 5, 20)
"""The same for a light run."""
LOCAL = 0.2
"""How probable it is that latencies are those of a local network although the scaled timeouts are long."""
HOLDS = (0.1, 0.6, 0.6, 0.9, 0.9, 0.9)
"""So long an idle token rests in scaled settings, as a part of ``token_retransmit_s``."""
WAN_S = (0.02, 0.1)
"""Of a wide network the least and the greatest latency that are drawn, one way."""
PRESETS = ("lan", "wan", "testing")
JUDGED = 0.75
"""How probable it is that random settings are drawn until liveness and stability are asked for with them."""
RARE = {False: 0.75, True: 0.5}
"""How probable it is that scaled settings of a full run, and of a light one, have limits of next to nothing."""
DATAGRAM_SIZES = (512, 65_000)
"""The least and the greatest that are drawn, in bytes: all that are valid."""
MESSAGE_SIZES = (256, 256 * 2**20)
"""The least and the greatest ``message_size_max`` that are drawn, in bytes. The least lets each message say which one
it is."""
DRAWS_MAX = 300
HOPS_MAX = 3000
"""Of random settings: so often, at most, an idle token moves within a token timeout. More only costs steps."""


def unit_s(config: Config) -> float:
    """The time in which the bounds of liveness are counted, in seconds: what one step of a merge takes, at most."""
    return max(config.merge_detect_s, config.consensus_timeout_s / 2, config.token_timeout_s / 4)


def bound_s(config: Config, members: int, loss: float) -> float:
    """Within so many seconds so many processors are one ring, if nothing is left of the faults but this loss."""
    units = next(units for greatest, units in sorted(BOUND_UNITS.items()) if loss <= greatest)
    return units * unit_s(config) * max(1.0, members / MEMBERS)


def judged(config: Config, members: int, delay_s: float) -> bool:
    """Whether liveness and stability are asked for with this greatest latency, one way and in seconds."""
    round_trip_s = 2 * delay_s
    needed_s = config.hold_s + members * round_trip_s + TRIES * (round_trip_s + config.token_retransmit_min_s)
    return (
        config.token_timeout_s >= needed_s
        and config.retransmit_s <= config.token_timeout_s / RETRANSMITS
        and config.consensus_timeout_s >= JOINS * (config.join_timeout_s + round_trip_s)
        and config.fail_to_receive_s >= RECEIVE_TIMEOUTS * config.token_timeout_s
    )


def rests(config: Config, members: int, delay_s: float) -> bool:
    """Whether an idle token comes round before anybody sends it again, with this greatest latency."""
    return config.retransmit_s > config.hold_s + members * 2 * delay_s


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """The configuration of one run, and its network when all is calm."""

    config: Config
    clear: Weather
    kind: str
    """Where they come from, in a word."""
    judged: bool
    """Whether liveness and stability are asked for."""
    rare: bool = False
    """Whether some limits are next to nothing."""


def draw_settings(
    random: random_module.Random, members: int, *, light: bool, scaled: bool = False, plain: bool = False
) -> Settings:
    """Settings for so many processors: of the three ways each in a third of the draws, or the scaled ones if ``scaled``
    says so. ``plain``: no limits of next to nothing, and such that liveness is asked for."""
    quorum = random.randint(1, members // 2 + 1) if random.random() < 0.5 else 1
    way = "scaled" if scaled else random.choice(("preset", "random", "scaled"))
    if way == "preset":
        return _preset(random, quorum)
    if way == "random":
        return _random(random, members, quorum, wanted=plain or random.random() < JUDGED)
    config = _scaled(random, light=light)
    rare = not (plain or scaled) and random.random() < RARE[light]
    if rare:
        config = _rare(random, config)
    config = config.replace(quorum=quorum)
    clear = _clear(random, config)
    return Settings(config, clear, "scaled", judged(config, members, clear.latency_s[1]), rare)


def _preset(random: random_module.Random, quorum: int) -> Settings:
    """As it is shipped, with the latencies that it is for: the documents promise that it lives there."""
    name = random.choice(PRESETS)
    config: Config = getattr(Config, name)(quorum=quorum)
    latency_s = Weather().latency_s
    if name == "wan":
        latency = random.uniform(*WAN_S)
        latency_s = (latency * random.uniform(0.5, 1.0), latency)
    return Settings(config, Weather(latency_s=latency_s), name, judged=True)


def _random(random: random_module.Random, members: int, quorum: int, *, wanted: bool) -> Settings:
    """Any valid values, or if they are ``wanted`` such with which a ring must live."""
    for _ in range(DRAWS_MAX):
        # Times of all orders of magnitude; latencies that make no more than some thousand steps of a token timeout.
        token_timeout_s = _magnitude(random, 0.001, 3600.0)
        delay_s = token_timeout_s * _magnitude(random, 1 / 5000, 1 / 10)
        try:
            config = _any(random, members, token_timeout_s).replace(quorum=quorum)
        except ConfigError:
            continue  # two of the values do not fit together
        hops = members * token_timeout_s / (config.hold_s + members * delay_s)
        if hops <= HOPS_MAX and (not wanted or judged(config, members, delay_s)):
            clear = Weather(latency_s=(delay_s * random.random(), delay_s))
            return Settings(config, clear, "random", judged(config, members, delay_s))
    raise AssertionError(f"{DRAWS_MAX} draws in a row gave no settings")


def _any(random: random_module.Random, members: int, token_timeout_s: float) -> Config:
    """Any values that so many members and a token timeout may go with. Raises ConfigError if they do not fit together.

    The datagram size is drawn too. With the other settings the run draws it.
    """

    def part(least: float, greatest: float, of: float = token_timeout_s) -> float:
        return of * _magnitude(random, least, greatest)

    datagram_size = round(_magnitude(random, *DATAGRAM_SIZES))
    retransmit_s = part(0.01, 1.0)
    retransmit_min_s = part(0.02, 1.0, retransmit_s)
    consensus_timeout_s = part(0.05, 5.0)
    return Config(
        members_max=random.randint(members, min(256, members_that_fit(datagram_size))),
        datagram_size=datagram_size,
        token_timeout_s=token_timeout_s,
        token_retransmit_s=retransmit_s,
        token_retransmit_min_s=retransmit_min_s,
        token_hold_s=random.choice((None, random.random() * retransmit_s)),
        token_keep_s=random.choice((None, 0.0, random.random() * retransmit_min_s)),
        rotation_target_s=random.choice((None, part(0.001, 1.0))),
        join_timeout_s=part(0.02, 0.9, consensus_timeout_s),
        consensus_timeout_s=consensus_timeout_s,
        merge_detect_s=part(0.1, 5.0),
        fail_to_receive_s=part(0.5, 10.0),
        leave_timeout_s=random.choice((0.0, part(0.1, 20.0))),
        slow_consumer_timeout_s=part(1.0, 100.0),
        window_size=random.choice((None, round(_magnitude(random, 1, 4096)))),
        visit_max=random.choice((None, round(_magnitude(random, 1, 4096)))),
        accelerated_window=random.choice((0, 0, round(_magnitude(random, 1, 4096)))),
        retransmits_max=random.randint(1, 128),
        low_every=round(_magnitude(random, 2, 1024)),
        send_queue_max=round(_magnitude(random, 1, 4096)),
        send_queue_bytes_max=round(_magnitude(random, 1, 2**34)),
        events_max=round(_magnitude(random, 1, 8192)),
        events_bytes_max=round(_magnitude(random, 1, 2**34)),
        message_size_max=round(_magnitude(random, *MESSAGE_SIZES)),
    )


def _magnitude(random: random_module.Random, least: float, greatest: float) -> float:
    """A number of any order of magnitude between the two."""
    return least * math.pow(greatest / least, random.random())


def _scaled(random: random_module.Random, *, light: bool) -> Config:
    testing = Config.testing()
    scale = random.choice(LIGHT_SCALES if light else SCALES)
    times = {
        field.name: getattr(testing, field.name) * scale
        for field in dataclasses.fields(Config)
        if field.name.endswith("_s") and getattr(testing, field.name) is not None
    }
    # A token that rests longer between visits makes less to compute and hides nothing; a restless one stays the rarity.
    times["token_hold_s"] = random.choice(HOLDS) * testing.retransmit_s * scale
    times["token_keep_s"] = random.choice((None, None, 0.0, 0.9 * testing.token_retransmit_min_s * scale))
    return testing.replace(**times, message_size_max=64 * 1024, accelerated_window=random.choice((0, 1, 3, 64)))


def _rare(random: random_module.Random, config: Config) -> Config:
    """The same with limits of next to nothing."""
    return config.replace(
        rotation_target_s=random.choice((None, 0.0001, 0.001)),
        window_size=random.choice((1, 2, 4, 32)),
        visit_max=random.choice((1, 2, 4, 8)),
        retransmits_max=random.choice((1, 2, 64)),
        low_every=random.choice((2, 3, 16)),
        send_queue_max=random.choice((1, 2, 16, 256)),
        events_max=random.choice((1, 4, 32, 512)),
    )


def _clear(random: random_module.Random, config: Config) -> Weather:
    """A local network, or one that is as much slower as the timeouts are longer than in tests."""
    scale = config.token_timeout_s / Config.testing().token_timeout_s
    least, greatest = Weather().latency_s
    if random.random() < LOCAL:
        scale = 1.0
    return Weather(latency_s=(least * scale, greatest * scale))
