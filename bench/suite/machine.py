"""Where and when a run was made: what a reader needs to judge its figures."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from bench.suite.processes import ROOT

__all__ = ["about"]


def about(command: str, plan: str) -> dict[str, str]:
    """Names and values, in the order in which they are shown."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": f"`{command}`",
        "plan": plan,
        "commit": _said_by("git", "rev-parse", "--short", "HEAD") or "unknown",
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()}",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "scheduling": _policy(),
        "load before": f"{os.getloadavg()[0]:.2f} (average of one minute)",
        "peers": ", ".join(filter(None, [_corosync(), *map(_package, ("pyzmq", "pysyncobj"))])) or "none",
    }


def _said_by(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _policy() -> str:
    """How the kernel schedules the members, which have the policy of this process; corosync's daemon sets its own."""
    names = {os.SCHED_OTHER: "normal", os.SCHED_BATCH: "batch", os.SCHED_FIFO: "FIFO", os.SCHED_RR: "round robin"}
    policy = os.sched_getscheduler(0)
    return names.get(policy, f"policy {policy}")


def _corosync() -> str:
    lines = _said_by("corosync", "-v").splitlines()
    return lines[0].replace("Corosync Cluster Engine, version", "corosync").replace("'", "") if lines else ""


def _package(name: str) -> str:
    try:
        return f"{name} {importlib.metadata.version(name)}"
    except importlib.metadata.PackageNotFoundError:
        return ""
