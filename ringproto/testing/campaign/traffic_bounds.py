"""How many datagrams a processor may send: the bound of each kind, computed from its configuration.

A protocol that keeps every rule may still drown its network in joins or retransmissions. So the counters of every
processor are compared from time to time. What timers pace is bounded by the time that passed: joins, beacons, tokens
sent again. What the token paces is bounded by the tokens accepted meanwhile. On a ring where nothing is to be done
there may be the token, once in each ``token_hold_s``, and the beacons of its representative, and nothing else. On a
ring that works and loses nothing tokens are sent again where somebody has called for one, and acknowledged where they
are.

A time passes on the clock of the host, which is what its processor sees.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from ringproto.config import Config
from ringproto.testing.judge import Violation
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.host import Host

__all__ = ["CAUSES", "QUIET", "QUIET_ROTATIONS", "Storms", "bounds", "counters", "needless"]

LEAVE_COPIES = 3
ENTRY = 51
COMMIT_OVERHEAD = 54
COMMITS_TO_ONE = 2
"""Rotations of a commit token."""
LEAST_PARTS = 4
"""A token that is acknowledged is sent again after a quarter of ``token_retransmit_min_s`` at the earliest."""
CLAIMS_EACH = 5
"""Incarnations of one node id that may be asked whether they live."""
CHALLENGES = 5
"""Each of them so often in a join timeout."""
ROUNDING = 1e-6
"""A beacon may be due in the very moment in which the time ends that is looked at."""
SERIES_EXTRA = 3
"""A series of quick beacons: six take the time of three (departure 8 in docs/protocol.md)."""
SHOWN_MAX = 5

QUIET = (
    "joins_sent",
    "gathers",
    "commit_tokens_sent",
    "commit_tokens_retransmitted",
    "tokens_retransmitted",
    "acknowledgements_sent",
    "challenges_sent",
    "responses_sent",
    "refusals_sent",
    "retransmissions",
    "datagrams_broadcast",
    "wakes_sent",
    "leaves_sent",
)
"""Counters that must stand still on a ring where nothing is to be done."""
QUIET_ROTATIONS = 64
"""For so many rotations each hop is acknowledged after a token was sent again (departure 20 in docs/protocol.md)."""
CAUSES = ("submitted", "wakes_sent")
"""Counters that explain why others rise: the application's messages, and the calls for the token that they cause."""
FAULT_FREE = (
    "joins_sent",
    "gathers",
    "commit_tokens_sent",
    "commit_tokens_retransmitted",
    "challenges_sent",
    "responses_sent",
    "refusals_sent",
    "leaves_sent",
    "retransmissions",
)
"""Counters that must stand still on a ring that works and loses nothing."""


def bounds(
    config: Config,
    *,
    processors: int,
    datagram_size: int,
    elapsed_s: float,
    tokens: int,
    copies: int,
    gathers: int,
    installed: int,
    put_off: int,
    ever_put_off: bool,
) -> dict[str, float]:
    """How many datagrams of each kind, by the name of its counter, one processor may have sent.

    ``elapsed_s`` is the time that passed. ``tokens``, ``copies``, ``gathers`` and ``installed`` are how many tokens it
    accepted, how many copies of such came, how often it entered gather and how many configurations it installed
    meanwhile. ``put_off`` is how often it put somebody off meanwhile, and ``ever_put_off`` whether it ever did.
    ``processors`` is how many there are.
    """
    visits = tokens + 1  # one token may have been here before
    entry = ENTRY + 4 * processors
    retransmitted = elapsed_s / config.token_retransmit_min_s + 1
    asked = CHALLENGES * elapsed_s / config.join_timeout_s + 1
    # A series begins when another ring begins to be put off, and when the recovery of the own ring, which may have been
    # installed before, ends meanwhile; one may be under way.
    series = put_off + installed + 2 if ever_put_off else 0
    parts = -(-processors // max(1, (datagram_size - COMMIT_OVERHEAD) // entry))
    return {
        "joins_sent": 4 * elapsed_s / config.join_timeout_s + 1,
        "beacons_sent": elapsed_s / config.merge_detect_s
        + 1
        + ROUNDING
        + 2 * gathers
        + installed
        + SERIES_EXTRA * series,
        "acknowledgements_sent": visits + copies + parts * (2 * gathers + COMMITS_TO_ONE + retransmitted),
        "tokens_sent": visits,
        "tokens_retransmitted": LEAST_PARTS * retransmitted,
        "datagrams_broadcast": visits * config.windows[1],
        "wakes_sent": visits + installed,
        "commit_tokens_sent": 2 * parts * (gathers + 1),
        # Each formation begins its waits anew.
        "commit_tokens_retransmitted": parts * (retransmitted + gathers),
        "challenges_sent": processors * CLAIMS_EACH * asked,
        "responses_sent": processors * CLAIMS_EACH * asked,
        "refusals_sent": processors * (elapsed_s / config.consensus_timeout_s + 1),
        "leaves_sent": LEAVE_COPIES,
    }


def counters(cluster: Cluster, nodes: Collection[int]) -> Counter[str]:
    """The counters of these processors together, and how many messages they took (``submitted``)."""
    total: Counter[str] = Counter()
    for node in nodes:
        total.update({name: int(value) for name, value in cluster.processor(node).statistics().items()})
        total["submitted"] += sum(entry[0] == "SUBMIT" for entry in cluster.hosts[node].audit)
    return total


def needless(counted: Mapping[str, int], members: int, *, resting: bool) -> Iterator[str]:
    """What a ring of so many sent for nothing while it worked and lost nothing: by how much its ``counters`` rose.

    ``resting``: an idle token comes round before anybody sends it again (``settings.rests``). Where it does not,
    what is sent again has the bound of time alone (``bounds``), and many copies may be on their way when it begins.
    """
    limits: dict[str, int] = dict.fromkeys(FAULT_FREE, 0)
    # Who has something to send calls the token, and is sent what was on its way already.
    limits["wakes_sent"] = counted.get("submitted", 0) + members
    if resting:
        # Who alone sends keeps the token for each of its messages, and its predecessor cannot tell that from a loss.
        limits["tokens_retransmitted"] = counted.get("wakes_sent", 0) + counted.get("submitted", 0)
        limits["duplicate_tokens"] = counted.get("tokens_retransmitted", 0) + members
    copies = counted.get("duplicate_tokens", 0)
    limits["acknowledgements_sent"] = copies + members * (QUIET_ROTATIONS + 1) if copies else 0
    for name, limit in limits.items():
        if counted.get(name, 0) > limit:
            yield f"{name} rose by {counted[name]} although nothing was lost; at most {limit}"


class _Sample:
    """The counters of one incarnation at one moment."""

    __slots__ = ("audited", "life", "now", "statistics")

    def __init__(self, host: Host) -> None:
        assert host.processor is not None
        self.life = host.lives
        self.now = host.local_now()
        self.audited = len(host.audit)
        self.statistics = host.processor.statistics()


class Storms:
    """Watches the processors of one run."""

    __slots__ = ("_cluster", "_samples", "violations")

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._samples: dict[int, _Sample] = {}
        self.violations: list[Violation] = []

    def sample(self) -> None:
        """Compare with the sample before, and keep this one."""
        watch = self._cluster.watch
        for node, host in self._cluster.hosts.items():
            if host.processor is None:
                self._samples.pop(node, None)
                continue
            before, after = self._samples.get(node), _Sample(host)
            self._samples[node] = after
            if watch is not None:
                watch.sampled(after.statistics)
            if before is not None and before.life == after.life and len(self.violations) < SHOWN_MAX:
                self.violations.extend(self._compare(host, before, after))

    def _compare(self, host: Host, before: _Sample, after: _Sample) -> Iterator[Violation]:
        counted = _difference(before, after)
        allowed = bounds(
            host.config,
            processors=len(self._cluster.hosts),
            datagram_size=host.config.datagram_size or host.datagram_size,
            elapsed_s=after.now - before.now,
            tokens=sum(entry[0] == "TOKEN" for entry in host.audit[before.audited : after.audited]),
            copies=counted.get("duplicate_tokens", 0),
            gathers=counted.get("gathers", 0),
            installed=counted.get("configurations", 0),
            put_off=counted.get("rejoins_put_off", 0),
            ever_put_off=after.statistics.get("rejoins_put_off", 0) > 0,
        )
        for name, limit in allowed.items():
            if counted.get(name, 0) > limit:
                elapsed_s = after.now - before.now
                text = f"node {host.node} had {name} {counted[name]} in {elapsed_s:.3f} s; at most {limit:.0f}"
                yield _violation(host, text)

    def quiet(self, nodes: Collection[int], seconds: float) -> None:
        """Let time pass on a ring where nothing is to be done, and see that nearly nothing is sent: when the token has
        gone round so often that no hop is acknowledged any more."""
        cluster = self._cluster
        self._rotate(nodes)
        before = {node: _Sample(cluster.hosts[node]) for node in nodes}
        cluster.run(seconds)
        for node in nodes:
            host = cluster.hosts[node]
            if host.processor is None or host.lives != before[node].life:
                self.violations.append(_violation(host, f"node {node} left a ring where nothing was to be done"))
                continue
            after = _Sample(host)
            counted = _difference(before[node], after)
            elapsed_s = after.now - before[node].now
            limits: dict[str, float] = dict.fromkeys(QUIET, 0)
            # A series may be under way that began before.
            series = int(after.statistics.get("rejoins_put_off", 0) > 0)
            limits["beacons_sent"] = elapsed_s / host.config.merge_detect_s + 1 + ROUNDING + SERIES_EXTRA * series
            if host.config.hold_s:
                limits["tokens_sent"] = elapsed_s / host.config.hold_s + 1
            for name, limit in limits.items():
                if counted.get(name, 0) > limit:
                    text = f"node {node}, on a ring where nothing was to be done, had {name} {counted[name]}"
                    self.violations.append(_violation(host, f"{text} in {elapsed_s:.3f} s; at most {limit:.0f}"))

    def _rotate(self, nodes: Collection[int]) -> None:
        cluster, first = self._cluster, min(nodes)
        sent = cluster.processor(first).statistics().get("tokens_sent", 0) + QUIET_ROTATIONS + 1
        config = cluster.config

        def round_and_round() -> bool:
            return not cluster.alive(first) or cluster.processor(first).statistics().get("tokens_sent", 0) >= sent

        limit_s = 2 * (QUIET_ROTATIONS + 1) * max(config.hold_s, config.token_timeout_s / 4)
        cluster.run_until(round_and_round, limit_s, every_s=config.token_timeout_s / 4)


def _difference(before: _Sample, after: _Sample) -> dict[str, int]:
    earlier = before.statistics
    return {name: int(value - earlier.get(name, 0)) for name, value in after.statistics.items()}


def _violation(host: Host, text: str) -> Violation:
    incarnation = host.audit[0][2] if host.audit else 0
    return Violation("storm", text, host.node, incarnation, len(host.audit))
