"""What the caller can be told is wrong.

Misuse of a call raises :class:`TypeError` or :class:`ValueError` (:class:`ConfigError` for a bad field of ``Config``)
and changes nothing; a call in a wrong thread raises :class:`RuntimeError`, as trio does. What makes a running processor
stop is a :class:`RingError`. What the network says never raises.
"""

from __future__ import annotations

__all__ = ["ConfigError", "DuplicateNodeError", "RefusedError", "RingError", "SlowConsumerError"]


class RingError(Exception):
    """The processor has left the ring, or the call needs a ring that is gone."""


class SlowConsumerError(RingError):
    """The application did not read its events for ``Config.slow_consumer_timeout_s``, so the processor left."""


class RefusedError(RingError):
    """The processors already there run with other limits or another quorum than this one."""


class DuplicateNodeError(RingError):
    """Another living process uses the node id of this one, and was there before it or is on a larger ring."""


class ConfigError(ValueError):
    """A field of ``Config`` is out of its range, or does not fit the transport."""
