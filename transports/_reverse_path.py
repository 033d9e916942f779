"""The reverse path filter of Linux: what comes from an address to which another interface leads is dropped, silently.

Strict on an interface with several networks, or where the route back goes elsewhere, it lets nothing of the other
processors through, and no socket ever hears of it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["FilterWatch", "explain_filter", "filter_drops"]

_STRICT = 1
_NAMED_MAX = 4
"""Most interfaces that a text names."""


def filter_drops(netstat: Path = Path("/proc/net/netstat")) -> int | None:
    """How many packets the filter of this host dropped since it was started; ``None`` where that is not told, or not
    at this moment."""
    with contextlib.suppress(OSError, ValueError):
        lines = netstat.read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            found = dict(zip(names.split(), values.split(), strict=False))
            if "IPReversePathFilter" in found:
                return int(found["IPReversePathFilter"])
    return None


class FilterWatch:
    """What the filter of this host dropped since it was looked at."""

    def __init__(self) -> None:
        self._before = filter_drops()
        self._told = False

    def explain(self, interface: str | None) -> str | None:
        """Why nothing may be heard; ``None`` if the filter dropped nothing, is not strict, or this was told already.

        Args:
            interface: the name of that by which datagrams should come, if that is known.
        """
        dropped = None if self._told else filter_drops()
        if dropped is None:
            return None
        if self._before is None:
            self._before = dropped  # it could not be told before, as while there are no more files
        text = explain_filter(interface, dropped - self._before)
        self._told = text is not None
        return text

    def begin(self) -> None:
        """From here on it counts anew."""
        self._before = filter_drops()
        self._told = False


def explain_filter(interface: str | None, dropped: int, settings: Path = Path("/proc/sys/net/ipv4/conf")) -> str | None:
    """Why nothing may be heard, if the filter is a cause.

    Args:
        interface: the name of that by which datagrams should come; the greater of its own setting and that of ``all``
            counts. ``None``: any interface may be strict.
        dropped: packets that the filter dropped meanwhile.
        settings: where the system tells its settings.
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
    """The name of an interface within that of a setting, where a dot ends a part: ``eth0/100``."""
    return name.replace(".", "/")
