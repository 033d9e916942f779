"""What a process uses: memory now, and at its peak."""

from __future__ import annotations

import os
import resource
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """Resident memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


def peak_bytes() -> int:
    """The most that was ever resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
