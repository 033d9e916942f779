"""Members that stand still whenever they recover come together while datagrams are lost, with few recoveries."""

from __future__ import annotations

import pytest
from rings import read

from ringproto._core.wire.regular import Phase, Token
from ringproto.config import Config
from ringproto.events import RegularConfiguration
from ringproto.testing.campaign.settings import bound_s
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import Weather
from ringproto.testing.simulator.wire_reader import kind_of

RECOVERIES_MAX = 5
"""So often, at most, a member stands still until all are together (departure 22)."""


def configurations(cluster: Cluster, node: int) -> int:
    return sum(isinstance(event, RegularConfiguration) for event in cluster.events(node))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(
    ("config", "count", "timeouts", "loss"),
    [
        (Config.lan(), 12, 1.5, 0.15),
        (Config.lan(), 12, 4.0, 0.15),
        (Config.lan(), 6, 4.0, 0.15),
        (Config.testing(), 12, 15.0, 0.15),
        (Config.lan(), 12, 4.0, 0.05),
    ],
    ids=["lan, 12, 1.5 timeouts", "lan, 12", "lan, 6", "testing, 12, 15 timeouts", "lan, 12, 5 %"],
)
def test_all_stand_still_whenever_they_recover(
    config: Config, count: int, timeouts: float, loss: float, seed: int
) -> None:
    stands_s = timeouts * config.token_timeout_s
    cluster = Cluster(seed, config)
    cluster.network.clear = cluster.network.weather = Weather(loss=loss)
    nodes = range(1, count + 1)
    cluster.start(*nodes, habits=Habits(stands_still_s=stands_s))
    limit_s = bound_s(config, count, loss) + RECOVERIES_MAX * stands_s
    assert cluster.run_until(lambda: cluster.formed(nodes), limit_s)
    assert max(configurations(cluster, node) for node in nodes) <= RECOVERIES_MAX


@pytest.mark.parametrize("lost", [(1,), (1, 2), (1, 2, 3)], ids=str)
def test_token_that_installs_is_lost_once_at_each_of_several_that_stand_still(lost: tuple[int, ...]) -> None:
    """Each could send it again only when it runs again, and the others would wait for one after the other."""
    config = Config.testing()
    cluster = Cluster(1, config)
    nodes = (1, 2, 3, 4)
    missing = set(lost)

    def lose(time: float, source: int, destination: int, datagram: bytes) -> bool:
        if source not in missing or kind_of(datagram) != "token" or cluster.configuration(source).members != nodes:
            return True
        token = read(datagram)
        assert isinstance(token, Token) and token.phase == Phase.INSTALLED
        missing.remove(source)
        return False

    cluster.filter = lose
    cluster.start(*nodes, habits=Habits(stands_still_s=4 * config.token_timeout_s))
    assert cluster.run_until(lambda: cluster.formed(nodes), 10 * config.token_timeout_s)
    assert not missing
    assert [configurations(cluster, node) for node in nodes] == [2, 2, 2, 2], "the one alone, and the one with all"
