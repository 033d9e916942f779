"""Gathering: what a processor does in the state gather (Totem, section 5.1).

It says in joins whom it knows and whom it has given up, and takes in the joins of others until all agree;
``consensus.py`` has the sets. The one with the smallest id then forms the ring.
"""

from __future__ import annotations

from typing import Any

from ringproto._core.context import Context
from ringproto._core.membership.changes import Change, Follow, Form, Gather, Handlers
from ringproto._core.membership.consensus import Consensus
from ringproto._core.membership.installed import InstalledRing
from ringproto._core.membership.listening import Listening
from ringproto._core.membership.reasons import Reasons
from ringproto._core.membership.ring_ends import LEFT_IN_ORDER
from ringproto._core.states import Input
from ringproto._core.timers import Timer
from ringproto._core.wire.membership import Beacon, CommitPart, Join, Leave
from ringproto._core.wire.regular import Packet, ring_from_bytes


class Gathering:
    """One attempt to agree on the members of the next ring.

    Args:
        context: of the processor.
        listening: what it takes in.
        installed: the ring that it installed last.
        reasons: why that ring ended.
        gather: with whom the attempt begins.
    """

    def __init__(
        self, context: Context, listening: Listening, installed: InstalledRing, reasons: Reasons, gather: Gather
    ) -> None:
        self._context = context
        self._listening = listening
        self._installed = installed
        self._reasons = reasons
        self.consensus = Consensus(context.node, gather.procs, gather.fails, context.config.members_max)
        self.consensus.informed = gather.informed
        if gather.informed:
            self.consensus.planned.update(gather.fails)
        self._alone_at_once = gather.alone_at_once
        self._suspect = gather.suspect
        self._agreed = False

    def handlers(self) -> Handlers:
        """What each input calls in gather."""
        return {
            Input.DATA: self.old_data,
            Input.JOIN: self.join,
            Input.COMMIT: self.commit,
            Input.BEACON: self.beacon,
            Input.LEAVE: self.leave,
            Input.JOIN_TIMEOUT: self.repeat_join,
            Input.CONSENSUS: self.consensus_timeout,
        }

    def begin(self) -> Change | None:
        """Say the first join."""
        self._await_consensus()
        self._say_join()
        return self._check_consensus()

    # What comes in

    def join(self, sender: int, join: Join) -> Change | None:
        """The sets of another processor."""
        if not self._listening.hears_join(sender, join):
            return self._listening.failure
        self._note_sign(sender)
        return self.take_join(sender, join)

    def take_join(self, sender: int, join: Join) -> Change | None:
        """Add the sets of a join that counts to the own ones."""
        self._listening.raise_sequence(join.ring_sequence)
        consensus = self.consensus
        before = consensus.fail_set
        if consensus.receive(sender, join):
            gone = consensus.fail_set - before
            self._reasons.gone(gone - {sender}, f"given up by {sender}")
            self._reasons.gone(gone & {sender}, "gave this processor up")
            self._sets_changed()
        if consensus.overfull:
            self._context.counters.add("dropped_ring_full")
        return self._check_consensus()

    def beacon(self, sender: int, beacon: Beacon) -> Change | None:
        """A ring that this processor does not know: its representative is taken in, unless it is put off."""
        listening, consensus = self._listening, self.consensus
        if not listening.hears_beacon(sender, beacon):
            return listening.failure
        self._note_sign(sender)
        if sender in consensus.proc_set:
            return None
        context = self._context
        if listening.connectivity.puts_off(consensus.alive, sender, context.now, busy=context.is_busy()):
            listening.note_put_off(sender)
        elif consensus.add(sender):
            self._sets_changed()
        return None

    def leave(self, sender: int, leave: Leave) -> Change | None:
        """A processor leaves: it is given up without waiting."""
        if not self._listening.hears_leave(sender, leave):
            return self._listening.failure
        consensus = self.consensus
        self._reasons.gone((sender,), LEFT_IN_ORDER)
        if not consensus.fail((sender,)):
            return None
        self._alone_at_once = consensus.alive == (self._context.node,) and sender in self._installed.ring.members
        self._sets_changed()
        return self._check_consensus()

    def commit(self, sender: int, part: CommitPart) -> Change | None:
        """The commit token of a ring: its membership must be the one that is agreed on here."""
        listening, context, consensus = self._listening, self._context, self.consensus
        token = listening.take_commit(part)
        if token is None:
            return None
        ring_id = ring_from_bytes(token.ring)
        members = token.members
        if not listening.commit_in_reach(ring_id.sequence):
            return None
        if ring_id.sequence <= context.ring_sequence:
            context.counters.add("dropped_late_copy")
        elif context.node not in members or ring_id.representative != members[0] or members[0] == context.node:
            context.counters.add("dropped_not_for_me")
        elif not consensus.fail_set.isdisjoint(members) or not set(consensus.alive).issubset(members):
            # The processor that formed this does not know yet what is known here; it will hear the join.
            context.counters.add("dropped_other_membership")
        elif not listening.is_of_the_living(sender, token):
            context.counters.add("dropped_unproven")
        else:
            return Follow(ring_id, token, sender, part)
        return None

    def old_data(self, sender: int, packet: Packet) -> Change | None:
        """A packet of the installed ring comes late."""
        ring, counters = self._installed.ring, self._context.counters
        if packet.ring != ring.name:
            counters.add("dropped_other_ring")
        elif packet.sender not in self._installed.incarnations and not packet.old_ring:
            counters.add("dropped_stranger")
        elif ring.misplaced(packet):
            counters.add("dropped_implausible")
        elif not ring.window.insert(packet):
            counters.add("duplicates")
        return None

    def _note_sign(self, sender: int) -> None:
        """A member was heard: if it is the one that is suspected to be dead, it lives."""
        if self._suspect and sender == self._suspect:
            self._suspect = 0
            self._await_consensus()

    # What this processor says

    def repeat_join(self, sender: int, body: Any) -> Change | None:
        """The join is due again."""
        self._say_join()
        self._listening.ask_again()
        return None

    def _say_join(self) -> None:
        """Say the join now, or a little later if one was said just now: a storm of changes is one join."""
        context, admission, consensus = self._context, self._listening.admission, self.consensus
        spacing_s = context.config.join_timeout_s / 4
        if context.now < admission.join_said_at + spacing_s:
            context.timers.set(Timer.JOIN, admission.join_said_at + spacing_s)
            return
        admission.join_said_at = context.now
        context.timers.set(Timer.JOIN, context.now + context.config.join_timeout_s)
        join = Join(admission.identity(), context.ring_sequence, consensus.alive, consensus.fails, consensus.informed)
        context.transmit(0, context.membership_codec.encode_join(join), "joins_sent")

    # Consensus

    def _await_consensus(self) -> None:
        """A processor that is suspected to be dead need not be waited for as long as the others."""
        config = self._context.config
        wait_s = config.join_timeout_s / 2 if self._suspect else config.consensus_timeout_s
        self._context.timers.set(Timer.CONSENSUS, self._context.now + wait_s)

    def _sets_changed(self) -> None:
        self._agreed = False
        self._await_consensus()
        self._say_join()

    def _check_consensus(self) -> Change | None:
        consensus = self.consensus
        if not consensus.agreed or self._agreed:
            return None
        alive = consensus.alive
        if alive == (self._context.node,):
            return Form(alive) if self._alone_at_once else None
        if alive[0] == self._context.node:
            return Form(alive)
        # The commit token must come in the time in which a regular token would.
        self._agreed = True
        self._suspect = 0
        self._context.timers.set(Timer.CONSENSUS, self._context.now + self._context.config.token_timeout_s)
        return None

    def consensus_timeout(self, sender: int, body: Any) -> Change | None:
        """Those that have not agreed by now are given up."""
        consensus = self.consensus
        suspect, self._suspect = self._suspect, 0
        silent = consensus.silent()
        if suspect in consensus.fail_set:
            self._await_consensus()  # others knew it too
            return None
        if suspect:
            self._context.counters.add("successors_given_up")
            return self._give_up((suspect,), "answered neither the token nor a join")
        if silent:
            return self._give_up(silent, f"did not agree within {self._context.config.consensus_timeout_s:g} s")
        if consensus.alive == (self._context.node,):
            return Form(consensus.alive)
        return Gather(consensus.alive)

    def _give_up(self, nodes: set[int] | tuple[int, ...], why: str) -> Change | None:
        self._reasons.gone(nodes, why)
        self.consensus.fail(nodes)
        self._sets_changed()
        return self._check_consensus()
