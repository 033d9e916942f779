"""The simulator and its judge, for tests of ringproto and of what is built on it. It needs neither trio nor a network.

The names below are what tests of an application need; they are loaded when one is first asked for. The judge itself is
``ringproto.testing.judge.judge``, and the checks of a transport, which do need trio, are in
``ringproto.testing.transport_contract``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringproto.testing.judge.history import Violation
    from ringproto.testing.judge.transcript import Transcript
    from ringproto.testing.services import Invariant, Service, ServiceCluster
    from ringproto.testing.simulator.application import Habits
    from ringproto.testing.simulator.cluster import Cluster
    from ringproto.testing.simulator.network import kind_of

__all__ = ["Cluster", "Habits", "Invariant", "Service", "ServiceCluster", "Transcript", "Violation", "kind_of"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ringproto.testing import services
    from ringproto.testing.judge import history, transcript
    from ringproto.testing.simulator import application, cluster, network

    homes = (application, cluster, history, network, services, transcript)
    return next(getattr(home, name) for home in homes if name in home.__all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
