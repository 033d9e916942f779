"""The reverse path filter of Linux: what comes from an address to which another interface leads is dropped, silently.

Strict on an interface with several networks, or where the route back goes elsewhere, it lets nothing of the other
processors through, and no socket ever hears of it.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

__all__ = ["explain_filter", "filter_drops"]

_STRICT = 1


def filter_drops(netstat: Path = Path("/proc/net/netstat")) -> int:
    """How many packets the filter of this host dropped, 0 where that is not told."""
    with contextlib.suppress(OSError, ValueError):
        lines = netstat.read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=False):
            found = dict(zip(names.split(), values.split(), strict=False))
            if "IPReversePathFilter" in found:
                return int(found["IPReversePathFilter"])
    return 0


def explain_filter(interface: str, dropped: int, settings: Path = Path("/proc/sys/net/ipv4/conf")) -> str | None:
    """Why nothing may be heard on an interface, if the filter can be the cause.

    Args:
        interface: its name; the greater of its own setting and that of ``all`` counts.
        dropped: packets that the filter dropped since the transport was opened.
        settings: where the system tells its settings.
    """
    mode = 0
    for name in ("all", interface):
        with contextlib.suppress(OSError, ValueError):
            mode = max(mode, int((settings / name / "rp_filter").read_text()))
    if mode != _STRICT:
        return None
    seen = f"it dropped {dropped} packets meanwhile" if dropped else "it dropped none meanwhile"
    return (
        f"the reverse path filter of {interface} is strict (net.ipv4.conf.{interface}.rp_filter or that of all is 1): "
        f"packets from addresses to which another interface leads are dropped ({seen}). Correct the routes, or set it "
        "to 2"
    )
