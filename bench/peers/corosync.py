"""corosync: a daemon for each processor, in namespaces of its own, and a client of its closed process groups.

The daemons run as Debian's package runs them: real-time scheduling, defaults of the protocol. What is set is the
transport, no encryption (ringproto has none either), and for a crash the token timeout.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.peers.programs import ProgramError, program
from bench.suite import hosts
from bench.suite.processes import MemberFailedError, MemberProcess, end_all
from bench.suite.systems import Session, System

__all__ = ["Corosync"]

_HIDDEN = ("/dev/shm", "/run", "/var/lib/corosync")
_START_S = 10.0


class Corosync(System):
    """corosync with one of its transports: ``udp`` (multicast), ``udpu`` (unicast) or ``knet``."""

    family = "corosync"
    network = "bridge"

    def __init__(self, transport: str, token_ms: int | None = None) -> None:
        self.name = f"corosync {transport}" + (f", token {token_ms} ms" if token_ms else "")
        self._transport = transport
        self._token_ms = token_ms
        self.token_timeout_ms = token_ms

    def missing(self) -> str | None:
        if shutil.which("corosync") is None:
            return "corosync is not installed (apt-get install corosync libcpg-dev)"
        try:
            program("corosync_member", "cpg")
        except ProgramError as error:
            return f"{error} (apt-get install libcpg-dev)"
        return super().missing()

    def start(
        self, stack: contextlib.ExitStack, nodes: Sequence[int], namespaces: Mapping[int, str | None], folder: Path
    ) -> Session:
        daemons: dict[int, subprocess.Popen[bytes]] = {}
        stack.callback(lambda: _end(list(daemons.values())))
        settings = folder / "settings"
        settings.mkdir()
        (settings / "corosync.conf").write_text(self._settings(nodes))
        for node in nodes:
            daemons[node] = _start_daemon(hosts.enter(namespaces[node]), settings, folder / f"daemon{node}")
        members: dict[int, MemberProcess] = {}
        stack.callback(lambda: end_all(list(members.values())))
        for node, daemon in daemons.items():
            _wait_until_it_is_corosync(daemon)
            log = str(folder / f"log{node}")
            command = [program("corosync_member", "cpg"), str(node), log, str(daemon.pid)]
            members[node] = MemberProcess(f"{self.name} {node}", command, log)
        return _CorosyncSession(members, nodes[0], daemons)

    def _settings(self, nodes: Sequence[int]) -> str:
        totem = {"version": "2", "cluster_name": "bench", "transport": self._transport}
        if self._token_ms is not None:
            totem["token"] = str(self._token_ms)
            # What is added for every processor beyond two: the timeout is then what it says.
            totem["token_coefficient"] = "0"
        if self._transport == "knet":
            totem |= {"crypto_cipher": "none", "crypto_hash": "none"}
        lines = [*(f"{name}: {value}" for name, value in totem.items())]
        if self._transport == "udp":
            interface = {"ringnumber": 0, "bindnetaddr": "10.77.0.0", "mcastaddr": "239.77.1.1", "mcastport": 5405}
            lines += ["interface {", *(f"{name}: {value}" for name, value in interface.items()), "}"]
        known = [f"node {{\nring0_addr: {hosts.address(node)}\nnodeid: {node}\nname: host{node}\n}}" for node in nodes]
        logging = ["to_stderr: yes", "to_syslog: no", "to_logfile: no"]
        sections = {"totem": lines, "nodelist": known, "logging": logging}
        return "".join(f"{name} {{\n" + "\n".join(body) + "\n}\n" for name, body in sections.items())


class _CorosyncSession(Session):
    def __init__(
        self, members: Mapping[int, MemberProcess], first_sender: int, daemons: Mapping[int, subprocess.Popen[bytes]]
    ) -> None:
        super().__init__(members, first_sender)
        self._daemons = daemons

    def kill(self, node: int) -> None:
        """A crash takes the daemon and its client."""
        self._daemons[node].kill()
        self.members[node].kill()
        self._daemons[node].wait()


def _start_daemon(enter: Sequence[str], settings: Path, output: Path) -> subprocess.Popen[bytes]:
    hide = "; ".join(f"mount -t tmpfs none {folder}" for folder in _HIDDEN)
    # The settings are where a daemon looks for them, and only this one sees them. It ends when this process does.
    become = "setpriv --pdeathsig KILL corosync -f" if shutil.which("setpriv") else "corosync -f"
    script = (
        f"set -e; exec 3<{settings}/corosync.conf; mount --make-rprivate /; {hide}; mkdir -p /run/corosync; "
        f"mount -t tmpfs none /etc/corosync; cat <&3 >/etc/corosync/corosync.conf; exec 3<&-; exec {become}"
    )
    with output.open("wb") as file:
        return subprocess.Popen(
            [*enter, "unshare", "-m", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_it_is_corosync(daemon: subprocess.Popen[bytes]) -> None:
    """The script has become the daemon, so its namespace is as it will be."""
    deadline = time.monotonic() + _START_S
    comm = Path(f"/proc/{daemon.pid}/comm")
    while daemon.poll() is None and time.monotonic() < deadline:
        if comm.read_text().strip() == "corosync":
            return
        time.sleep(0.005)
    raise MemberFailedError("corosync does not start")


def _end(daemons: Sequence[subprocess.Popen[bytes]]) -> None:
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        try:
            daemon.wait(5)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
