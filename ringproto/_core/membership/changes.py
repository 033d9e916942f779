"""What a part of membership finds that changes the state of the processor.

A handler returns one of these, or ``None``. ``membership.py`` alone acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ringproto._core.membership.commit_token import CommitToken
from ringproto._core.states import Input
from ringproto._core.wire.membership import CommitPart, Join
from ringproto._core.wire.regular import Token
from ringproto.errors import RingError
from ringproto.types import RingId


class Gather(NamedTuple):
    """The ring ends, or the one that formed does: agree on the next one."""

    procs: Iterable[int]
    """Whom this processor knows."""
    fails: Iterable[int] = ()
    """Whom of those it has given up."""
    alone_at_once: bool = False
    """Whether it forms a ring of one as soon as it is alone, and waits for nobody."""
    informed: bool = False
    """Whether beacons were enough evidence for a ring with others."""
    suspect: int = 0
    """A member that is not waited for as long as the others; 0 for none."""
    join: tuple[int, Join] | None = None
    """The sender and the join for which it gathers."""


class Form(NamedTuple):
    """All agree, and this processor has the smallest id: it forms the ring."""

    members: tuple[int, ...]


class Follow(NamedTuple):
    """The commit token of a ring has come on which this processor is to be a member."""

    ring_id: RingId
    token: CommitToken
    sender: int
    part: CommitPart
    """The part that completed the commit token."""


class Recover(NamedTuple):
    """The commit token came for the second time: the new ring exchanges the packets of the old ones."""

    token: CommitToken


class Install(NamedTuple):
    """All members have everything: the ring is installed, and its token is here."""

    token: Token


class Depart(NamedTuple):
    """This processor leaves the ring, for ever."""

    how: str
    """As the audit says it."""
    failure: RingError | None = None
    """Why it cannot stay; ``None`` if it leaves as it was asked to."""


Change = Gather | Form | Follow | Recover | Install | Depart

Handlers = dict[Input, Callable[[int, Any], "Change | None"]]
"""What each input calls in one state: a method that takes the sender and the body. Timers have neither: 0 and None."""
