"""Named probes: which rare paths of the protocol a run reached.

A random test is worth what it reaches. Each probe is a question to one finished run, asked of what there is to be seen
from outside: the logs, indexed as for the judge, the counters of all incarnations, and what a
:class:`~ringproto.testing.simulator.observer.Watch` noted while it ran. The core knows nothing of probes.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from ringproto.config import Config
from ringproto.testing.judge.history import History, Incarnation, Stay
from ringproto.testing.judge.transcript import Delv, Send
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.observer import LifeSeen, Watch
from ringproto.types import Priority

__all__ = ["PROBES", "Evidence", "fired"]

MANY = 9
MALFORMED = (
    "too_short",
    "suite",
    "checksum",
    "type",
    "flags",
    "sender",
    "length",
    "range",
    "sequence",
    "nodes",
    "chunk",
)
"""Why the parser refuses a datagram; another version and another cluster are paths of their own."""


class Evidence:
    """What is known of a run when it is over."""

    def __init__(self, cluster: Cluster, watch: Watch) -> None:
        config = cluster.config
        watch.finish(cluster.hosts)
        self.config: Config = config
        self.datagram_size = cluster.datagram_size
        self.watch = watch
        self.overflowed = sum(host.overflowed for host in cluster.hosts.values())
        belong = [node for node in cluster.hosts if cluster.belongs(node)]
        transcripts = [transcript for transcript in cluster.transcripts() if transcript.node in belong]
        self.run = History(
            transcripts,
            quorum=config.quorum,
            complete=None,
            truncated=False,
            storage_survives=False,
            window_size=config.window_size,
            retransmits_max=config.retransmits_max,
            origin=cluster.origin,
        )
        self.counters: Counter[str] = Counter()
        """The counters of all incarnations together."""
        for life in watch.lives:
            for name, value in life.statistics.items():
                self.counters[name] += int(value)

    @functools.cached_property
    def stays(self) -> list[Stay]:
        """All stays of all lives."""
        return list(self.run.stays())

    @functools.cached_property
    def ended(self) -> list[Stay]:
        """Those that a transitional configuration ended, and another configuration followed."""
        return [stay for stay in self.stays if stay.transitional is not None and stay.following is not None]

    @functools.cached_property
    def behind(self) -> list[tuple[Stay, Delv]]:
        """The messages that were delivered behind a hole."""
        return [
            (stay, record)
            for stay in self.ended
            if not stay.straight
            for record in stay.stream
            if isinstance(record, Delv) and record.seq > stay.prefix
        ]

    def seen(self, life: Incarnation) -> LifeSeen | None:
        """What was seen of an incarnation."""
        return self._seen.get((life.node, life.transcript.incarnation))

    @functools.cached_property
    def _seen(self) -> dict[tuple[int, int], LifeSeen]:
        seen = {}
        for node, lives in self.run.nodes.items():
            watched = [life for life in self.watch.lives if life.host.node == node]
            for life, one in zip(lives, watched, strict=True):
                seen[node, life.transcript.incarnation] = one
        return seen

    def alone(self, stay: Stay) -> bool:
        """Whether it is a configuration of one."""
        return len(stay.configuration.members) == 1


Probe = Callable[[Evidence], bool]


def _counter(name: str) -> Probe:
    return lambda evidence: evidence.counters[name] > 0


def _happened(*names: str) -> Probe:
    return lambda evidence: any(evidence.watch.happened[name] > 0 for name in names)


def _any(question: Callable[[Evidence, Stay], bool]) -> Probe:
    return lambda evidence: any(question(evidence, stay) for stay in evidence.stays)


def _any_ended(question: Callable[[Evidence, Stay], bool]) -> Probe:
    return lambda evidence: any(question(evidence, stay) for stay in evidence.ended)


# The token and flow control


def _tokens(evidence: Evidence) -> Iterator[tuple[int, int, int, int, int]]:
    """(packets not confirmed, fcc, backlog, requests, members) of every token that was accepted."""
    for life in evidence.run.lives:
        for ring_id, tokens in life.tokens.items():
            ring = evidence.run.rings.get(ring_id)
            members = 0 if ring is None else len(ring.members)
            for _, token in tokens:
                yield token.seq - token.aru, token.fcc, token.backlog, token.retransmission_requests, members


def _window_full(evidence: Evidence) -> bool:
    window = evidence.config.windows[0]
    return any(fcc >= window and backlog and members > 1 for _, fcc, backlog, _, members in _tokens(evidence))


def _unconfirmed(evidence: Evidence) -> bool:
    window = evidence.config.windows[0]
    return any(unconfirmed >= 2 * window for unconfirmed, _, _, _, _ in _tokens(evidence))


def _requests_full(evidence: Evidence) -> bool:
    limit = evidence.config.retransmits_max
    return any(requests >= limit for _, _, _, requests, _ in _tokens(evidence))


# Holes and transitional configurations


def _hole(evidence: Evidence, stay: Stay) -> bool:
    sent = evidence.run.rings[stay.ring_id].sent
    return any(seq > stay.prefix + 1 for seq in sent) and stay.prefix + 1 in sent


def _from_outside(evidence: Evidence) -> bool:
    return any(
        stay.transitional is not None and record.sender not in stay.transitional.members
        for stay, record in evidence.behind
    )


def _dropped_behind_hole(evidence: Evidence, stay: Stay) -> bool:
    """A packet that came to this processor is not delivered, because of the hole before it."""
    ring = evidence.run.rings[stay.ring_id]
    seen = evidence.seen(stay.life)
    if seen is None:
        return False
    places = set(stay.places)
    return any(
        seq > stay.prefix + 1
        and seq not in places
        and (stay.ring_id, evidence.watch.packet_of(stay.ring_id, seq)) in seen.packets
        for seq in ring.sent
    )


def _safe_in_transitional(evidence: Evidence, stay: Stay) -> bool:
    return any(index >= stay.regular_length for index in stay.safe)


def _unblock_in_transitional(evidence: Evidence, stay: Stay) -> bool:
    return any(index >= stay.regular_length for index in stay.unblocks)


def _completion_in_transitional(evidence: Evidence, stay: Stay) -> bool:
    return any(index >= stay.regular_length for index in stay.dones)


def _completion_in_both(evidence: Evidence) -> bool:
    """One ring completed in the regular configuration at one member and in the transitional one at another."""
    for ring in evidence.run.rings.values():
        kinds = {stay.dones[0] >= stay.regular_length for stay in ring.stays if stay.dones}
        if len(kinds) == 2:
            return True
    return False


def _messages_in_transitional(evidence: Evidence, stay: Stay) -> bool:
    return any(isinstance(record, Delv) for record in stay.stream[stay.regular_length :])


# The barrier


def _aborted(evidence: Evidence, stay: Stay) -> bool:
    return bool(stay.aborts) and not evidence.alone(stay)


def _aborted_after_unblock(evidence: Evidence, stay: Stay) -> bool:
    return _aborted(evidence, stay) and bool(stay.unblocks_sent)


def _aborted_one_short(evidence: Evidence, stay: Stay) -> bool:
    return _aborted(evidence, stay) and len(stay.unblocks) == len(stay.configuration.members) - 1


def _recovery_dropped(evidence: Evidence, stay: Stay) -> bool:
    accepted = sum(submit.priority is Priority.RECOVERY for _, submit in stay.submits)
    sent = sum(send.priority is Priority.RECOVERY for _, send in stay.sends)
    return bool(stay.aborts) and accepted > sent


def _unblock_dropped(evidence: Evidence, stay: Stay) -> bool:
    seen = evidence.seen(stay.life)
    return bool(stay.aborts) and not stay.unblocks_sent and seen is not None and stay.ring_id in seen.asked


def _aborted_in_a_row(evidence: Evidence) -> bool:
    return any(
        any(all(stay.aborts for stay in life.stays[at : at + 3]) for at in range(1, len(life.stays) - 2))
        for life in evidence.run.lives
    )


def _recovery_passes(evidence: Evidence, stay: Stay) -> bool:
    """HIGH or LOW messages wait in a queue while RECOVERY messages are delivered."""
    if evidence.alone(stay) or not stay.dones:
        return False
    done_at = stay.stream_at[stay.dones[0]]
    waited = any(submit.priority is not Priority.RECOVERY and at < done_at for at, submit in stay.submits)
    return waited and any(
        isinstance(record, Delv) and record.priority is Priority.RECOVERY for record in stay.stream[: stay.dones[0]]
    )


def _without_quorum(evidence: Evidence, stay: Stay) -> bool:
    return (
        not stay.configuration.primary
        and not evidence.alone(stay)
        and any(isinstance(record, Delv) and record.priority is Priority.RECOVERY for record in stay.stream)
    )


def _all_unblocked_without_quorum(evidence: Evidence, stay: Stay) -> bool:
    return not stay.configuration.primary and len(stay.unblocks) == len(stay.configuration.members) > 1


def _quorum_lost_and_regained(evidence: Evidence) -> bool:
    for life in evidence.run.lives:
        primaries = [stay.configuration.primary for stay in life.stays]
        lost = next((at for at in range(1, len(primaries)) if primaries[at - 1] and not primaries[at]), None)
        if lost is not None and any(primaries[lost:]):
            return True
    return False


# Configurations


def _passed_over(evidence: Evidence) -> Iterator[int]:
    """For each ring that some of its living members never installed and went past, how many installed it."""
    for ring_id, ring in evidence.run.rings.items():
        for node in ring.members:
            if node in ring.nodes:
                continue
            for life in evidence.run.nodes.get(node, ()):
                sequences = [stay.ring_id.sequence for stay in life.stays]
                if sequences and sequences[0] < ring_id.sequence < sequences[-1]:
                    yield len(ring.nodes)


def _split(evidence: Evidence) -> bool:
    """Two parts of one ring went on in two configurations."""
    for ring in evidence.run.rings.values():
        parts = {stay.transitional.members for stay in ring.stays if stay.transitional is not None}
        if len(parts) > 1 and len(set().union(*parts)) == sum(map(len, parts)):
            return True
    return False


def _origins(evidence: Evidence) -> Iterator[Counter[object]]:
    """For each ring, from which old rings those came who installed it, and how many from each."""
    for ring in evidence.run.rings.values():
        yield Counter(stay.previous.ring_id for stay in ring.stays if stay.previous is not None)


def _merge_during_barrier(evidence: Evidence, stay: Stay) -> bool:
    return _aborted(evidence, stay) and stay.following is not None and bool(stay.following.configuration.joined)


def _came_back(evidence: Evidence, stay: Stay) -> bool:
    """Somebody is in this configuration and in the next one, and did not come directly: it was restarted, or apart."""
    following = stay.following
    if following is None or stay.transitional is None:
        return False
    both = set(stay.configuration.members) & set(following.configuration.members)
    return bool(both - set(stay.transitional.members))


def _sizes(evidence: Evidence) -> Iterable[int]:
    return (len(stay.configuration.members) for stay in evidence.stays)


# Messages


def _sent_whole_again(evidence: Evidence) -> bool:
    """A message that was accepted in one configuration was sent in a later one."""
    for life in evidence.run.lives:
        accepted = {submit.mid: stay for stay in life.stays for _, submit in stay.submits}
        for stay in life.stays:
            for _, send in stay.sends:
                if isinstance(send, Send) and accepted.get(send.mid, stay) is not stay and send.mid:
                    return True
    return False


# Ends of processors


def _stopped(kind: str) -> Probe:
    return lambda evidence: any(life.stop is not None and life.stop.kind == kind for life in evidence.run.lives)


def _left(evidence: Evidence, *, drained: bool) -> bool:
    for life in evidence.run.lives:
        seen = evidence.seen(life)
        if life.stop is None or life.stop.kind != "clean" or seen is None or seen.failed:
            continue
        accepted = sum(submit.priority is not Priority.RECOVERY for stay in life.stays for _, submit in stay.submits)
        sent = sum(send.priority is not Priority.RECOVERY for stay in life.stays for _, send in stay.sends)
        if accepted and (accepted == sent) is drained:
            return True
    return False


def _refused_stranger(evidence: Evidence) -> bool:
    return any(life.statistics.get("refusals_received", 0) and life.state == "left" for life in evidence.watch.lives)


PROBES: dict[str, Probe] = {
    # The token
    "token lost": _happened("token lost"),
    "token retransmitted": _counter("tokens_retransmitted"),
    "copy of a token refused": _counter("duplicate_tokens"),
    "copy of a token answered": _counter("acknowledgements_sent"),
    "successor that did not answer given up": _counter("successors_given_up"),
    "token missed in operational": _happened("token missed in operational"),
    "token lost in recovery": _happened("token lost in recovery"),
    "token missed in recovery": _happened("token missed in recovery"),
    "token that says INSTALLED lost": _happened("token that says INSTALLED lost"),
    "wake sent": _counter("wakes_sent"),
    "wake lost": _happened("wake lost"),
    "packet lost": _happened("data lost"),
    "packet sent again on request": _counter("retransmissions"),
    "requests fill the token": _requests_full,
    "copy of a packet, or one too far ahead": _counter("duplicates"),
    "flow control stall: the window of a rotation is full": _window_full,
    "flow control stall: two windows not confirmed": _unconfirmed,
    "failure to receive": _counter("failures_to_receive"),
    "pause forgiven": _counter("pauses"),
    # Gather and commit
    "join lost": _happened("join lost"),
    "beacon lost": _happened("beacon lost"),
    "somebody given up in gather": _happened("somebody given up in gather"),
    "join with the own id in fail_set, in gather": _happened("given up by a join in gather"),
    "join with the own id in fail_set, in operational": _happened("given up by a join in operational"),
    "join with the own id in fail_set, while forming": _happened(
        "given up by a join in commit", "given up by a join in recovery"
    ),
    "gathered anew because no commit token came": _happened("gathered anew without a commit token"),
    "old packet in gather": _happened("old packet in gather"),
    "commit token lost": _happened("commit lost"),
    "commit token retransmitted": _counter("commit_tokens_retransmitted"),
    "commit token never came back": _happened("token missed in commit"),
    "commit token of several datagrams": _happened("commit token of several datagrams"),
    "commit token refused by who knows more": _counter("dropped_other_membership"),
    "representative crashed in commit": _happened("representative crashed in commit"),
    "representative crashed in recovery": _happened("representative crashed in recovery"),
    "back to gather from commit": _happened("commit to gather"),
    "back to gather from recovery": _happened("recovery to gather"),
    "overfull ring": _counter("dropped_ring_full"),
    # Recovery and transitional configurations
    "packet recovered from others": _counter("recovered"),
    "obligation carried into the next recovery": _happened("obligations in a commit token"),
    "messages in a transitional configuration": _any_ended(_messages_in_transitional),
    "safe message in a transitional configuration": _any_ended(_safe_in_transitional),
    "transitional configuration with a hole": _any_ended(_hole),
    "message behind a hole delivered": lambda evidence: bool(evidence.behind),
    "message behind a hole dropped": _any_ended(_dropped_behind_hole),
    "message behind a hole delivered for an obligation": _from_outside,
    "unblock in a transitional configuration": _any_ended(_unblock_in_transitional),
    "completion in a transitional configuration": _any_ended(_completion_in_transitional),
    "completion in the regular configuration here, in the transitional one there": _completion_in_both,
    "installed by some, and others went on": lambda evidence: any(True for _ in _passed_over(evidence)),
    "installed by one alone, and others went on": lambda evidence: 1 in _passed_over(evidence),
    # Configurations
    "ring split into two that go on": _split,
    "rings of several processors merged": lambda evidence: any(
        sum(count > 1 for count in origins.values()) > 1 for origins in _origins(evidence)
    ),
    "three rings merged at once": lambda evidence: any(len(origins) > 2 for origins in _origins(evidence)),
    "merge in mid-recovery": _happened("a stranger's join in recovery"),
    "merge in mid-commit": _happened("a stranger's join in commit"),
    "merge during the barrier": _any(_merge_during_barrier),
    "member that went another way is in the very next configuration": _any(_came_back),
    "ring of nine or more": lambda evidence: max(_sizes(evidence), default=0) >= MANY,
    "ring of thirty or more": lambda evidence: max(_sizes(evidence), default=0) >= 30,
    "rejoin put off": _counter("rejoins_put_off"),
    "late copy of a former life": _happened("late copy of a former life"),
    "two lives compete": _happened("two lives compete"),
    "a life proves that it lives": _happened("a life proved that it lives"),
    "storage stale at a restart": _happened("restarted, storage stale"),
    "storage lost at a restart": _happened("restarted, storage lost"),
    "storage torn at a restart": _happened("restarted, storage torn"),
    # The barrier
    "round aborted": _any(_aborted),
    "round aborted after the own unblock": _any(_aborted_after_unblock),
    "round aborted with one unblock missing": _any(_aborted_one_short),
    "three rounds aborted in a row": _aborted_in_a_row,
    "recovery messages of an aborted round dropped": _any(_recovery_dropped),
    "unblock of an aborted round dropped": _any(_unblock_dropped),
    "recovery messages pass waiting HIGH and LOW": _any(_recovery_passes),
    "recovery messages without a quorum": _any(_without_quorum),
    "all unblocked without a quorum": _any(_all_unblocked_without_quorum),
    "quorum lost and regained": _quorum_lost_and_regained,
    "crash before the unblock": _happened("crash before the unblock"),
    "crash right after the unblock": _happened("crash right after the unblock"),
    "crash between unblock and completion": _happened("crash between unblock and completion"),
    "recover raised": _happened("recover raised"),
    "recover does not return": _happened("disturbance: stuck recover"),
    "flood of recovery messages": _happened("flood of recovery messages"),
    # Messages
    "fragment cut by a change": _happened("fragment cut by a change"),
    "fragment cut by a change and sent again": _happened("fragment sent again"),
    "crash in the middle of a message": _happened("crash in the middle of a message"),
    "HIGH between the pieces of LOW": _happened("HIGH between the pieces of LOW"),
    "LOW before HIGH in its turn": _happened("LOW before HIGH"),
    "message accepted in one configuration, sent in a later one": _sent_whole_again,
    "send queue full": lambda evidence: any(life.refused for life in evidence.watch.lives),
    "message of a hundred packets": _happened("message of a hundred packets"),
    "sent while reading": _happened("sent while reading"),
    # Leaving
    "leave drained": functools.partial(_left, drained=True),
    "leave timed out": functools.partial(_left, drained=False),
    "told to leave in mid-change": _happened(
        "told to leave in gather", "told to leave in commit", "told to leave in recovery"
    ),
    "leave heard in gather": _happened("leave heard in gather"),
    "leave heard while forming": _happened("leave heard in commit", "leave heard in recovery"),
    "leave lost": _happened("leave lost"),
    "slow consumer left": _stopped("slow consumer"),
    "slow consumer holds packets back": _happened("packets held for a slow consumer"),
    # The host
    "receive buffer full": lambda evidence: evidence.overflowed > 0,
    "send refused by the system": _happened("send refused"),
    "interface down": _happened("disturbance: interface"),
    "clock jump": _happened("disturbance: clock jump"),
    "another address while it runs": _happened("another address"),
    # Who does not belong
    "refusal": _counter("refusals_sent"),
    "refused processor left": _refused_stranger,
    "sequence jump refused": _counter("dropped_sequence_jump"),
    "implausible token or packet refused": _counter("dropped_implausible"),
    "stranger's packet or leave dropped": _counter("dropped_stranger"),
    "own id heard from another": _counter("dropped_own_id"),
    "unproven life asked": _counter("dropped_unproven"),
    "second life of a member refused": _counter("dropped_duplicate_id"),
    "late copy dropped": _counter("dropped_late_copy"),
    "other ring's datagram dropped": _counter("dropped_other_ring"),
    "other limits dropped": _counter("dropped_other_limits"),
    "other cluster dropped": _counter("dropped_other_cluster"),
    "other version dropped": _counter("dropped_version"),
    "token, commit token or refusal for somebody else dropped": _counter("dropped_not_for_me"),
    # What the parser refuses
    **{f"malformed: {reason}": _counter("dropped_" + reason) for reason in MALFORMED},
}
"""Every probe by its name."""


def fired(cluster: Cluster, watch: Watch) -> frozenset[str]:
    """The names of the probes that fired in a run that is over. ``watch`` is what the cluster was made with."""
    evidence = Evidence(cluster, watch)
    return frozenset(name for name, probe in PROBES.items() if probe(evidence))
