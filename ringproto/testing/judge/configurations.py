"""The rules of the history of configurations (M in docs/testing.md).

A transitional configuration is the pair of the ring that it ends and the regular configuration that follows it. A
processor that was counted in one, and then never installed what followed because the last token was lost, may later go
from the same ring to another configuration: that is right, and M5 is read so that it says nothing against it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from ringproto.events import RegularConfiguration
from ringproto.testing.judge.history import History, Stay, Violation
from ringproto.types import RingId

__all__ = ["RULES"]


def m1_ids_rise(run: History) -> Iterator[Violation]:
    """The ids that a processor installs rise strictly, across restarts too where storage survives."""
    for lives in run.nodes.values():
        last: Stay | None = None
        for life in lives:
            if not run.storage_survives:
                last = None
            for stay in life.stays:
                if last is not None and stay.ring_id <= last.ring_id:
                    text = f"ring {stay.ring_id} is installed after {last.ring_id}"
                    text = f"{text} of incarnation {last.life}" if last.life is not life else text
                    yield life.violation("M1", stay.configuration_at, f"{text}; ids must rise strictly")
                last = stay


def m1_prime_an_id_is_formed_once(run: History) -> Iterator[Violation]:
    """An id is never given to two formations: two incarnations of a node cannot have been in one."""
    for ring in run.rings.values():
        for stays in ring.nodes.values():
            for stay in stays[1:]:
                if stay.life is not stays[0].life:
                    text = f"ring {ring.ring_id} was installed by {stays[0].life} already, another incarnation"
                    yield stay.life.violation("M1'", stay.configuration_at, text)


def m2_one_id_one_member_list(run: History) -> Iterator[Violation]:
    """The same id has the same members everywhere, each once and sorted, its representative among them."""
    for ring in run.rings.values():
        first = ring.stays[0]
        for stay in ring.stays:
            members = stay.configuration.members
            if members != ring.members:
                text = f"ring {ring.ring_id} has members {members} here and {ring.members} at {first.life}"
            elif stay is first and members != tuple(sorted(set(members))):
                text = f"the members {members} of ring {ring.ring_id} are not sorted, or not each once"
            elif stay is first and ring.ring_id.representative not in members:
                text = f"the representative of ring {ring.ring_id} is not among its members {members}"
            else:
                continue
            yield stay.life.violation("M2", stay.configuration_at, text)


def m3_a_processor_is_in_its_configurations(run: History) -> Iterator[Violation]:
    """A processor is a member of every configuration that it installs."""
    for life in run.lives:
        for at, configuration in life.configurations:
            if life.node not in configuration.members:
                which = "regular" if isinstance(configuration, RegularConfiguration) else "transitional"
                text = f"it is not among the members {configuration.members} of its own {which} configuration"
                yield life.violation("M3", at, f"{text} {configuration.ring_id}")


def m4_history_is_regular_and_transitional_in_turn(run: History) -> Iterator[Violation]:
    """History is R (T R)*; a transitional configuration names the ring it ends, and its members are in both
    neighbours."""
    for life in run.lives:
        before: RegularConfiguration | None = None
        transitional_at: int | None = None
        transitional_members: set[int] = set()
        for at, configuration in life.configurations:
            ring_id = configuration.ring_id
            if not isinstance(configuration, RegularConfiguration):
                if before is None:
                    text = "is the first one; history begins with a regular configuration"
                elif transitional_at is not None:
                    text = "follows another transitional one"
                elif ring_id != before.ring_id:
                    text = f"must end the ring that it follows, {before.ring_id}"
                elif not set(configuration.members) <= set(before.members):
                    text = f"has members {configuration.members} that the ring does not have: {before.members}"
                else:
                    text = ""
                if text:
                    yield life.violation("M4", at, f"the transitional configuration of {ring_id} {text}")
                transitional_at, transitional_members = at, set(configuration.members)
                continue
            if before is not None and transitional_at is None:
                text = f"{ring_id} follows {before.ring_id} without a transitional configuration between them"
                yield life.violation("M4", at, text)
            elif transitional_at is not None and not transitional_members <= set(configuration.members):
                left = sorted(transitional_members.difference(configuration.members))
                text = f"the transitional configuration has {left}, which the next one, {ring_id}, does not have"
                yield life.violation("M4", transitional_at, text)
            before, transitional_at = configuration, None


def m5_transitional_configurations_are_shared_and_disjoint(run: History) -> Iterator[Violation]:
    """Who goes from c directly to N has one and the same transitional configuration, which holds exactly those members
    that do; the ones out of c to different N have no member that installed both."""
    groups: dict[tuple[RingId, RingId], list[Stay]] = defaultdict(list)
    targets: dict[RingId, dict[int, list[Stay]]] = defaultdict(lambda: defaultdict(list))
    for stay in run.stays():
        if stay.following is not None and stay.transitional is not None:
            groups[stay.ring_id, stay.following.ring_id].append(stay)
            targets[stay.ring_id][stay.life.node].append(stay)
    for (ring_id, following), stays in groups.items():
        first = stays[0]
        assert first.transitional is not None
        members = first.transitional.members
        for stay in stays:
            assert stay.transitional is not None
            if stay.transitional.members != members:
                text = f"from {ring_id} to {following} it has the transitional members {stay.transitional.members}"
                text = f"{text}; {first.life} has {members}"
                yield stay.life.violation("M5", stay.transitional_at, text)
        for node in members:
            for other in run.rings[following].nodes.get(node, ()):
                if other.previous is not None and other.previous.ring_id == ring_id:
                    continue
                origin = other.previous.ring_id if other.previous is not None else "nowhere"
                text = f"{first.life} took it along from {ring_id} to {following}; it came from {origin}"
                yield other.life.violation("M5", other.configuration_at, text)
    for ring_id, nodes in targets.items():
        for node, stays in nodes.items():
            following_ids = {stay.following.ring_id for stay in stays if stay.following is not None}
            if len(following_ids) > 1:
                text = f"node {node} went from {ring_id} to {' and to '.join(map(str, sorted(following_ids)))}"
                yield stays[-1].life.violation("M5", stays[-1].transitional_at, text)


def m6_the_first_configuration_is_the_singleton(run: History) -> Iterator[Violation]:
    """The first configuration of an incarnation is itself alone."""
    for life in run.lives:
        if life.stays:
            first = life.stays[0]
            if first.configuration.members != (life.node,):
                text = f"the first configuration {first.ring_id} has the members {first.configuration.members}"
                yield life.violation("M6", first.configuration_at, f"{text}; it must be the singleton")


def m7_joined_and_left_are_exact(run: History) -> Iterator[Violation]:
    """joined and left are the differences from the regular configuration before; at first all have joined."""
    for stay in run.stays():
        configuration = stay.configuration
        before = set(stay.previous.configuration.members) if stay.previous is not None else set()
        joined = tuple(sorted(set(configuration.members) - before))
        left = tuple(sorted(before.difference(configuration.members)))
        if (configuration.joined, configuration.left) != (joined, left):
            text = f"{stay.ring_id} says joined {configuration.joined}, left {configuration.left}"
            yield stay.life.violation("M7", stay.configuration_at, f"{text}; it was joined {joined}, left {left}")


RULES = {
    "M1": m1_ids_rise,
    "M1'": m1_prime_an_id_is_formed_once,
    "M2": m2_one_id_one_member_list,
    "M3": m3_a_processor_is_in_its_configurations,
    "M4": m4_history_is_regular_and_transitional_in_turn,
    "M5": m5_transitional_configurations_are_shared_and_disjoint,
    "M6": m6_the_first_configuration_is_the_singleton,
    "M7": m7_joined_and_left_are_exact,
}
