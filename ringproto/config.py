"""Every timeout and limit of a processor, in one frozen, validated value.

Times are in seconds, sizes in bytes, windows in packets. A field that Totem's papers or corosync's manual know by
another name says so. The fields in ``MUST_BE_EQUAL`` are compared between processors: one that differs is refused.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from typing import Any

from ringproto.errors import ConfigError

__all__ = ["MUST_BE_EQUAL", "Config"]

MUST_BE_EQUAL = ("quorum", "members_max", "message_size_max", "window_size", "datagram_size")
"""What all processors of a ring must agree on (``datagram_size`` as it is in use)."""

_WINDOW_BYTES = 2_048_000
"""How much may be broadcast in one rotation unless it is said: the receive buffers of sockets hold it twice."""
_WINDOW_SIZES = (8, 512)

_DATAGRAM_MAX = 65_000
_PRIORITIES = 3
WINDOWS_KEPT = 8
"""A processor keeps packets of so many windows of a ring, rounded up to a power of two packets."""

_RETRANSMIT_MAX_S = 1 / 6
"""The longest that a lost token is waited for unless it is said."""

# field: (least, greatest)
_RANGES: dict[str, tuple[float, float]] = {
    "quorum": (1, 256),
    "members_max": (1, 256),
    "datagram_size": (512, _DATAGRAM_MAX),
    "message_size_max": (1, 256 * 2**20),
    "token_timeout_s": (0.001, 3600.0),
    "token_retransmit_s": (0.0005, 3600.0),
    "token_retransmit_min_s": (0.0001, 3600.0),
    "token_hold_s": (0.0, 3600.0),
    "token_keep_s": (0.0, 3600.0),
    "rotation_target_s": (0.00001, 3600.0),
    "join_timeout_s": (0.0005, 3600.0),
    "consensus_timeout_s": (0.001, 3600.0),
    "merge_detect_s": (0.001, 3600.0),
    "fail_to_receive_s": (0.001, 3600.0),
    "leave_timeout_s": (0.0, 3600.0),
    "slow_consumer_timeout_s": (0.001, 86_400.0),
    "recovery_deadline_s": (0.001, 86_400.0),
    "window_size": (1, 4096),
    "visit_max": (1, 4096),
    "accelerated_window": (0, 4096),
    "retransmits_max": (1, 128),
    "low_every": (2, 1024),
    "send_queue_max": (1, 2**20),
    "send_queue_bytes_max": (1, 2**34),
    "events_max": (1, 2**22),
    "events_bytes_max": (1, 2**34),
}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """The settings of one processor. ``Config()`` is ``Config.lan()``.

    Raises :class:`ConfigError` (a ``ValueError``) that names the field and what would be right.
    """

    # Who belongs together
    cluster: str = "ringproto"
    """Name of the cluster; its hash is in every datagram. Rings of other clusters are ignored."""
    quorum: int = 1
    """Members that a configuration needs for its barrier to complete. More than half of the processors that will
    ever run makes it impossible that two halves of a partition both go on. With at most half, ``Message.settled`` says
    nothing across partitions."""
    members_max: int = 64
    """Most members of a ring."""

    # Sizes
    datagram_size: int | None = None
    """Largest datagram sent, in bytes; ``None``: the transport's ``datagram_size_max``."""
    message_size_max: int = 2**20
    """Largest payload, in bytes."""

    # Timeouts
    token_timeout_s: float = 0.5
    """Without the token for so long, the ring is broken (Totem: token loss timeout; corosync: token)."""
    token_retransmit_s: float | None = None
    """The token is sent again when nothing is heard of it for so long (Totem: token retransmission timeout); ``None``:
    a third of ``token_timeout_s``, but at most a sixth of a second."""
    token_retransmit_min_s: float = 0.004
    """While messages flow it is sent again after four usual rotations, but not earlier than this. While tokens are lost
    it is sent again after the measured round trip of one hop, but not earlier than a quarter of this (departure 20 in
    docs/protocol.md)."""
    token_hold_s: float | None = None
    """How long the token of an idle ring rests at who has sent last (corosync: hold); ``None``: four fifths of
    ``token_retransmit_s``."""
    token_keep_s: float | None = None
    """How long who alone sends keeps the token after it has sent, so that what it sends next need not wait for a
    rotation; ``None``: a quarter of ``token_retransmit_min_s``, 0: not at all."""
    rotation_target_s: float | None = 0.0005
    """How long a rotation of the token with ``LOW`` in it may take while ``HIGH`` is in use, so that ``HIGH`` does not
    wait for longer (FDDI: target token rotation time). ``None``: as long as the windows make it."""
    join_timeout_s: float = 0.02
    """A processor in gather repeats its join after so long (Totem: join timeout)."""
    consensus_timeout_s: float = 0.25
    """Who has not agreed on the membership after so long is left out (Totem: consensus timeout)."""
    merge_detect_s: float = 0.13
    """How often the representative tells other rings that its ring is there (corosync: merge)."""
    fail_to_receive_s: float = 1.0
    """A member whose received messages hold everybody up for so long is left out (Totem: fail_to_rcv_const, which
    counts rotations; see departure 5 in docs/protocol.md)."""
    leave_timeout_s: float = 2.0
    """A processor that leaves waits at most so long for what it accepted to be sent."""
    slow_consumer_timeout_s: float = 10.0
    """An application that takes no event for so long while the queue is full makes its processor leave."""
    recovery_deadline_s: float | None = None
    """When the barrier is not complete after so long, the application is called (``recovery_overdue`` of
    ``open_ring``); the barrier itself goes on waiting. ``None``: never."""

    # Windows and queues
    window_size: int | None = None
    """Most packets broadcast in one rotation of the token (Totem: window size). ``None``: as many as have two megabytes
    together, but from 8 to 512."""
    visit_max: int | None = None
    """Most packets one processor broadcasts in one visit of the token (Totem: max_messages). ``None``: three quarters
    of ``window_size``, so that who begins to send beside one that floods finds room, but no more than have three
    quarters of the bytes of the receive buffer that the system gave the transport."""
    accelerated_window: int = 0
    """Most packets of a visit that are sent after the token (Babay and Amir: accelerated window); 0: the token goes
    last."""
    retransmits_max: int = 128
    """Most retransmission requests in a token (Totem: rtr list)."""
    low_every: int = 16
    """While both wait, at least one packet in so many begins with ``LOW``, so that ``HIGH`` cannot starve it."""
    send_queue_max: int = 4096
    """Most messages in each of the three send queues."""
    send_queue_bytes_max: int = 64 * 2**20
    """Most bytes in each of the three send queues. An empty queue takes one message of any permitted size."""
    events_max: int = 8192
    """Most events that wait for the application before the ring is slowed down."""
    events_bytes_max: int = 64 * 2**20
    """Most bytes of payload that wait for the application before the ring is slowed down."""

    def __new__(cls, *_: Any, **fields: Any) -> Config:
        """Refuse what is no field before the generated ``__init__`` does, whose TypeError does not say what is one."""
        names = [field.name for field in dataclasses.fields(cls)]
        for name in fields:
            if name not in names:
                near = difflib.get_close_matches(name, names, 3)
                meant = f"did you mean {' or '.join(near)}? Its fields" if near else "its fields"
                raise ConfigError(f"Config has no field {_cut(name)}; {meant} are {', '.join(names)}")
        return object.__new__(cls)

    def __post_init__(self) -> None:
        if not isinstance(self.cluster, str) or not 1 <= len(self.cluster.encode(errors="replace")) <= 255:
            raise ConfigError(f"Config.cluster must be a string of 1 to 255 bytes in UTF-8, not {_cut(self.cluster)}")
        if not _encodes(self.cluster):
            raise ConfigError(f"Config.cluster has characters that UTF-8 cannot say: {_cut(self.cluster)}")
        for field in dataclasses.fields(self):
            if field.name in _RANGES:
                _check(field.name, getattr(self, field.name), str(field.type))
        if self.token_retransmit_s is not None:
            self._check_order("token_retransmit_s", "token_timeout_s", "so that a lost token is sent again in time")
        if self.token_hold_s is not None:
            why = "so that a resting token is not taken for a lost one"
            self._check_order("token_hold_s", "token_retransmit_s", why, self.retransmit_s)
        if self.token_keep_s is not None:
            why = "so that a token that is kept is not taken for a lost one"
            self._check_order("token_keep_s", "token_retransmit_min_s", why)
        self._check_order("join_timeout_s", "consensus_timeout_s", "so that a lost join is repeated in time")
        if self.token_retransmit_min_s > self.retransmit_s:
            raise ConfigError(
                f"Config.token_retransmit_min_s ({self.token_retransmit_min_s}) must be at most "
                f"token_retransmit_s ({self.retransmit_s:.6g})"
            )
        if self.quorum > self.members_max:
            raise ConfigError(
                f"Config.quorum ({self.quorum}) must be at most members_max ({self.members_max}), "
                "or no configuration could ever have it"
            )

    def _check_order(self, small: str, large: str, why: str, bound: float | None = None) -> None:
        if bound is None:
            bound = getattr(self, large)
        if getattr(self, small) >= bound:
            raise ConfigError(f"Config.{small} ({getattr(self, small)}) must be less than {large} ({bound:.6g}), {why}")

    @property
    def cluster_hash(self) -> int:
        """The 64 bits of the cluster's name that every datagram carries."""
        return int.from_bytes(hashlib.sha256(b"ringproto cluster\0" + self.cluster.encode()).digest()[:8], "big")

    def fitted(self, datagram_size: int, receive_buffer: int | None = None) -> Config:
        """The same for datagrams of so many bytes, with what hangs on their size filled in: the two windows.

        ``receive_buffer`` is how many bytes may wait for a processor, if its transport says so; those of the others are
        taken to be like it.
        """
        least, greatest = _WINDOW_SIZES
        window_size = self.window_size
        if window_size is None:
            window_size = max(least, min(greatest, _WINDOW_BYTES // datagram_size))
        visit_max = self.visit_max
        if visit_max is None:
            visit_max = window_size * 3 // 4
            if receive_buffer is not None:
                visit_max = min(visit_max, receive_buffer * 3 // 4 // datagram_size)
            visit_max = max(1, visit_max)
        return self.replace(datagram_size=datagram_size, window_size=window_size, visit_max=visit_max)

    @property
    def retransmit_s(self) -> float:
        """After how long the token is sent again, whether that was said or not."""
        if self.token_retransmit_s is not None:
            return self.token_retransmit_s
        # Who allows for long pauses of a process need not wait for as long for a lost datagram.
        return min(self.token_timeout_s / 3, _RETRANSMIT_MAX_S)

    @property
    def hold_s(self) -> float:
        """How long the token of an idle ring rests, whether that was said or not."""
        return self.retransmit_s * 0.8 if self.token_hold_s is None else self.token_hold_s

    @property
    def keep_s(self) -> float:
        """How long who alone sends keeps the token, whether that was said or not."""
        return self.token_retransmit_min_s / 4 if self.token_keep_s is None else self.token_keep_s

    @property
    def size(self) -> int:
        """``datagram_size``, only where it is a number, as in what :meth:`fitted` returns."""
        assert self.datagram_size is not None, "Config.fitted() fills it in"
        return self.datagram_size

    @property
    def windows(self) -> tuple[int, int]:
        """``window_size`` and ``visit_max``; only where both are numbers, as in what :meth:`fitted` returns."""
        assert self.window_size is not None and self.visit_max is not None, "Config.fitted() fills them in"
        return self.window_size, self.visit_max

    @property
    def begun_max_bytes(self) -> int:
        """How many bytes the messages have that may have begun to arrive: one of ``message_size_max`` of each member in
        each priority."""
        return self.members_max * _PRIORITIES * self.message_size_max

    def memory_max_bytes(self, datagram_size: int | None = None) -> int:
        """How many bytes of payloads and datagrams fill the queues and windows of one processor with these settings.

        It is the sum of the bounds: of every member a message of ``message_size_max`` that has begun in each priority,
        all windows and queues full. A processor usually holds far less, and in some cases more: this is an estimate of
        what the settings allow, no limit. Not counted are the Python objects around the bytes, the buffers of the
        transport, events beyond ``events_bytes_max`` (a change of configuration does not wait for the application, and
        a processor that leaves keeps up to eight times as many), and what else is in a datagram of which a piece of a
        message is kept. ``docs/configuration.md`` has the formula and the cases.

        Args:
            datagram_size: of the transport, in bytes, where ``Config.datagram_size`` is ``None``; without it 65,000.
        """
        fitted = self.fitted(self.datagram_size or min(datagram_size or _DATAGRAM_MAX, _DATAGRAM_MAX))
        slots = 1
        while slots < WINDOWS_KEPT * fitted.windows[0]:
            slots *= 2
        windows = 2 * slots * fitted.size
        queues = _PRIORITIES * max(self.send_queue_bytes_max, self.message_size_max)
        return self.begun_max_bytes + windows + queues + self.events_bytes_max + self.message_size_max

    def replace(self, **changes: Any) -> Config:
        """The same settings with some changed.

        Raises:
            ConfigError: a value is out of its range, or there is no such field (the message names those there are).
        """
        return dataclasses.replace(self, **changes)

    @classmethod
    def lan(cls, **changes: Any) -> Config:
        """For processors on one host or one local network: a crash is noticed after half a second."""
        return cls().replace(**changes)

    @classmethod
    def wan(cls, **changes: Any) -> Config:
        """For round trips of up to some 200 ms: everything waits longer, and fewer packets are on the way."""
        return cls(
            token_timeout_s=5.0,
            token_retransmit_s=1.0,
            token_retransmit_min_s=0.3,
            token_hold_s=0.5,
            rotation_target_s=0.5,
            join_timeout_s=0.3,
            consensus_timeout_s=3.0,
            merge_detect_s=2.0,
            fail_to_receive_s=20.0,
            leave_timeout_s=10.0,
            slow_consumer_timeout_s=60.0,
        ).replace(**changes)

    @classmethod
    def testing(cls, **changes: Any) -> Config:
        """For tests on the in-memory transport: short times and small queues, so that limits are reached."""
        return cls(
            token_timeout_s=0.1,
            token_retransmit_s=0.02,
            token_retransmit_min_s=0.005,
            token_hold_s=0.005,
            rotation_target_s=0.005,
            join_timeout_s=0.005,
            consensus_timeout_s=0.06,
            merge_detect_s=0.04,
            fail_to_receive_s=0.3,
            leave_timeout_s=0.5,
            slow_consumer_timeout_s=2.0,
            window_size=32,
            visit_max=8,
            send_queue_max=256,
            events_max=512,
        ).replace(**changes)


def _check(name: str, value: Any, annotation: str) -> None:
    """Raise ``ConfigError`` unless ``value`` is a number of the field's type within its range."""
    if value is None and "None" in annotation:
        return
    least, greatest = _RANGES[name]
    whole = annotation.startswith("int")
    right = f"a whole number from {least} to {greatest}" if whole else f"a number from {least} to {greatest}"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise ConfigError(f"Config.{name} must be {right}, not {_cut(value)}")
    if not least <= value <= greatest:  # so is no number (nan)
        shown = value if isinstance(value, float) or abs(value) < 10**20 else f"a number of {value.bit_length()} bits"
        raise ConfigError(f"Config.{name} must be {right}, not {shown}")


def _cut(value: object) -> str:
    """A wrong value as a message shows it; it may be of any length."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
