"""The protocol: a deterministic state machine without I/O. Its face is :class:`Processor`."""

from ringproto._core.notices import Notice
from ringproto._core.packets.delivery import StreamChange
from ringproto._core.processor import Batch, Processor, Ready
from ringproto._core.ring.ring import NUMBER_END
from ringproto._core.wire.membership import members_that_fit

__all__ = ["NUMBER_END", "Batch", "Notice", "Processor", "Ready", "StreamChange", "members_that_fit"]
