"""The recovery barrier: who has unblocked, what may be sent, and when recovery is complete.

This is the scheme that Steven Dake sketched on the Spread-users list on 8 August 2004. It knows one totally ordered
stream of configurations and unblocks, and nothing of tokens or packets, so that it could stand on another total order.
Read it beside ``docs/barrier.md``.

A *round* belongs to one regular configuration and to nothing else; its name is that configuration's ring id. In a
round a processor originates ``RECOVERY`` messages only, then one unblock. The table of who has unblocked is written by
delivered unblocks alone, so the same prefix of the order gives the same table at every member. When the table holds
every member, and the configuration has the quorum, the round is complete at the place of that last unblock, in a
regular configuration as in the transitional one that follows it. A new regular configuration ends the round, complete
or not, and begins its own with an empty table.
"""

from __future__ import annotations

from ringproto.events import RecoveryComplete, RegularConfiguration
from ringproto.types import RingId


class Barrier:
    """The rounds of one processor."""

    __slots__ = ("_asked", "_configuration", "_sent", "_table", "complete", "waiting_for")

    def __init__(self, configuration: RegularConfiguration) -> None:
        self._begin(configuration)

    def _begin(self, configuration: RegularConfiguration) -> None:
        self._configuration = configuration
        self._table: set[int] = set()
        self._asked = False
        self._sent = False
        self.complete = False
        """Whether ``HIGH`` and ``LOW`` may be originated."""
        self.waiting_for = self._rest()
        """The members that have not unblocked. It is set here, and not where it is asked for: any thread may ask."""

    def install(self, configuration: RegularConfiguration) -> RingId | None:
        """A regular configuration comes in the order: its round begins.

        Returns the ring id of the round before if that is aborted by this, else ``None``.
        """
        aborted = None if self.complete else self._configuration.ring_id
        self._begin(configuration)
        return aborted

    def deliver_unblock(self, member: int, ring_id: RingId, seq: int) -> RecoveryComplete | None:
        """An unblock comes in the order; returns the completion if it was the last one.

        An unblock of another round, of a stranger, or a second one says nothing.
        """
        if ring_id != self._configuration.ring_id or member not in self._configuration.members:
            return None
        if member in self._table:
            return None
        self._table.add(member)
        self.waiting_for = self._rest()
        if self._configuration.primary and len(self._table) == len(self._configuration.members):
            self.complete = True
            return RecoveryComplete(ring_id, seq, self._configuration.members)
        return None

    @property
    def ring_id(self) -> RingId:
        """The name of the present round."""
        return self._configuration.ring_id

    def _rest(self) -> frozenset[int]:
        return frozenset(self._configuration.members) - self._table

    # This processor's own part

    def may_recover(self, ring_id: RingId) -> bool:
        """Whether a recovery message of this round may still be accepted here."""
        return ring_id == self._configuration.ring_id and not self._asked

    def ask(self, ring_id: RingId) -> bool:
        """The application has given all its recovery messages of this round. ``False``: the round is over."""
        if ring_id != self._configuration.ring_id:
            return False
        self._asked = True
        return True

    @property
    def asked(self) -> bool:
        return self._asked

    @property
    def unblock_due(self) -> bool:
        """Whether the unblock is to be sent as soon as the recovery messages before it are."""
        return self._asked and not self._sent

    def sent(self) -> None:
        """The unblock is in a packet of the ring. There is one in each round."""
        self._sent = True
