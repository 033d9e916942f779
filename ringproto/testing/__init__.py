"""The simulator and its judge, for tests of ringproto and of what is built on it. It needs neither trio nor a network.

The names below are what tests of an application need. The judge itself is ``ringproto.testing.judge.judge``. The checks
of a transport, which do need trio, are in ``ringproto.testing.transport_contract``.
"""

from __future__ import annotations

from ringproto.testing.judge.history import Violation
from ringproto.testing.judge.transcript import Transcript
from ringproto.testing.services import Invariant, Service, ServiceCluster
from ringproto.testing.simulator.application import Habits
from ringproto.testing.simulator.cluster import Cluster
from ringproto.testing.simulator.network import kind_of

__all__ = ["Cluster", "Habits", "Invariant", "Service", "ServiceCluster", "Transcript", "Violation", "kind_of"]
