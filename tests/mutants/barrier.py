"""Mutants of the recovery barrier."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    Mutant(
        "completion-is-a-bit-of-the-token",
        "The fault of 2004: completion is not a message in the order but a bit of the token, which says that a whole "
        "rotation found nobody who had still to unblock. It comes at other places of the order at other processors.",
        (
            Edit(
                "ring/regular_source",
                "    def unready(self, ring: RingState, seq: int) -> bool:\n        return False",
                "    def unready(self, ring: RingState, seq: int) -> bool:\n"
                "        return not self._outbox._barrier._sent",
            ),
            Edit(
                "ring/ring",
                "token.incomplete or source.unready(self, seq),",
                "(token.incomplete and (self.phase != Phase.INSTALLED or self.node != self.representative))\n"
                "            or source.unready(self, seq),",
            ),
            Edit(
                "ring/token_passing",
                "        self.deliver()\n        self.woke = False\n",
                "        ring = self.ring\n        self.deliver()\n        self.woke = False\n"
                "        barrier = self._barrier\n"
                "        primary = self._delivery.configuration.primary\n"
                "        if primary and not token.incomplete and barrier._sent and not barrier.complete:\n"
                "            barrier.complete = True\n"
                "            barrier._table = set(ring.members)\n"
                "            from ringproto.events import RecoveryComplete\n"
                "            done = RecoveryComplete(ring.id, token.message_seq, ring.members)\n"
                '            self._delivery._put("DONE", done)\n',
            ),
            Edit("barrier", "len(self._table) == len(self._configuration.members)", "len(self._table) < 0"),
        ),
    ),
    Mutant(
        "half-sent-high-blocks-recovery",
        "The other fault of 2004: a change in the middle of a fragmented HIGH message leaves the cursor on that queue, "
        "and until that message is finished RECOVERY is not sent, so it never is.",
        (
            Edit("packets/packing", "        self.queues[1].rewind()\n", ""),
            Edit(
                "packets/packing",
                "return len(recovery) > 0 or self._barrier.unblock_due",
                "return not high.cursor and (len(recovery) > 0 or self._barrier.unblock_due)",
            ),
        ),
    ),
    Mutant(
        "table-kept-over-a-change",
        "The table of the unblocked is kept when a round is aborted (a peer's bug).",
        (Edit("barrier", "self._table: set[int] = set()", 'self._table: set[int] = getattr(self, "_table", set())'),),
    ),
    Mutant(
        "completion-kept-over-a-change",
        "Once the barrier was complete it stays so in the next configuration: messages that were queued before the "
        "change are sent before its barrier (a peer's bug).",
        (
            Edit(
                "barrier",
                "        self.complete = False\n",
                '        self.complete = getattr(self, "complete", False)\n',
            ),
        ),
    ),
    Mutant(
        "high-before-completion",
        "What room a packet has left beside RECOVERY is filled with HIGH, complete or not.",
        (
            Edit(
                "packets/packing",
                "            room = self._take(Priority.RECOVERY, room, contents)\n",
                "            room = self._take(Priority.RECOVERY, room, contents)\n"
                "            room = self._take(Priority.HIGH, room, contents)\n",
            ),
        ),
    ),
    Mutant(
        "one-unblock-too-few",
        "The barrier is complete when all members but one have unblocked.",
        (
            Edit(
                "barrier",
                "len(self._table) == len(self._configuration.members)",
                "len(self._table) == max(1, len(self._configuration.members) - 1)",
            ),
        ),
    ),
    Mutant(
        "quorum-ignored",
        "A configuration without the quorum completes its barrier like any other.",
        (Edit("barrier", "if self._configuration.primary and len(", "if len("),),
    ),
    Mutant(
        "quorum-less-one",
        "A configuration that lacks one member to the quorum is said to have it.",
        (
            Edit(
                "membership/forming",
                "len(ring.members) >= context.config.quorum)",
                "len(ring.members) + 1 >= context.config.quorum)",
            ),
        ),
    ),
    Mutant(
        "unblock-before-recovery-is-sent",
        "The unblock is sent as soon as it was asked for, whatever recovery messages still wait.",
        (
            Edit(
                "packets/packing",
                "            room = self._take(Priority.RECOVERY, room, contents)\n"
                "            if self._barrier.unblock_due and not len(self.queues[0]) and room",
                "            if not self._barrier.unblock_due:\n"
                "                self._take(Priority.RECOVERY, room, contents)\n"
                "            elif room",
            ),
        ),
    ),
    Mutant(
        "unblock-again-and-again",
        "A processor unblocks at every visit until the barrier is complete.",
        (Edit("barrier", "self._sent = True", "self._sent = self.complete"),),
    ),
    Mutant(
        "unblock-waits-for-high",
        "The unblock stands behind the HIGH messages that wait for it.",
        (
            Edit(
                "packets/packing",
                "unblock_due and not len(self.queues[0]) and room",
                "unblock_due and not len(self.queues[0]) and not len(self.queues[1]) and room",
            ),
            Edit(
                "packets/packing",
                "return len(recovery) > 0 or self._barrier.unblock_due",
                "return len(recovery) > 0 or (self._barrier.unblock_due and not len(high))",
            ),
        ),
    ),
    Mutant(
        "recovery-messages-kept-over-a-change",
        "Unsent recovery messages of an aborted round are sent in the next one, of which they do not speak.",
        (Edit("packets/packing", "self.queues[0].clear()", "self.queues[0].rewind()"),),
    ),
    Mutant(
        "unblock-of-the-former-round-counts",
        "That the application has unblocked is remembered over a change, so the unblock of the former round is sent in "
        "this one.",
        (
            Edit(
                "barrier",
                "        self._asked = False\n",
                '        self._asked = getattr(self, "_asked", False)\n',
            ),
        ),
    ),
    Mutant(
        "no-completion-in-transitional",
        "The last unblock comes in the transitional configuration, and the completion is left out there.",
        (
            Edit("packets/delivery", "        hole = False\n", "        hole = False\n        self.held = 2**40\n"),
            Edit("packets/delivery", "if complete is not None:", "if complete is not None and self.held != 2**40:"),
        ),
    ),
    Mutant(
        "waits-for-all-until-complete",
        "waiting_for names all members as long as one is missing.",
        (
            Edit(
                "barrier",
                "frozenset(self._configuration.members) - self._table",
                "frozenset() if self.complete else frozenset(self._configuration.members)",
            ),
        ),
    ),
    Mutant(
        "waiting-for-of-the-former-round",
        "waiting_for still counts who had unblocked before the change: the ghost member of a peer's bug.",
        (
            Edit("barrier", '__slots__ = ("_asked",', '__slots__ = ("_former", "_asked",'),
            Edit(
                "barrier",
                "        self._configuration = configuration\n",
                '        self._former: set[int] = getattr(self, "_table", set())\n'
                "        self._configuration = configuration\n",
            ),
            Edit("barrier", "- self._table\n", "- (self._table or self._former)\n"),
        ),
    ),
    Mutant(
        "abort-unsaid",
        "A round that a change ends is not aborted.",
        (Edit("barrier", "aborted = None if self.complete else self._configuration.ring_id", "aborted = None"),),
    ),
    Mutant(
        "abort-of-a-complete-round",
        "A round that was complete is aborted by the next change.",
        (
            Edit(
                "barrier",
                "aborted = None if self.complete else self._configuration.ring_id",
                "aborted = self._configuration.ring_id",
            ),
        ),
    ),
)
"""The two faults of 2004 first."""
