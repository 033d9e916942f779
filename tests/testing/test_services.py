"""Services of users on the simulator: they see the stream as it is, and their invariants are asked at each event."""

from __future__ import annotations

import pytest

import ringproto.testing
from ringproto import Message, Priority, RecoveryComplete, RegularConfiguration
from ringproto.testing import Habits, ServiceCluster


class Notes:
    """Keeps what it is given, and recovers with one message that names it."""

    def __init__(self, node):
        self.node = node
        self.events = []
        self.asked = []

    def handle(self, event):
        self.events.append(event)

    def recover(self, configuration):
        assert self.events[-1] == configuration or not isinstance(self.events[-1], RegularConfiguration)
        self.asked.append(configuration.ring_id)
        yield b"state of %d" % self.node

    def payloads(self, priority):
        return [event.payload for event in self.events if isinstance(event, Message) and event.priority is priority]


def formed(make=Notes, seed=1, **changes):
    cluster = ServiceCluster(make, seed)
    cluster.start(1, 2, 3, **changes)
    assert cluster.run_until_settled({1, 2, 3})
    return cluster


@pytest.mark.parametrize("payload", [b"", b"plain", b"with|bars||", b"|", bytes(5000)])
def test_payloads_come_to_a_service_as_they_were_given(payload):
    cluster = formed()
    assert cluster.submit(2, payload) and cluster.submit(2, payload)
    assert cluster.run_until_settled({1, 2, 3})
    for node in (1, 2, 3):
        assert cluster.service(node).payloads(Priority.HIGH) == [payload, payload]
        assert cluster.messages(node)[-2:] == [payload, payload]
    assert cluster.judge(complete={1, 2, 3}) == []


def test_what_a_service_recovers_stands_between_configuration_and_completion():
    cluster = formed()
    ring_id = cluster.configuration(1).ring_id
    for node in (1, 2, 3):
        events = cluster.service(node).events
        last = max(place for place, event in enumerate(events) if isinstance(event, RegularConfiguration))
        *recovery, completion = events[last + 1 :]
        assert isinstance(completion, RecoveryComplete) and completion.ring_id == ring_id
        assert {event.payload for event in recovery} == {b"state of 1", b"state of 2", b"state of 3"}


@pytest.mark.parametrize("habits", [Habits(), Habits(late_unblock=1.0)], ids=["at once", "late"])
def test_a_service_is_asked_once_in_a_round(habits):
    cluster = formed(habits=habits)
    cluster.crash(3)
    assert cluster.run_until_settled({1, 2})
    for service in cluster.services().values():
        installed = [event.ring_id for event in service.events if isinstance(event, RegularConfiguration)]
        assert service.asked and len(set(service.asked)) == len(service.asked)
        assert set(service.asked) <= set(installed) and service.asked[-1] == installed[-1]


def test_a_service_that_is_held_is_asked_when_it_is_released():
    cluster = formed()
    cluster.hold(2)
    cluster.crash(3)
    assert not cluster.run_until_settled({1, 2}, 2.0)
    ring_id = cluster.configuration(2).ring_id
    assert ring_id in cluster.service(1).asked and ring_id not in cluster.service(2).asked
    cluster.release(2)
    assert cluster.run_until_settled({1, 2})
    assert cluster.service(2).asked[-1] == ring_id


def test_every_incarnation_has_a_service_of_its_own():
    cluster = formed()
    former = cluster.service(2)
    cluster.crash(2)
    assert cluster.living() == [1, 3] and set(cluster.services()) == {1, 3}
    with pytest.raises(ValueError, match="does not run"):
        cluster.service(2)
    cluster.restart(2)
    assert cluster.run_until_settled({1, 2, 3})
    assert cluster.service(2) is not former
    assert cluster.service(2).events[0].members == (2,)


def test_an_invariant_is_asked_after_every_event_and_reported_beside_the_rules():
    cluster = ServiceCluster(Notes, 1)
    asked = []
    cluster.always("few events", lambda services: asked.append(1) or too_many(services))
    cluster.start(1, 2)
    assert cluster.run_until_settled({1, 2})
    assert len(asked) == sum(len(cluster.events(node)) for node in (1, 2))
    broken = cluster.judge()
    assert {violation.rule for violation in broken} == {"few events"}
    assert "has read 4" in broken[0].text and broken[0].node in (1, 2) and broken[0].index == 4


def too_many(services):
    node, most = max(((node, len(service.events)) for node, service in services.items()), key=lambda pair: pair[1])
    return f"{node} has read {most}" if most > 3 else None


def test_of_an_invariant_that_is_always_broken_the_first_ones_are_kept():
    cluster = ServiceCluster(Notes, 1)
    cluster.always("never", lambda services: "it is")
    cluster.start(1, 2, 3)
    cluster.run(2.0)
    assert [violation.rule for violation in cluster.judge()] == ["never"] * 20


def test_two_invariants_have_two_names():
    cluster = ServiceCluster(Notes, 1)
    cluster.always("one", lambda services: None)
    with pytest.raises(ValueError, match="'one'"):
        cluster.always("one", lambda services: None)


def test_an_error_of_a_service_comes_out_where_time_passes():
    class Broken(Notes):
        def handle(self, event):
            if isinstance(event, Message):
                raise LookupError("planted")
            super().handle(event)

    cluster = ServiceCluster(Broken, 1)
    cluster.start(1)
    with pytest.raises(LookupError, match="planted"):
        cluster.run(5.0)


@pytest.mark.parametrize("seed", range(4))
def test_disturbances_come_by_the_seed_and_end(seed):
    def history():
        cluster = formed(seed=seed)
        lived = set()
        cluster.disturb(3.0, every_s=0.1)
        assert cluster.run_until(lambda: lived.add(tuple(cluster.living())) or False, 3.5) is False
        assert cluster.run_until_settled({1, 2, 3})
        assert cluster.judge(complete={1, 2, 3}) == []
        # Two live at all times, and not always everybody.
        assert all(len(nodes) >= 2 for nodes in lived) and len(lived) > 1
        configurations = {
            audit_entry[1].members for audit in cluster.audits() for audit_entry in audit if is_ring(audit_entry)
        }
        assert any(1 < len(members) < 3 for members in configurations), "no partition"
        return cluster.log_hash()

    assert history() == history()


@pytest.mark.parametrize(("seconds", "every_s"), [(-1.0, 0.3), (1.0, 0.0), (1.0, -0.1)])
def test_disturbances_without_sense_are_refused(seconds, every_s):
    cluster = formed()
    with pytest.raises(ValueError, match="every_s must be positive"):
        cluster.disturb(seconds, every_s=every_s)


def is_ring(entry):
    return entry[0] == "CONF" and isinstance(entry[1], RegularConfiguration)


def test_names_for_users_are_there():
    assert all(getattr(ringproto.testing, name) is not None for name in ringproto.testing.__all__)
