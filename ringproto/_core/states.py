"""The states of a processor, what can come in, what handles it, and where that leads (Totem, section 5: figure).

``TABLE`` lists every pair of (state, input). A missing pair is a mistake of ours and fails at import; «ignored» is an
answer too, and says that the input means nothing in this state. The table and the diagram in docs/protocol.md are made
from it (``tests/helpers/states_page.py``), and a test compares it with what simulated processors do.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class State(enum.Enum):
    GATHER = "gather"
    """Agreeing on who will be on the next ring."""
    COMMIT = "commit"
    """The commit token goes round for the first time."""
    RECOVERY = "recovery"
    """The new ring turns; members of old rings make their packets equal."""
    OPERATIONAL = "operational"
    """The new configuration is installed."""
    LEFT = "left"
    """Out of the ring, for ever."""


class Input(enum.IntEnum):
    """What can come in: the datagrams (numbered as on the wire), then the timers."""

    DATA = 1
    TOKEN = 2
    JOIN = 3
    COMMIT = 4
    BEACON = 5
    WAKE = 6
    LEAVE = 7
    REFUSE = 8
    ACKNOWLEDGEMENT = 9
    CHALLENGE = 10
    RESPONSE = 11
    TOKEN_LOSS = 20
    TOKEN_RETRANSMIT = 21
    TOKEN_HOLD = 22
    JOIN_TIMEOUT = 23
    CONSENSUS = 24
    MERGE_DETECT = 25
    LEAVE_TIMEOUT = 26
    SLOW_CONSUMER = 27
    STANDSTILL = 28


TIMER_INPUTS = 20
"""A timer's input is its number and this."""

IGNORED = "ignored"

_GATHER, _COMMIT, _RECOVERY, _OPERATIONAL, _LEFT = State


class Row(NamedTuple):
    """What is done about one input in one state."""

    handler: str
    """The module of ``membership/`` and the method that handles it, or «ignored»."""
    next: frozenset[State] = frozenset()
    """The states that it can lead to; none if it leaves the state as it is.

    A ring of one is recovered and installed by the input that formed it: one step leads on to the next.
    """


def _row(handler: str, *states: State) -> Row:
    return Row(handler, frozenset(states))


_NOTHING = Row(IGNORED)
# In all states but the last.
_COMMON: dict[Input, Row] = {
    Input.REFUSE: _row("membership.refused", _LEFT),
    Input.CHALLENGE: _row("membership.challenged"),
    Input.RESPONSE: _row("membership.answered", _LEFT),
    Input.LEAVE_TIMEOUT: _row("membership.leave_timeout", _LEFT),
    Input.SLOW_CONSUMER: _row("membership.slow_consumer", _LEFT),
}

TABLE: dict[State, dict[Input, Row]] = {
    State.GATHER: {
        **_COMMON,
        Input.DATA: _row("gathering.old_data"),
        Input.TOKEN: _NOTHING,
        Input.JOIN: _row("gathering.join", _COMMIT, _RECOVERY, _LEFT),
        Input.COMMIT: _row("gathering.commit", _COMMIT),
        Input.BEACON: _row("gathering.beacon", _LEFT),
        Input.WAKE: _NOTHING,
        Input.LEAVE: _row("gathering.leave", _COMMIT, _RECOVERY, _LEFT),
        Input.ACKNOWLEDGEMENT: _NOTHING,
        Input.TOKEN_LOSS: _NOTHING,
        Input.TOKEN_RETRANSMIT: _NOTHING,
        Input.TOKEN_HOLD: _NOTHING,
        Input.JOIN_TIMEOUT: _row("gathering.repeat_join"),
        Input.CONSENSUS: _row("gathering.consensus_timeout", _GATHER, _COMMIT, _RECOVERY, _LEFT),
        Input.MERGE_DETECT: _NOTHING,
        Input.STANDSTILL: _NOTHING,
    },
    State.COMMIT: {
        **_COMMON,
        # What was written into the commit token of the old ring's packets must stay true.
        Input.DATA: _NOTHING,
        Input.TOKEN: _NOTHING,
        Input.JOIN: _row("forming.join", _GATHER),
        Input.COMMIT: _row("forming.second_commit", _RECOVERY),
        Input.BEACON: _NOTHING,
        Input.WAKE: _NOTHING,
        Input.LEAVE: _row("forming.leave", _GATHER),
        Input.ACKNOWLEDGEMENT: _row("forming.acknowledged"),
        Input.TOKEN_LOSS: _row("forming.token_loss", _GATHER),
        Input.TOKEN_RETRANSMIT: _row("forming.retransmit"),
        Input.TOKEN_HOLD: _NOTHING,
        Input.JOIN_TIMEOUT: _NOTHING,
        Input.CONSENSUS: _NOTHING,
        Input.MERGE_DETECT: _NOTHING,
        Input.STANDSTILL: _NOTHING,
    },
    State.RECOVERY: {
        **_COMMON,
        Input.DATA: _row("forming.data"),
        Input.TOKEN: _row("forming.token", _GATHER, _OPERATIONAL),
        Input.JOIN: _row("forming.join", _GATHER),
        Input.COMMIT: _row("forming.third_commit"),
        Input.BEACON: _NOTHING,
        Input.WAKE: _NOTHING,
        Input.LEAVE: _row("forming.leave", _GATHER),
        Input.ACKNOWLEDGEMENT: _row("forming.acknowledged"),
        Input.TOKEN_LOSS: _row("forming.token_loss", _GATHER),
        Input.TOKEN_RETRANSMIT: _row("forming.retransmit"),
        Input.TOKEN_HOLD: _NOTHING,
        Input.JOIN_TIMEOUT: _NOTHING,
        Input.CONSENSUS: _NOTHING,
        Input.MERGE_DETECT: _NOTHING,
        Input.STANDSTILL: _row("forming.standstill"),
    },
    State.OPERATIONAL: {
        **_COMMON,
        Input.DATA: _row("operational.data"),
        Input.TOKEN: _row("operational.token", _GATHER, _LEFT),
        Input.JOIN: _row("operational.join", _GATHER),
        Input.COMMIT: _row("operational.commit"),
        Input.BEACON: _row("operational.beacon", _GATHER, _LEFT),
        Input.WAKE: _row("operational.wake", _LEFT),
        Input.LEAVE: _row("operational.leave", _GATHER),
        Input.ACKNOWLEDGEMENT: _row("operational.acknowledged"),
        Input.TOKEN_LOSS: _row("operational.token_loss", _GATHER),
        Input.TOKEN_RETRANSMIT: _row("operational.retransmit"),
        Input.TOKEN_HOLD: _row("operational.token_rested", _LEFT),
        Input.JOIN_TIMEOUT: _NOTHING,
        Input.CONSENSUS: _NOTHING,
        Input.MERGE_DETECT: _row("operational.beacon_due"),
        Input.STANDSTILL: _row("operational.standstill"),
    },
    State.LEFT: dict.fromkeys(Input, _NOTHING),
}

TURN: dict[State, frozenset[State]] = {
    State.GATHER: frozenset({_LEFT}),
    State.COMMIT: frozenset({_LEFT}),
    State.RECOVERY: frozenset({_LEFT}),
    State.OPERATIONAL: frozenset({_GATHER, _LEFT}),
    State.LEFT: frozenset(),
}
"""Where a turn leads without an input: a processor leaves when what it has sent is at every member, and alone on a ring
it takes the token that it has passed to itself, which can end the ring."""

assert all(set(row) == set(Input) for row in TABLE.values()), "a pair of (state, input) is not listed"
