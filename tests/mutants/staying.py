"""Mutants of who stays on a ring and who is left out: of suspicions, of putting off, of proofs, and of lost tokens.

A ring that leaves somebody out without a reason forms again, so few rules of safety are broken by these. Many are for
the tests of the core.
"""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

_TESTS = "tests/core/test_"


def _mutant(name: str, why: str, tests: tuple[str, ...], *changes: Edit) -> Mutant:
    return Mutant(name, why, changes, tests=tuple(f"{_TESTS}{test}.py" for test in tests))


MUTANTS = (
    _mutant(
        "thrown-out-after-one-copy",
        "A successor that has not answered one copy of the token is suspected to be dead, however short the time was.",
        ("staying", "papers_membership"),
        Edit("membership/ring_ends", "_UNANSWERED_MIN = 2", "_UNANSWERED_MIN = 1"),
        Edit("membership/ring_ends", "_UNANSWERED_PART = 0.5", "_UNANSWERED_PART = 0.0"),
    ),
    _mutant(
        "suspicion-never-reset",
        "Who is suspected to be dead stays so although its datagrams come.",
        ("staying", "papers_membership"),
        Edit(
            "membership/gathering", "if self._suspect and sender == self._suspect:", "if self._suspect and sender == 0:"
        ),
    ),
    _mutant(
        "sign-of-life-overlooked",
        "Data of the successor is no sign that it lives.",
        ("staying", "papers_membership"),
        Edit(
            "membership/operational",
            "            passing.note_sign(sender)\n            if packet.seq",
            "            if packet.seq",
        ),
    ),
    _mutant(
        "paused-judges-before-it-reads",
        "A processor that was away past its deadlines judges the others before it has read what waits in its socket.",
        ("staying", "processor"),
        Edit("membership/membership", "if late_s > least_s and deadline !=", "if late_s > 2**40 and deadline !="),
    ),
    _mutant(
        "pause-forgiven-again-and-again",
        "A deadline that was missed in a pause is put off once more whenever it is missed: who is always late never "
        "judges.",
        ("staying", "processor"),
        Edit("membership/membership", "deadline != self._put_off_deadlines.get(timer):", "timer not in ():"),
    ),
    _mutant(
        "strangers-give-members-up",
        "A stranger that has given up another member than this processor is gathered for, and that member is left out.",
        ("staying",),
        Edit(
            "membership/operational",
            "any(node in ring.members for node in join.fail_set)",
            "self._context.node in join.fail_set",
        ),
    ),
    _mutant(
        "late-beacon-of-a-member-breaks-the-ring",
        "A member's beacon of a former ring that the network kept counts as the beacon of another ring.",
        ("staying", "papers_membership"),
        Edit(
            "membership/operational",
            "if same and ring_from_bytes(beacon.ring).sequence <= ring.id.sequence:",
            "if same and ring_from_bytes(beacon.ring).sequence < 0:",
        ),
    ),
    _mutant(
        "late-join-of-a-member-breaks-the-ring",
        "A member's join from before this ring counts as if it had left for gather now.",
        ("staying", "papers_membership"),
        Edit(
            "membership/operational",
            "join.ring_sequence < ring.id.sequence:\n            counters",
            "False:\n            counters",
        ),
    ),
    _mutant(
        "last-messages-of-a-leaver-lost-once",
        "Who leaves does not wait until every member has what it sent last: lost once, nobody has it for good.",
        ("staying", "papers_leaving"),
        Edit("membership/operational", "self._ring.stable >= self._ring.last_own", "self._ring.stable >= 0"),
        Edit("membership/membership", "ring.stable >= ring.last_own", "ring.stable >= 0"),
    ),
    _mutant(
        "commit-token-with-one-given-up",
        "A commit token is accepted although it has a member that the receiver has given up.",
        ("staying", "papers_membership"),
        Edit("membership/gathering", "not consensus.fail_set.isdisjoint(members) or not", "not"),
    ),
    _mutant(
        "commit-token-without-one-that-lives",
        "A commit token is accepted although it lacks somebody whom the receiver counts on.",
        ("staying", "papers_membership"),
        Edit("membership/gathering", " or not set(consensus.alive).issubset(members):", ":"),
    ),
    _mutant(
        "put-off-without-the-beacons-of-all",
        "While somebody is put off only the representative says whom it hears.",
        ("staying", "connectivity", "states"),
        Edit(
            "membership/beacons",
            "if ring.representative == self._context.node or self._puts_off():",
            "if ring.representative == self._context.node:",
        ),
    ),
    _mutant(
        "one-side-hears-the-other",
        "Who was put off is welcome when this side hears that one, although that one does not hear this side.",
        ("connectivity",),
        Edit(
            "membership/connectivity",
            "        for node in theirs:\n            for other in self._missed(node, mine, now, known):\n"
            "                if other != node:\n                    yield node, other\n",
            "",
        ),
    ),
    _mutant(
        "mark-never-forgotten",
        "Who was left out often is remembered for ever, so each further time it waits for the evidence of all.",
        ("connectivity",),
        Edit("membership/connectivity", "_FORGIVEN = 256", "_FORGIVEN = 2**40"),
    ),
    _mutant(
        "evidence-of-a-ring-that-failed-counts-again",
        "What was heard before somebody was left out lets it come back at once, time after time.",
        ("connectivity",),
        Edit("membership/connectivity", "self._words[node].received = 0", "pass"),
    ),
    _mutant(
        "beacons-all-have-one-number",
        "Beacons have no rising number, so nobody can tell how many were lost, and none counts as evidence.",
        ("staying", "papers_membership", "connectivity"),
        Edit("membership/beacons", "self._count = (self._count + 1) % 2**32", "self._count = 1"),
    ),
    _mutant(
        "left-out-and-not-doubted",
        "What the network kept of a processor that was left out counts as its word.",
        ("staying", "peers"),
        Edit("membership/forming", "            peers.doubt(node)\n", "            pass\n"),
    ),
    _mutant(
        "any-acknowledgement-is-for-the-token",
        "The acknowledgement of a former token counts for the one that was passed on last, which may be lost.",
        ("staying", "states", "retransmission"),
        Edit(
            "ring/token_passing",
            "(acknowledgement.what, acknowledgement.number) == (what, number)",
            "acknowledgement.what == what",
        ),
    ),
    _mutant(
        "copy-of-a-token-not-answered",
        "Who has a token already says nothing when it comes again, so it is sent again and again.",
        ("staying", "states", "retransmission"),
        Edit(
            "membership/operational",
            "            passing.answer_copy(sender, token)\n            return None\n",
            "            return None\n",
        ),
    ),
    _mutant(
        "lost-token-asks-for-no-acknowledgement",
        "After a token was lost the next ones are missed as slowly as that one.",
        ("staying", "papers_order", "ordering", "retransmission"),
        Edit("ring/ring", "acknowledge=ACKNOWLEDGED_ROTATIONS", "acknowledge=0"),
    ),
    _mutant(
        "packet-of-another-old-ring-counts-as-sent",
        "Two old rings merge that both lack a packet of one number: who sees it sent for the other ring does not send "
        "its own.",
        ("recovery",),
        Edit(
            "membership/recovery",
            "        if packet.old_ring != self._old_ring:\n            return\n",
            "        if packet.old_ring != self._old_ring:\n            self._queue.pop(packet.old_seq, None)\n"
            "            return\n",
        ),
    ),
    _mutant(
        "challenge-to-a-former-life-answered",
        "A challenge to a dead incarnation is answered by the one that lives, which proves nothing of that one.",
        ("staying", "peers", "states"),
        Edit(
            "membership/listening",
            "(challenge.target, challenge.incarnation) != (context.node, context.incarnation)",
            "challenge.target != context.node",
        ),
    ),
    _mutant(
        "word-of-the-unproven-counts",
        "What somebody says who may be dead is acted upon at once.",
        ("staying", "peers", "admission", "hostile"),
        Edit("membership/listening", "return verdict is Freshness.NEWS", "return verdict is not Freshness.LATE"),
    ),
    _mutant(
        "forged-serial-silences-for-good",
        "A serial that was forged near its end stays although its owner has proven a lower one.",
        ("peers",),
        Edit("membership/peers", "        life.serial = min(life.serial, serial)\n", ""),
    ),
    _mutant(
        "round-trip-from-the-first-copy",
        "A round trip is measured from the first copy of a token, whichever was answered: waits grow with each loss.",
        ("retransmission",),
        Edit("ring/retransmission", "now - self._sent_at[copy]", "now - self._sent_at[0]"),
    ),
    _mutant(
        "two-lives-with-one-id",
        "A second process with the id of a member takes its place although the member lives.",
        ("staying", "rivals", "peers", "hostile"),
        Edit(
            "membership/listening",
            "        elif operational and not self._has_place(sender, incarnation):",
            "        elif nonce < 0:",
        ),
    ),
    _mutant(
        "nobody-is-told-that-it-is-put-off",
        "Beacons do not say whom their sender puts off, so those form rings with it that it does not follow.",
        ("connectivity",),
        Edit("membership/connectivity", "return tuple(sorted(nodes[max(0, len(nodes) - most) :]))", "return ()"),
    ),
    _mutant(
        "put-off-by-another-ignored",
        "Who is told that it is put off forms a ring with the sender nevertheless.",
        ("connectivity", "staying"),
        Edit(
            "membership/connectivity",
            "if not marks and (gathers is not None or not self._is_put_off(mine, theirs, now)):",
            "if not marks:",
        ),
    ),
    _mutant(
        "join-of-who-put-me-off-ignored",
        "What a beacon said of putting off holds against a join of its sender.",
        ("connectivity", "staying"),
        Edit("membership/connectivity", "(gathers is not None or not self", "(not self"),
    ),
    _mutant(
        "rings-with-a-bad-link-between-them-stay-apart",
        "Two rings that were apart come together only if all hear all, so one dead link keeps all others apart, too.",
        ("connectivity",),
        Edit(
            "membership/connectivity", "return None if out is None or self._node in out else (both, out)", "return None"
        ),
    ),
    _mutant(
        "nothing-to-gain-and-tried",
        "A ring is tried with the end of a dead link, although it would not be larger than the one that there is.",
        ("connectivity",),
        Edit("membership/connectivity", "- max(len(mine), len(theirs)) - 1", "- max(len(mine), len(theirs))"),
    ),
    _mutant(
        "who-is-left-out-by-a-plan-is-not-said",
        "Who has seen which ring can be formed does not say who is not on it, so each finds out by itself, in vain.",
        ("apart",),
        Edit(
            "membership/operational",
            "return Gather(members, out, informed=True)",
            "return Gather(members, informed=True)",
        ),
    ),
    _mutant(
        "plan-of-a-larger-ring-is-not-followed",
        "A ring goes on as it is although a larger one can be formed without one of its members.",
        ("apart",),
        Edit("membership/operational", "join.informed and self._context.node in join.alive and len(", "False and len("),
    ),
    _mutant(
        "plan-that-takes-more-than-it-brings-is-followed",
        "A stranger's plan for a ring that is no larger than this one takes a member out of this ring.",
        ("apart",),
        Edit("membership/operational", " and len(join.alive) > len(ring.members))", ")"),
    ),
    _mutant(
        "who-knows-less-plans-as-soon",
        "Who does not hear everybody plans at the same time as who does, and leaves out the other end of a dead link.",
        ("connectivity", "apart"),
        Edit("membership/connectivity", "else wait_s + self.memory_s", "else wait_s"),
    ),
    _mutant(
        "plan-before-beacons-came-for-long",
        "Two rings that were apart for long plan at once when they hear each other, and leave out who is heard later.",
        ("connectivity", "apart"),
        Edit("membership/connectivity", "*(word.since for word in words), ", ""),
    ),
    _mutant(
        "lossy-links-are-dead-to-a-plan",
        "A plan leaves out who was heard of late, only because its last beacons are not enough for evidence.",
        ("connectivity", "apart"),
        Edit("membership/connectivity", " if not self._has_heard(*pair, now)", ""),
    ),
    _mutant(
        "whom-a-plan-left-out-may-try",
        "Whom a plan left out may come back once without evidence, although beacons have shown that it is in vain.",
        ("connectivity",),
        Edit("membership/connectivity", "if others or node in planned else 0", "if others else 0"),
    ),
    _mutant(
        "who-recovers-is-left-out-by-a-plan",
        "That who recovers does not say that it hears somebody is taken for a dead link.",
        ("connectivity", "apart"),
        Edit("membership/connectivity", "if any(word.beacon.busy for word in words):", "if False:"),
        Edit("membership/connectivity", "            if beacon.busy:\n", "            if False:\n"),
    ),
    _mutant(
        "beacons-of-a-recovery-show-dead-links",
        "When a recovery has ended, a plan takes what its beacons left out for dead links.",
        ("connectivity",),
        Edit("membership/connectivity", "            if beacon.busy:\n", "            if False:\n"),
    ),
    _mutant(
        "members-of-one-ring-are-not-heard",
        "A plan takes links between members of one ring until now for dead: beacons name them as members.",
        ("connectivity",),
        Edit("membership/connectivity", "(other in members or other in heard)", "other in heard"),
    ),
    _mutant(
        "who-was-left-out-often-waits-as-long-each-time",
        "Who was left out more than three times waits until its mark is forgotten if the others recover for so long.",
        ("connectivity",),
        Edit("membership/connectivity", "_BUSY_WAIT = 16", "_BUSY_WAIT = 256"),
    ),
    _mutant(
        "evidence-for-another-ring-is-believed",
        "A join whose sender has seen evidence for a ring with others is followed by whoever hears it.",
        ("staying",),
        Edit(
            "membership/operational",
            "join.informed and any(node in ring.members for node in join.alive)",
            "join.informed",
        ),
    ),
    _mutant(
        "who-was-left-out-ends-recoveries",
        "Who was left out, and is heard by all, comes back while the others recover.",
        ("papers_membership", "connectivity"),
        Edit(
            "context",
            "return configuration.primary and not self.barrier.complete and",
            "return False and configuration.primary and",
        ),
    ),
    _mutant(
        "asks-two-rounds-later",
        "Who has unblocked goes on asking for what it needed before, until the next configuration is installed.",
        ("patience_ends",),
        Edit("membership/membership", "            self._patience.end_recovery()\n", ""),
    ),
    _mutant(
        "questions-asked-once",
        "Who did not answer whether it lives is not asked once more while a ring forms.",
        ("peers",),
        Edit("membership/peers", "_AGAIN = 4", "_AGAIN = 0"),
    ),
    _mutant(
        "who-was-left-out-asked-once",
        "Who was left out, and whose answer is lost, is not asked once more whether it lives while a ring forms.",
        ("peers",),
        Edit("membership/peers", "in (None, key[1])", "is None"),
    ),
    _mutant(
        "insists-anew-after-another-request",
        "That a packet was sent in vain is forgotten when another member asks for a later one meanwhile.",
        ("ordering",),
        Edit(
            "ring/ring",
            "        if first > self._again_seq > came.aru and self._insisted < _INSISTED_MAX:\n            return\n",
            "",
        ),
    ),
    _mutant(
        "short-standstill-asks-for-less",
        "A short standstill at the beginning of a recovery makes a processor ask for less than it needed before.",
        ("patience",),
        Edit("membership/patience", "self.asks = max(self.asks, self._needed())", "self.asks = self._needed()"),
    ),
    _mutant(
        "patience-outlives-the-barrier",
        "The token that was passed on before the barrier was complete is waited for as long as a member had asked for.",
        ("patience_ends",),
        Edit("membership/operational", "if latest < timers.deadline(_TOKEN_LOSS) < math.inf:", "if latest < 0.0:"),
    ),
    _mutant(
        "newcomers-wait-for-a-round-that-is-over",
        "Strangers are put off until the time of a patient round is over, whatever became of that round.",
        ("patience_ends",),
        Edit(
            "membership/operational",
            "if not self._patient or self._context.now >= self._undisturbed_until:",
            "if self._context.barrier.complete or self._context.now >= self._undisturbed_until:",
        ),
    ),
    _mutant(
        "charged-with-another-standstill",
        "A processor that waits for one that stands still has no deadline near, and takes the time for its own.",
        ("patience_ends",),
        Edit(
            "membership/membership",
            "        if late_s < context.config.retransmit_s:",
            "        if late_s < context.config.retransmit_s and self._patience.asks == 1:",
        ),
        Edit(
            "ring/token_passing",
            "        if self.timeout_s > self._token_timeout_s:\n            self._timers.set(_STAND",
            "        if self._context.leaving:\n            self._timers.set(_STAND",
        ),
    ),
    _mutant(
        "idle-time-taken-for-a-standstill",
        "A processor that is alone is idle for as long as nothing is due, and counts that as a time in which it stood "
        "still.",
        ("patience_ends",),
        Edit("membership/membership", "min(now - context.now, late_s + timeout_s)", "now - context.now"),
    ),
    _mutant(
        "charged-with-a-wait-while-the-ring-forms",
        "A processor that waits for a member of the ring that forms has no deadline near: it takes it for its own.",
        ("patience_ends",),
        Edit("ring/token_passing", "        if times > 1:", "        if times > 1 and self.ring.phase == _INSTALLED:"),
    ),
    _mutant(
        "one-copy-before-a-standstill",
        "A processor that will stand still next sends the token that installs the ring only once.",
        ("patience_loss",),
        Edit("membership/operational", "_COPIES_BEFORE_A_STANDSTILL = 2", "_COPIES_BEFORE_A_STANDSTILL = 0"),
    ),
    _mutant(
        "standstill-is-taken-for-a-long-way",
        "The late answer of a successor that stood still is measured as the round trip to it.",
        ("retransmission",),
        Edit("ring/retransmission", "_LATE_MAX = 3", "_LATE_MAX = 1"),
    ),
    _mutant(
        "patience-is-part-of-what-must-stay-true",
        "A processor whose standstill became longer since it wrote into the commit token takes that for a forged one.",
        ("patience_ends",),
        Edit("membership/formation", "entry._replace(patience=mine.patience) for entry", "entry for entry"),
    ),
    _mutant(
        "who-installs-is-waited-for-as-ever",
        "Who has promised what it delivers waits for the token as ever, though its sender may stand still.",
        ("patience_ends",),
        Edit(
            "membership/forming",
            "passing.wait(max(entry.patience for entry in formation.commit.entries))",
            "passing.wait(1)",
        ),
    ),
    _mutant(
        "silent-end-of-a-dead-link-forgotten",
        "Who says nothing at all, while others of its ring speak, is not known not to be heard: its mark expires.",
        ("connectivity",),
        Edit(
            "membership/connectivity",
            "if known and not any(self._is_known(other, now) for other in others):",
            "if known:",
        ),
    ),
    _mutant(
        "ends-of-a-bad-link-free-in-turn",
        "Who is left out just after another one may come back once without evidence, as that one may.",
        ("connectivity",),
        Edit("membership/connectivity", "_FREE if others or node in planned", "_FREE if node in planned"),
    ),
    _mutant(
        "standstill-after-the-unblock-charged",
        "A standstill counts as one in recovery although the processor has unblocked before it.",
        ("patience_ends",),
        Edit("membership/membership", "if self.state is _LEFT or context.barrier.asked:", "if self.state is _LEFT:"),
    ),
    _mutant(
        "patience-until-all-have-unblocked",
        "The token is waited for as long as one asked who has unblocked already, while others have not.",
        ("patience", "patience_ends"),
        Edit("membership/patience", "if node in waiting_for), default=1)", "if waiting_for), default=1)"),
    ),
    _mutant(
        "who-is-put-off-is-not-said",
        "A processor waits to be let in, and no log says so.",
        ("staying",),
        Edit(
            "membership/gathering",
            "            listening.note_put_off(sender)\n",
            '            self._context.counters.add("rejoins_put_off")\n',
        ),
    ),
    _mutant(
        "evidence-comes-slowly",
        "Beacons are as far apart as ever while all wait for three of each.",
        ("beacons",),
        Edit("membership/beacons", "_QUICK = 6", "_QUICK = 0"),
    ),
    _mutant(
        "quick-beacons-for-ever",
        "Beacons are twice as fast for as long as somebody is put off, not only at its beginning.",
        ("beacons",),
        Edit(
            "membership/beacons", "if other not in self._met and len(self._met) < _MET_MAX:", "if len(self._met) >= 0:"
        ),
    ),
    _mutant(
        "first-beacon-after-an-interval",
        "A ring that was installed is silent for an interval of beacons, in which the others form theirs without it.",
        ("papers_membership",),
        Edit(
            "membership/operational",
            "            self._beacons.come_due(self._ring)\n        change",
            "            self._beacons.wait()\n        change",
        ),
    ),
)
