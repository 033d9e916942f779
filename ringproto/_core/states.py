"""The states of a processor, what can come in, and which handler each pair has (Totem, section 5: figure).

``TABLE`` lists every pair. A missing pair is a mistake of ours and fails at import; «ignored» is an answer too, and
says that the input means nothing in this state. The diagram in docs/protocol.md is drawn from it.
"""

from __future__ import annotations

import enum


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

TABLE: dict[State, dict[Input, str]] = {
    State.GATHER: {
        Input.DATA: "old_data",
        Input.TOKEN: IGNORED,
        Input.JOIN: "join_in_gather",
        Input.COMMIT: "commit_in_gather",
        Input.BEACON: "beacon_in_gather",
        Input.WAKE: IGNORED,
        Input.LEAVE: "leave_in_gather",
        Input.REFUSE: "refused",
        Input.ACKNOWLEDGEMENT: IGNORED,
        Input.CHALLENGE: "challenged",
        Input.RESPONSE: "response",
        Input.TOKEN_LOSS: IGNORED,
        Input.TOKEN_RETRANSMIT: IGNORED,
        Input.TOKEN_HOLD: IGNORED,
        Input.JOIN_TIMEOUT: "repeat_join",
        Input.CONSENSUS: "consensus_timeout",
        Input.MERGE_DETECT: IGNORED,
        Input.LEAVE_TIMEOUT: "depart",
        Input.SLOW_CONSUMER: "slow_consumer",
        Input.STANDSTILL: IGNORED,
    },
    State.COMMIT: {
        # What was written into the commit token of the old ring's packets must stay true.
        Input.DATA: IGNORED,
        Input.TOKEN: IGNORED,
        Input.JOIN: "join_while_forming",
        Input.COMMIT: "commit_in_commit",
        Input.BEACON: IGNORED,
        Input.WAKE: IGNORED,
        Input.LEAVE: "leave_while_forming",
        Input.REFUSE: "refused",
        Input.ACKNOWLEDGEMENT: "acknowledged",
        Input.CHALLENGE: "challenged",
        Input.RESPONSE: "response",
        Input.TOKEN_LOSS: "token_loss",
        Input.TOKEN_RETRANSMIT: "retransmit_token",
        Input.TOKEN_HOLD: IGNORED,
        Input.JOIN_TIMEOUT: IGNORED,
        Input.CONSENSUS: IGNORED,
        Input.MERGE_DETECT: IGNORED,
        Input.LEAVE_TIMEOUT: "depart",
        Input.SLOW_CONSUMER: "slow_consumer",
        Input.STANDSTILL: IGNORED,
    },
    State.RECOVERY: {
        Input.DATA: "data_in_recovery",
        Input.TOKEN: "token_in_recovery",
        Input.JOIN: "join_while_forming",
        Input.COMMIT: "commit_in_recovery",
        Input.BEACON: IGNORED,
        Input.WAKE: IGNORED,
        Input.LEAVE: "leave_while_forming",
        Input.REFUSE: "refused",
        Input.ACKNOWLEDGEMENT: "acknowledged",
        Input.CHALLENGE: "challenged",
        Input.RESPONSE: "response",
        Input.TOKEN_LOSS: "token_loss",
        Input.TOKEN_RETRANSMIT: "retransmit_token",
        Input.TOKEN_HOLD: IGNORED,
        Input.JOIN_TIMEOUT: IGNORED,
        Input.CONSENSUS: IGNORED,
        Input.MERGE_DETECT: IGNORED,
        Input.LEAVE_TIMEOUT: "depart",
        Input.SLOW_CONSUMER: "slow_consumer",
        Input.STANDSTILL: "standstill",
    },
    State.OPERATIONAL: {
        Input.DATA: "data_in_operational",
        Input.TOKEN: "token_in_operational",
        Input.JOIN: "join_in_operational",
        Input.COMMIT: "commit_in_operational",
        Input.BEACON: "beacon_in_operational",
        Input.WAKE: "wake",
        Input.LEAVE: "leave_in_operational",
        Input.REFUSE: "refused",
        Input.ACKNOWLEDGEMENT: "acknowledged",
        Input.CHALLENGE: "challenged",
        Input.RESPONSE: "response",
        Input.TOKEN_LOSS: "token_loss",
        Input.TOKEN_RETRANSMIT: "retransmit_token",
        Input.TOKEN_HOLD: "token_rested",
        Input.JOIN_TIMEOUT: IGNORED,
        Input.CONSENSUS: IGNORED,
        Input.MERGE_DETECT: "beacon_due",
        Input.LEAVE_TIMEOUT: "depart",
        Input.SLOW_CONSUMER: "slow_consumer",
        Input.STANDSTILL: "standstill",
    },
    State.LEFT: dict.fromkeys(Input, IGNORED),
}

assert all(set(row) == set(Input) for row in TABLE.values()), "a pair of (state, input) is not listed"
