"""Totally ordered, virtually synchronous messages for trio programs: a token ring with a recovery barrier.

``open_ring`` makes a program a processor of the ring. ``docs/quickstart.md`` is the place to begin.
"""

import ringproto._interpreted  # noqa: F401  (first: it decides which modules of the core are found)
from ringproto._service.channels import CompletionChannel, EventChannel, Sender
from ringproto._service.errors import RingClosedError
from ringproto._service.recovery import Recovery
from ringproto._service.ring import Ring, open_ring, run_ring
from ringproto.config import Config
from ringproto.errors import ConfigError, DuplicateNodeError, RefusedError, RingError, SlowConsumerError
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority, RingId

__version__ = "0.1.0"

__all__ = [
    "CompletionChannel",
    "Config",
    "ConfigError",
    "DuplicateNodeError",
    "Event",
    "EventChannel",
    "Guarantee",
    "Message",
    "Priority",
    "Recovery",
    "RecoveryComplete",
    "RefusedError",
    "RegularConfiguration",
    "Ring",
    "RingClosedError",
    "RingError",
    "RingId",
    "Sender",
    "SlowConsumerError",
    "TransitionalConfiguration",
    "open_ring",
    "run_ring",
]
