"""The reverse path filter of Linux: it silently drops packets whose source address is routed by another interface.

A strict filter on an interface with several networks, or with a different return route, drops all packets of the other
processors, and no socket is notified.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["FilterWatch", "explain_filter", "filter_drops"]

_STRICT = 1
_NAMED_MAX = 4
"""Maximum number of interfaces that a message names."""


def filter_drops(netstat: Path = Path("/proc/net/netstat")) -> int | None:
    """Return the number of packets that the filter of this host dropped since boot; ``None`` if the system does not
    report it, or not at this moment."""
    with contextlib.suppress(OSError, ValueError):
        lines = netstat.read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            found = dict(zip(names.split(), values.split(), strict=False))
            if "IPReversePathFilter" in found:
                return int(found["IPReversePathFilter"])
    return None


class FilterWatch:
    """Counts the packets that the filter of this host dropped since the last check."""

    def __init__(self) -> None:
        self._before = filter_drops()
        self._told = False

    def explain(self, interface: str | None) -> str | None:
        """Return why nothing may be received; ``None`` if the filter dropped nothing, is not strict, or was reported
        already.

        Args:
            interface: the name of the interface by which datagrams should come in, if it is known.
        """
        dropped = None if self._told else filter_drops()
        if dropped is None:
            return None
        if self._before is None:
            self._before = dropped  # it could not be read before, for example for lack of file descriptors
        text = explain_filter(interface, dropped - self._before)
        self._told = text is not None
        return text

    def begin(self) -> None:
        """Start counting from here, and allow a new report."""
        self._before = filter_drops()
        self._told = False


def explain_filter(interface: str | None, dropped: int, settings: Path = Path("/proc/sys/net/ipv4/conf")) -> str | None:
    """Return why nothing may be received, if the filter is a possible cause, else ``None``.

    Args:
        interface: the name of the interface by which datagrams should come in; the greater of its own setting and that
            of ``all`` applies. ``None``: any interface may be strict.
        dropped: packets that the filter dropped in the time in question.
        settings: the directory of the system's settings.
    """
    if dropped <= 0:
        return None
    modes: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for name in ["all", interface] if interface is not None else sorted(one.name for one in settings.iterdir()):
            with contextlib.suppress(OSError, ValueError):
                modes[name] = int((settings / name / "rp_filter").read_text())
    of_all = modes.get("all", 0)
    strict = [name for name, mode in modes.items() if max(mode, of_all) == _STRICT and name not in ("all", "default")]
    if not strict:
        return None
    where = " and ".join(strict[:_NAMED_MAX]) + (" and others" if len(strict) > _NAMED_MAX else "")
    return (
        f"the reverse path filter of {where} is strict (net.ipv4.conf.{_as_sysctl(strict[0])}.rp_filter or that of "
        f"all is 1): packets from addresses to which another interface leads are dropped, and {dropped} were since it "
        "was looked at last. Correct the routes, or set it to 2"
    )


def _as_sysctl(name: str) -> str:
    """Return the name of an interface as it is written within the name of a setting, where a dot separates parts:
    ``eth0/100``."""
    return name.replace(".", "/")
