"""Totally ordered, virtually synchronous messages for trio programs: a token ring with a recovery barrier.

``open_ring`` makes a program a processor of the ring. ``docs/quickstart.md`` is the place to begin.

What needs trio is imported when it is first used. So the core, the simulator and the judge can be used alone.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import ringproto._interpreted  # noqa: F401  (before the core: it decides which of its modules are found)
from ringproto.config import Config
from ringproto.errors import ConfigError, DuplicateNodeError, RefusedError, RingError, SlowConsumerError
from ringproto.events import Event, Message, RecoveryComplete, RegularConfiguration, TransitionalConfiguration
from ringproto.types import Guarantee, Priority, RingId

if TYPE_CHECKING:
    from ringproto._service.channels import CompletionChannel, EventChannel, Sender
    from ringproto._service.errors import RingClosedError
    from ringproto._service.recovery import Recovery
    from ringproto._service.ring import Ring, open_ring, run_ring

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

_SERVICE = {
    "CompletionChannel": "channels",
    "EventChannel": "channels",
    "Sender": "channels",
    "RingClosedError": "errors",
    "Recovery": "recovery",
    "Ring": "ring",
    "open_ring": "ring",
    "run_ring": "ring",
}
"""The names that need trio, each with its module in ``ringproto._service``."""


def __getattr__(name: str) -> Any:
    if name not in _SERVICE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ringproto._service.{_SERVICE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
