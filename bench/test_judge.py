"""What judging costs: a million events in under ten seconds is the goal (docs/testing.md has what was measured).

    PYTHONPATH=. python bench/test_judge.py 1000000

makes a history of so many events and judges it once.
"""

from __future__ import annotations

import sys
import time

import pytest

from ringproto import Config, Guarantee, Priority
from ringproto.testing.judge import judge
from ringproto.testing.simulator.cluster import Cluster

EVENTS = 100_000
NODES = (1, 2, 3, 4, 5)
PACE_S = 0.02
CHANGE_EVERY = 40
"""So many times ``PACE_S`` between a partition and its end."""


def history(events: int) -> Cluster:
    """Five processors under load, parted and merged again and again, until their logs have so many entries."""
    cluster = Cluster(seed=1995, config=Config.testing(message_size_max=10_000))
    cluster.start(*NODES)
    assert cluster.run_until_settled(NODES)
    turn = 0
    while sum(map(len, cluster.audits())) < events:
        turn += 1
        for node in NODES:
            application = cluster.application(node)
            for count in range(10):
                guarantee = Guarantee.SAFE if count % 3 == 0 else Guarantee.AGREED
                application.submit(application.payload(100), (Priority.HIGH, Priority.LOW)[count % 2], guarantee)
            cluster.hosts[node].flush()
        cluster.run(PACE_S)
        if turn % CHANGE_EVERY == 0:
            if turn % (2 * CHANGE_EVERY):
                cluster.partition(NODES[:2], NODES[2:])
            else:
                cluster.heal()
    cluster.heal()
    assert cluster.run_until_settled(NODES)
    return cluster


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return history(EVENTS)


def test_judge_reads_the_audits_of_a_hundred_thousand_events(benchmark, cluster) -> None:
    transcripts = benchmark(cluster.transcripts)
    assert sum(map(len, transcripts)) >= EVENTS


def test_judge_judges_a_hundred_thousand_events(benchmark, cluster) -> None:
    transcripts = cluster.transcripts()
    lives = [(transcript.node, transcript.incarnation) for transcript in transcripts]
    assert benchmark(judge, transcripts, complete=lives) == []


def main(events: int) -> None:
    began = time.process_time()
    cluster = history(events)
    made = time.process_time()
    transcripts = cluster.transcripts()
    read = time.process_time()
    violations = judge(transcripts, complete=[(transcript.node, transcript.incarnation) for transcript in transcripts])
    judged = time.process_time()
    configurations = sum(entry[0] == "CONF" for audit in cluster.audits() for entry in audit)
    print(
        f"{sum(map(len, transcripts))} events, {configurations} configurations, {len(violations)} violations; seconds "
        f"of CPU: made in {made - began:.1f}, read in {read - made:.1f}, judged in {judged - read:.1f}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
