"""The rules of the token (K in docs/testing.md), as far as the accepted tokens show them.

A regular token goes from processor to processor, and its token_seq rises by one at each. So the tokens accepted by all
lives of a ring, sorted by token_seq, are the history of that one token: what one processor received and the next one
received is what the first one made of it. Where a link of this chain is missing, nothing is concluded across the gap.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from ringproto.testing.judge.history import History, Incarnation, TokenHop, Violation
from ringproto.types import RingId

__all__ = ["RULES"]

WINDOWS_MAX = 4
"""So many windows of packets may be on a ring that not everybody has: a member sends nothing while three windows are
outstanding (two, where no packets are lost by chance), and in the rotation in which it learns that, the others send at
most one window more."""


def k1_token_seq_rises(run: History) -> Iterator[Violation]:
    """The token_seq of accepted tokens rises strictly, per ring."""
    for life in run.lives:
        for ring_id, tokens in life.tokens.items():
            last = -1
            for at, token in tokens:
                if token.token_seq <= last:
                    text = f"in {ring_id}: token {token.token_seq} was accepted after {last}"
                    yield life.violation("K1", at, text)
                last = token.token_seq


def k2_one_token(run: History) -> Iterator[Violation]:
    """Two different tokens of one (ring, token_seq) are never accepted."""
    for ring_id, links in run.chains.items():
        for before, link in pairwise(links):
            if before.token.token_seq == link.token.token_seq and before.token != link.token:
                text = f"in {ring_id}: token {link.token.token_seq} is {link.token[2:]} here"
                yield link.life.violation("K2", link.at, f"{text} and {before.token[2:]} at {before.life}")


def k3_the_aru_rule(run: History) -> Iterator[Violation]:
    """Totem's rule: a processor lowers the aru to its own; only who lowered it last, or anyone when it had reached
    seq, may raise it. And always aru <= seq, and seq never falls."""
    for ring_id, links in run.chains.items():
        setter: Incarnation | None = None
        known = False  # whether ``setter`` is who lowered the aru last; None: nobody, it had reached seq
        for before, link in zip([None, *links], links, strict=False):
            token = link.token
            if token.aru > token.seq:
                text = f"in {ring_id}: token {token.token_seq} has aru {token.aru} above seq {token.seq}"
                yield link.life.violation("K3", link.at, text)
            if before is None or token.token_seq != before.token.token_seq + 1:
                known = token.aru == token.seq
                setter = None
                continue
            old, actor = before.token, before.life
            if token.seq < old.seq:
                text = f"in {ring_id}: token {token.token_seq} has seq {token.seq}, {actor} received {old.seq}"
                yield link.life.violation("K3", link.at, text)
            reached = old.aru == old.seq
            if token.aru > old.aru and known and not reached and setter is not actor:
                text = f"in {ring_id}: {actor} raised the aru from {old.aru} to {token.aru} (token {old.token_seq})"
                yield actor.violation("K3", before.at, f"{text}; {setter or 'nobody'} had lowered it")
            if token.aru == token.seq:
                known, setter = True, None
            elif token.aru != old.aru:
                known, setter = True, actor
            elif reached:
                known = False


def k4_freed_only_what_all_have(run: History) -> Iterator[Violation]:
    """A message is freed only when every member of the ring has it.

    That a member has all up to s is known from the token alone: it passed it on with an aru of s or more. What is freed
    when a ring has ended is known from the recovery, and not judged here.
    """
    frees: dict[RingId, list[tuple[int, int, int, Incarnation]]] = defaultdict(list)
    for life in run.lives:
        ended = {stay.ring_id: stay.transitional_at for stay in life.stays if stay.transitional is not None}
        for at, free, token_seq in life.frees:
            if at < ended.get(free.ring_id, at + 1):
                frees[free.ring_id].append((token_seq, free.seq, at, life))
    for ring_id, links in run.chains.items():
        ring = run.rings.get(ring_id)
        if ring is None or not frees[ring_id]:
            continue
        complete = all(after.token.token_seq == before.token.token_seq + 1 for before, after in pairwise(links))
        if not complete:
            continue
        waiting = sorted(frees[ring_id], key=lambda free: free[0])
        confirmed = dict.fromkeys(ring.members, 0)
        position = 0
        for before, link in zip([None, *links], links, strict=False):
            while position < len(waiting) and waiting[position][0] < link.token.token_seq:
                yield from _freed_early(ring_id, confirmed, *waiting[position])
                position += 1
            if before is not None and before.life.node in confirmed:
                node = before.life.node
                confirmed[node] = max(confirmed[node], link.token.aru)
        for late in waiting[position:]:
            yield from _freed_early(ring_id, confirmed, *late)


def _freed_early(
    ring_id: RingId, confirmed: dict[int, int], token_seq: int, seq: int, at: int, life: Incarnation
) -> Iterator[Violation]:
    for node, aru in confirmed.items():
        if node != life.node and aru < seq:
            text = f"in {ring_id}: packets up to {seq} were freed at token {token_seq}"
            yield life.violation("K4", at, f"{text}; node {node} had confirmed {aru} at most")
            return


def k5_bounds(run: History) -> Iterator[Violation]:
    """Outstanding packets and retransmission requests are bounded, fcc and backlog are never negative; what was sent in
    a rotation is bounded by the window, and fcc counts it."""
    window = run.window_size
    for life in run.lives:
        for ring_id, tokens in life.tokens.items():
            for at, token in tokens:
                if token.backlog < 0 or token.fcc < 0:
                    text = f"fcc {token.fcc} and backlog {token.backlog}; neither may be negative"
                elif not 0 <= token.retransmission_requests <= run.retransmits_max:
                    text = f"{token.retransmission_requests} retransmission requests, at most {run.retransmits_max}"
                elif window is not None and token.seq - token.aru > WINDOWS_MAX * window:
                    text = f"{token.seq - token.aru} packets beyond the aru, at most {WINDOWS_MAX} x {window}"
                else:
                    continue
                yield life.violation("K5", at, f"in {ring_id}: token {token.token_seq} has {text}")
    for ring_id, links in run.chains.items():
        if ring_id in run.rings:
            yield from _rotations(ring_id, links, len(run.rings[ring_id].members), window)


def _rotations(ring_id: RingId, links: list[TokenHop], members: int, window: int | None) -> Iterator[Violation]:
    """Each token is held against the one that the same member received a rotation ago."""
    seqs = {link.token.token_seq: link.token.seq for link in links}
    for token, at, life in links:
        new = token.seq - seqs.get(token.token_seq - members, token.seq)
        if new > token.fcc:
            text = f"has fcc {token.fcc}, and {new} new packets were sent in the last rotation"
        elif window is not None and new > window:
            text = f"comes after a rotation with {new} new packets; the window is {window}"
        else:
            continue
        yield life.violation("K5", at, f"in {ring_id}: token {token.token_seq} {text}")


RULES = {
    "K1": k1_token_seq_rises,
    "K2": k2_one_token,
    "K3": k3_the_aru_rule,
    "K4": k4_freed_only_what_all_have,
    "K5": k5_bounds,
}
