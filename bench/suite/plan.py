"""What a run of the suite measures, and how long that takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from bench.peers.corosync import Corosync
from bench.peers.pysyncobj import Pysyncobj
from bench.peers.raw_udp import RawUdp
from bench.peers.zeromq import Zeromq
from bench.suite.measure import Timing
from bench.suite.member import RunOrder
from bench.suite.systems import Ringproto, System

__all__ = ["PARTS", "PLANS", "SuitePlan", "all_systems"]

PARTS = ("throughput", "latency", "crash")

_OPEN_S = 1.2
_AROUND_A_RUN_S = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class SuitePlan:
    """Sizes in bytes, times in seconds."""

    name: str
    systems: tuple[System, ...]
    """Whose throughput is measured."""
    latency_systems: tuple[System, ...]
    """Whose latency and idle cost are measured."""
    crash_systems: tuple[System, ...]
    sizes: tuple[int, ...]
    repetitions: int
    timing: Timing
    nodes: int = 3
    parts: tuple[str, ...] = PARTS
    latency_size: int = 200
    shares: tuple[float, ...] = (0.1, 0.5, 0.8)
    """Parts of the saturated rate at which latency is measured."""
    idle_s: float = 2.0

    def fitting(self, system: System) -> list[int]:
        """The sizes that a system is measured with."""
        return [size for size in self.sizes if size <= system.sizes_max]

    def seconds(self) -> float:
        """About how long it takes."""
        run_s = sum(self.timing) + _AROUND_A_RUN_S
        total = 0.0
        if "throughput" in self.parts:
            total += sum(len(self.fitting(system)) * (_OPEN_S + 2 * run_s) for system in self.systems)
        if "latency" in self.parts:
            for system in self.latency_systems:
                runs = 1 + len(self.shares) + (RunOrder.PING in system.kinds)
                total += _OPEN_S + runs * run_s + (RunOrder.LISTEN in system.kinds) * (self.idle_s + _AROUND_A_RUN_S)
        if "crash" in self.parts:
            total += len(self.crash_systems) * (_OPEN_S + 1.5)
        return total * self.repetitions

    def of(self, parts: Sequence[str]) -> list[System]:
        """The systems that are measured in these parts, each once."""
        by_part = {"throughput": self.systems, "latency": self.latency_systems, "crash": self.crash_systems}
        return list(dict.fromkeys(system for part in parts for system in by_part[part]))

    def only(self, wishes: Sequence[str]) -> SuitePlan:
        """The same with the systems that fulfil one of these wishes: all its words are in name or network."""

        def wanted(system: System) -> bool:
            text = f"{system.name} {system.network}".lower()
            return any(all(word in text for word in wish.lower().split()) for wish in wishes)

        def chosen(systems: tuple[System, ...]) -> tuple[System, ...]:
            return tuple(system for system in systems if wanted(system))

        return dataclasses.replace(
            self,
            systems=chosen(self.systems),
            latency_systems=chosen(self.latency_systems),
            crash_systems=chosen(self.crash_systems),
        )


_UNICAST = Ringproto("unicast", "loopback")
_MULTICAST = Ringproto("multicast", "loopback")
_UNICAST_BRIDGE = Ringproto("unicast", "bridge")
_MULTICAST_BRIDGE = Ringproto("multicast", "bridge")
_COROSYNC = {transport: Corosync(transport) for transport in ("udp", "udpu", "knet")}
_IPC = Zeromq("ipc")
_RAW = RawUdp("loopback", offload=True)
_RAW_BRIDGE = RawUdp("bridge", offload=True)
_RAW_PLAIN = RawUdp("bridge", offload=False)
_PYSYNCOBJ = Pysyncobj()

_DEFAULT_CRASH = Ringproto("unicast", "bridge")
_CRASH = (
    _DEFAULT_CRASH,
    Ringproto("unicast", "bridge", {"token_timeout_s": 0.2}, note="token 200 ms"),
    Ringproto("unicast", "bridge", {"token_timeout_s": 0.1, "consensus_timeout_s": 0.03}, note="token 100 ms"),
    Corosync("udp", token_ms=200),
)

PLANS = {
    "quick": SuitePlan(
        name="quick",
        systems=(_UNICAST, _IPC, _MULTICAST_BRIDGE, _COROSYNC["udp"]),
        latency_systems=(_UNICAST_BRIDGE, _COROSYNC["udp"]),
        crash_systems=_CRASH[1:2] + _CRASH[3:],
        sizes=(200, 8192),
        repetitions=1,
        timing=Timing(0.3, 0.7),
    ),
    "usual": SuitePlan(
        name="usual",
        systems=(_UNICAST, _IPC, _RAW, _MULTICAST_BRIDGE, _COROSYNC["udp"]),
        latency_systems=(_UNICAST, _UNICAST_BRIDGE, _COROSYNC["udp"], _PYSYNCOBJ),
        crash_systems=_CRASH[1:2] + _CRASH[3:],
        sizes=(64, 200, 1350, 8192, 65_536),
        repetitions=3,
        timing=Timing(0.3, 0.7),
    ),
    "full": SuitePlan(
        name="full",
        systems=(
            _UNICAST,
            _IPC,
            _MULTICAST,
            _RAW,
            _UNICAST_BRIDGE,
            _COROSYNC["udp"],
            _MULTICAST_BRIDGE,
            _COROSYNC["udpu"],
            _RAW_BRIDGE,
            _COROSYNC["knet"],
            _RAW_PLAIN,
            _PYSYNCOBJ,
        ),
        latency_systems=(_UNICAST, _UNICAST_BRIDGE, _COROSYNC["udp"], _MULTICAST_BRIDGE, _PYSYNCOBJ),
        crash_systems=_CRASH,
        sizes=(64, 200, 1350, 8192, 65_536),
        repetitions=3,
        timing=Timing(0.3, 0.6),
    ),
}


def all_systems() -> list[System]:
    """Every system that some plan measures, each once."""
    found: dict[tuple[str, str], System] = {}
    for plan in PLANS.values():
        for system in (*plan.systems, *plan.latency_systems, *plan.crash_systems):
            found.setdefault((system.name, system.network), system)
    return list(found.values())
