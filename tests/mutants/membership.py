"""Mutants of membership and recovery: who is on the ring, under which id, and what its members make equal."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

_SIGNED = "((({}) + 2**31) % 2**32)"

MUTANTS = (
    Mutant(
        "leaver-forgets-what-it-acknowledged",
        "Who leaves in order does not deliver what it has acknowledged, though others deliver it as safe for that.",
        (
            Edit(
                "membership/membership",
                "        self._deliver_the_rest()\n        self._become(State.LEFT)\n",
                "        self._become(State.LEFT)\n",
            ),
        ),
    ),
    # Ring ids
    Mutant(
        "restart-reloads-the-ring-id",
        "A processor that is restarted begins with the ring sequence that it had stored, which the living ring bears "
        "(a peer's bug).",
        (Edit("context", "self.ring_sequence = ring_sequence + 1", "self.ring_sequence = ring_sequence"),),
    ),
    Mutant(
        "nonce-is-constant",
        "Ring ids have no random part, so a processor that lost its storage gives one id to two rings (a peer's bug).",
        (
            Edit(
                "membership/membership",
                "RingId(context.ring_sequence, context.node, context.entropy.next())",
                "RingId(context.ring_sequence, context.node, 0)",
            ),
            Edit("context", "RingId(self.ring_sequence, node, entropy.next())", "RingId(self.ring_sequence, node, 0)"),
        ),
    ),
    Mutant(
        "redone-formation-keeps-its-sequence",
        "A formation that is begun again after one that failed has the same sequence (a peer's bug).",
        (
            Edit(
                "membership/membership",
                "        context.ring_sequence += 1\n",
                "        context.ring_sequence = max(context.ring_sequence, self.ring.id.sequence + 1)\n",
            ),
        ),
    ),
    Mutant(
        "sequence-never-raised",
        "Who forms a ring gives it the highest sequence that is known, not one more.",
        (Edit("membership/membership", "        context.ring_sequence += 1\n", ""),),
    ),
    Mutant(
        "sequence-added-in-32-bits",
        "The next ring sequence is computed in 32 bits (a peer's bug with counts).",
        (
            Edit(
                "membership/membership",
                "        context.ring_sequence += 1\n",
                "        context.ring_sequence = (context.ring_sequence + 1) % 2**32\n",
            ),
        ),
    ),
    Mutant(
        "signed-comparison-of-sequences",
        "Ring sequences are compared as signed numbers of 32 bits, which is wrong where they roll over (a peer's bug).",
        (
            Edit(
                "membership/gathering",
                "if ring_id.sequence <= context.ring_sequence:",
                f"if {_SIGNED.format('ring_id.sequence')} <= {_SIGNED.format('context.ring_sequence')}:",
            ),
            Edit(
                "membership/listening",
                "max(context.ring_sequence, sequence)",
                f"max(context.ring_sequence, sequence, key=lambda sequence: {_SIGNED.format('sequence')})",
            ),
        ),
    ),
    # Consensus
    Mutant(
        "unordered-comparison",
        "The sets of a join are compared as sequences, in whatever order a set has: with some ids there never is "
        "consensus (a peer's bug).",
        (
            Edit(
                "membership/consensus",
                "return join.alive == self.alive and join.fail_set == self.fails",
                "return join.alive == tuple(self.proc_set - self.fail_set) and join.fail_set == tuple(self.fail_set)",
            ),
        ),
    ),
    Mutant(
        "those-given-up-take-a-place",
        "Those given up in a gather count as members of the ring that is to be.",
        (
            Edit(
                "membership/consensus",
                "return len(fails) <= self._members_max and len(procs) - len(fails) <= self._members_max",
                "return len(procs) <= self._members_max",
            ),
        ),
        tests=("tests/core/test_gather.py",),
    ),
    Mutant(
        "takes-in-whom-it-forgot",
        "Who forgot some of those given up takes them in again when somebody says that they are there.",
        (
            Edit(
                "membership/consensus",
                "self.proc_set if self._closed else self.proc_set | procs",
                "self.proc_set | procs",
            ),
        ),
        tests=("tests/core/test_gather.py",),
    ),
    Mutant(
        "no-consensus-timeout",
        "Who does not agree is never given up.",
        (Edit("membership/gathering", "silent = consensus.silent()", "silent: set[int] = set()"),),
    ),
    # That a stranger's join which names its receiver as failed breaks no installed ring is no mutant: such a stranger
    # was heard when it was left out, so it is marked and put off before its sets are looked at (departure 8).
    Mutant(
        "who-is-named-as-failed-believes-it",
        "A join that names its receiver as failed is honoured by the receiver (a peer's bug).",
        (
            Edit("membership/consensus", "        if self.node in fails:\n", "        if False:\n"),
            Edit(
                "membership/consensus",
                "((self.fail_set | fails) & procs) - {self.node}",
                "(self.fail_set | fails) & procs",
            ),
        ),
    ),
    Mutant(
        "late-copies-are-news",
        "Joins, beacons and leaves that the network kept for seconds count like fresh ones.",
        (Edit("membership/peers", "and identity.serial <= life.serial:", "and identity.serial < 0:"),),
    ),
    Mutant(
        "no-merge-detection",
        "Nobody tells other rings that this one is there.",
        (
            Edit(
                "membership/beacons",
                'context.transmit(0, context.membership_codec.encode_beacon(beacon), "beacons_sent")',
                'context.counters.add("beacons_sent")',
            ),
        ),
    ),
    Mutant(
        "no-failure-to-receive",
        "A member that holds everybody's aru up stays for ever.",
        (Edit("ring/token_passing", "ring.slowest_member(self._context.now, self.fail_to_receive_s) != 0", "False"),),
    ),
    Mutant(
        "no-failure-to-receive-in-recovery",
        "Only an installed ring judges who holds everybody up: a deaf member keeps a recovery going for ever (this "
        "code's own bug, found by a trial).",
        (
            Edit(
                "membership/forming",
                "        if passing.ends_ring(token):\n",
                "        if False:\n",
            ),
        ),
    ),
    Mutant(
        "nobody-is-put-off",
        "Who was left out although it was heard may come back at once: two that do not hear each other make "
        "memberships flap for ever.",
        (Edit("membership/connectivity", "mark.level += 1", "mark.level = 0"),),
    ),
    # Commit
    Mutant(
        "second-first-token",
        "A second copy of the returning commit token starts a second regular token (a peer's bug).",
        (Edit("membership/formation", "\n            and self.ring.token_seq == 0", ""),),
    ),
    Mutant(
        "attempts-mixed",
        "What was exchanged in a recovery that failed is not exchanged again in the next one, although not all who "
        "are in that were in the first (a peer's bug: two attempts were mixed).",
        (
            Edit(
                "membership/recovery",
                "class Exchange(Source):",
                "_EXCHANGED: set[tuple[int, bytes, int]] = set()\n\n\nclass Exchange(Source):",
            ),
            Edit(
                "membership/recovery",
                "        self._codec = codec\n",
                "        self._codec = codec\n        self._node = node\n",
            ),
            Edit(
                "membership/recovery",
                "if old_window.get(seq) is not None:",
                "if old_window.get(seq) is not None and (node, old_ring, seq) not in _EXCHANGED:",
            ),
            Edit(
                "membership/recovery",
                "        del self._queue[old_seq]\n",
                "        del self._queue[old_seq]\n        _EXCHANGED.add((self._node, self._old_ring, old_seq))\n",
            ),
            Edit(
                "membership/recovery",
                "        self._queue.pop(packet.old_seq, None)\n",
                "        self._queue.pop(packet.old_seq, None)\n"
                "        _EXCHANGED.add((self._node, self._old_ring, packet.old_seq))\n",
            ),
        ),
    ),
    # That data of the old ring is taken in after its aru was written into the commit token is no mutant: the entry is
    # compared when the token comes for the second time, so the formation is only begun again; and if it were not
    # compared, the exchange would begin lower than it need.
    Mutant(
        "high-delivered-is-the-aru",
        "A member writes into the commit token that it delivered all that it received, safe messages too.",
        (
            Edit(
                "membership/forming",
                "installed.ring.window.aru,\n        context.delivery.delivered,",
                "installed.ring.window.aru,\n        installed.ring.window.aru,",
            ),
        ),
    ),
    # Recovery
    Mutant(
        "transitional-of-all",
        "Everybody on the new ring is taken to come from this processor's old one.",
        (
            Edit(
                "membership/recovery",
                "together = [entry for entry in entries if entry.old_ring == old_ring]",
                "together = list(entries)",
            ),
        ),
    ),
    Mutant(
        "least-delivered-counts",
        "What only some have delivered in the regular configuration counts as delivered by nobody.",
        (
            Edit(
                "membership/recovery",
                "max(entry.high_delivered for entry in together)",
                "min(entry.high_delivered for entry in together)",
            ),
        ),
    ),
    Mutant(
        "exchange-above-the-greatest-aru",
        "Packets that one member has are taken to be at all of them.",
        (
            Edit(
                "membership/recovery",
                "max(min(entry.aru for entry in together)",
                "max(max(entry.aru for entry in together)",
            ),
        ),
    ),
    Mutant(
        "recovered-packets-not-kept",
        "Packets of the old ring that come in recovery are not taken out of those that carry them.",
        (
            Edit(
                "membership/forming",
                "                formation.exchange.receive(packet)\n",
                "                self._context.now = self._context.now\n",
            ),
        ),
    ),
    Mutant(
        "no-received-phase",
        "When all was sent the ring is installed, without asking whether all have it.",
        (
            Edit("membership/formation", "self.ring.phase += 1", "self.ring.phase = int(Phase.INSTALLED)"),
            Edit("ring/ring", "<= self.phase + (self.node != self.representative)", "<= self.phase + 2"),
        ),
    ),
    Mutant(
        "promise-without-having",
        "A member promises that it has everything when it has nothing more to send.",
        (
            Edit(
                "membership/recovery",
                "return bool(self._queue) or (ring.phase == Phase.RECEIVED and ring.window.aru < seq)",
                "return bool(self._queue)",
            ),
        ),
    ),
    Mutant(
        "phase-by-rotations",
        "Each rotation brings the next phase, whoever was not ready.",
        (Edit("membership/formation", "if not token.incomplete:", "if self.ring.rotations:"),),
    ),
    Mutant(
        "last-one-ready-speaks-for-all",
        "The flag that somebody was not ready is overwritten by the next member instead of kept.",
        (Edit("ring/ring", "token.incomplete or source.unready(self, seq),", "source.unready(self, seq),"),),
    ),
    Mutant(
        "obligations-ignored",
        "What others promised in a recovery that failed is not honoured in the next one.",
        (
            Edit(
                "membership/recovery",
                "frozenset(self.transitional).union(*(entry.obligations for entry in together))",
                "frozenset(self.transitional)",
            ),
        ),
    ),
    Mutant(
        "obligations-forgotten",
        "A processor does not remember what it promised in a recovery that failed.",
        (
            Edit(
                "membership/forming",
                "self._installed.obligations = formation.exchange.deliver_set",
                "self._installed.obligations = frozenset()",
            ),
        ),
    ),
    Mutant(
        "delivered-from-the-beginning",
        "The new ring's delivery begins with the packets that carried the recovery, which are gone.",
        (Edit("membership/forming", "delivery.delivered = ring.window.released", "delivery.delivered = 0"),),
    ),
    # Leaving
    Mutant(
        "leave-without-draining",
        "Who leaves does not send what it had accepted.",
        (
            Edit(
                "context",
                "return not (self.drains and (any(map(len, self.outbox.queues)) or self.barrier.unblock_due))",
                "return True",
            ),
        ),
    ),
    Mutant(
        "leave-of-any-incarnation",
        "A leave that a former life of a processor said takes the present one off the ring.",
        (
            Edit("membership/listening", "if known != leave.identity.incarnation:", "if known is None:"),
            Edit("membership/listening", "        return self._listens(sender, leave)\n", "        return True\n"),
        ),
    ),
)
"""In the order of a formation."""
