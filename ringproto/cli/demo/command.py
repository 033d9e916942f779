"""``ringproto demo``: a replicated store on real processes and real sockets, one of which is killed and comes back.

The supervisor here starts the processors, waits for each stage of the story with a bound and a text for when it fails,
kills one in mid-load, starts it anew, and collects every process's log. It judges the logs itself, by checks.py;
what a processor thinks of its own run counts for nothing. What each processor does is in replica.py.
"""

from __future__ import annotations

import argparse
import json
import random
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from ringproto._processes.failures import InterruptedRunError, RunFailedError, UsageError
from ringproto._processes.parent import Child, Children, open_children
from ringproto._processes.transports import local_transport
from ringproto.cli._common import NODES_MAX, need_extra, positive, whole
from ringproto.cli.demo import records as sources
from ringproto.cli.demo.checks import Expected, check_all
from ringproto.cli.demo.log import ProcessLog
from ringproto.cli.demo.plan import DemoPlan, Outcome
from ringproto.cli.demo.report import Reporter, document
from ringproto.cli.demo.store import contents_hash_of_records

__all__ = ["add_parser", "conduct", "make_plan", "run"]

_START_TIMEOUT_S = 30.0
_STAGE_TIMEOUT_S = 20.0
_STALL_TIMEOUT_S = 20.0
_RECORDS_PER_NODE_MIN = 20
_SECONDS = 18.0
# How much of its share a processor may send before the kill and before the return. At the usual pace none of them comes
# so far; a machine that is slow to start processes finds the load still there when they have started.
_UNTIL_KILL = 0.5
_UNTIL_RETURN = 0.85
_RATE_MAX = 6000


def add_parser(subparsers: Any) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="a replicated store on real processes, one of which is killed and comes back",
        description="Starts processors as processes of this host, each with a replicated key-value store fed from "
        "FILE; kills one under load with SIGKILL, starts it again empty, and checks that the order, the recovery "
        "barrier and every accepted record held. The exit code is 0 only if everything held.",
    )
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="one record for each line (default: the names of Unicode characters)"
    )
    parser.add_argument("--nodes", type=whole(2, NODES_MAX), default=3, help="processors to start (default: 3)")
    parser.add_argument(
        "--transport", choices=("unicast", "multicast"), default="unicast", help="UDP transport (default: unicast)"
    )
    parser.add_argument(
        "--seconds",
        type=positive(3600.0),
        help="how long the load is meant to last, without the stops "
        f"(default: {_SECONDS:g}; for a long FILE, as long as {_RATE_MAX:,} records a second take)",
    )
    parser.add_argument(
        "--seed", type=whole(0, 2**63 - 1), help="draws who is killed and when (default: drawn, and reported)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.set_defaults(run=run)


def make_plan(args: argparse.Namespace) -> DemoPlan:
    """The plan for the command's options.

    Raises:
        UsageError: FILE cannot be used.
    """
    source, records, left_out = sources.load(args.file)
    least = _RECORDS_PER_NODE_MIN * args.nodes
    if len(records) < least:
        raise UsageError(
            f"{source} has {len(records)} records; {args.nodes} processors under load need at least {least}"
        )
    seed = secrets.randbits(32) if args.seed is None else args.seed
    drawn = random.Random(seed)
    nodes = tuple(range(1, args.nodes + 1))
    return DemoPlan(
        file=args.file,
        source=source,
        records=records,
        left_out=left_out,
        nodes=nodes,
        transport=args.transport,
        seconds=args.seconds or max(_SECONDS, len(records) / _RATE_MAX),
        seed=seed,
        victim=drawn.choice(nodes),
        kill_at=drawn.uniform(0.25, 0.4),
        return_after=drawn.uniform(0.06, 0.12),
    )


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code."""
    need_extra("hdrh", *([] if args.json else ["rich"]))
    plan = make_plan(args)
    reporter = Reporter(quiet=args.json, total=len(plan.records))
    outcome = trio.run(partial(conduct, plan, reporter))
    if args.json:
        print(json.dumps(document(outcome), indent=2))
    else:
        reporter.finish(outcome)
    if outcome.failure is not None:
        raise RunFailedError(outcome.failure)
    if not outcome.held:
        raise RunFailedError(f"did not hold: {', '.join(check.name for check in outcome.checks if not check.held)}")
    return 0


async def conduct(plan: DemoPlan, reporter: Reporter) -> Outcome:
    """Carry out a plan. Never leaves a process behind; a run that breaks off gives its outcome so far.

    Raises:
        InterruptedRunError: SIGINT or SIGTERM came.
    """
    outcome = Outcome(plan, time.monotonic())
    with reporter:
        try:
            async with open_children() as children:
                await children.on_signals()
                await _Demo(plan, outcome, reporter, children).conduct()
        except InterruptedRunError:
            raise
        except RunFailedError as error:
            outcome.failure = str(error)
    expected = Expected(plan.nodes, plan.quorum, plan.victim, len(plan.records), contents_hash_of_records(plan.records))
    if any(life.entries for life in outcome.lives):
        outcome.checks = check_all(outcome.lives, expected)
    return outcome


class _DemoProcess:
    """One running process and what is known of it."""

    def __init__(self, child: Child, life: ProcessLog) -> None:
        self.child = child
        self.life = life
        self.progress: dict[str, Any] = {}

    def complete_with(self, members: tuple[int, ...]) -> bool:
        """Whether its barrier is complete in a configuration of these members."""
        return bool(self.progress.get("complete")) and tuple(self.progress["members"]) == members

    def where(self) -> str:
        """Where it is, for a failure text."""
        if not self.progress:
            return f"{self.life.name} has said nothing yet"
        state = "complete" if self.progress["complete"] else f"waits for {self.progress['waiting_for']}"
        return (
            f"{self.life.name} has {list(self.progress['members'])} ({state}), revision {self.progress['revision']}, "
            f"{self.progress['waiting']} to send"
        )


class _Demo:
    def __init__(self, plan: DemoPlan, outcome: Outcome, reporter: Reporter, children: Children) -> None:
        self._plan = plan
        self._outcome = outcome
        self._reporter = reporter
        self._children = children
        self._at: dict[int, _DemoProcess] = {}
        self._transport = local_transport(plan.transport, plan.nodes)
        self._config = {"cluster": f"demo-{secrets.token_hex(8)}", "quorum": plan.quorum}
        self._fingerprint = sources.fingerprint(plan.records)

    async def conduct(self) -> None:
        """The story, stage by stage."""
        plan, survivors = self._plan, tuple(node for node in self._plan.nodes if node != self._plan.victim)
        self._mark(f"starts {len(plan.nodes)} processes, {plan.transport}, quorum {plan.quorum}")
        for node in plan.nodes:
            await self._start(node, 0, plan.seconds, _UNTIL_KILL)
        await self._until(
            lambda: all(p.complete_with(plan.nodes) for p in self._at.values()),
            "the processors had not formed one configuration and completed its barrier",
            _START_TIMEOUT_S,
        )
        loading_s = time.monotonic()
        source = (
            f"the first {len(plan.records):,} records of" if plan.left_out else f"{len(plan.records):,} records from"
        )
        self._mark(f"all are together and send {source} {plan.source}")
        await self._applied(round(plan.kill_at * len(plan.records)))
        await self._kill()
        await self._allow(_UNTIL_RETURN)
        await self._until(
            lambda: all(self._at[node].complete_with(survivors) for node in survivors),
            f"the survivors had not completed a configuration without processor {plan.victim}",
        )
        await self._survivors_go_on(survivors)
        left_s = max(plan.seconds / 4, loading_s + plan.seconds - time.monotonic())
        self._mark(f"starts processor {plan.victim} again, empty")
        await self._start(plan.victim, 1, left_s, 1.0)
        await self._until(
            lambda: all(p.complete_with(plan.nodes) for p in self._at.values()),
            f"processor {plan.victim} had not come back into a complete configuration of all",
            _START_TIMEOUT_S,
        )
        self._mark("all are together again")
        await self._allow(1.0)
        await self._applied(len(plan.records))
        await self._until(self._all_finished, "the processors had not finished")
        await self._part()

    async def _start(self, node: int, life_number: int, seconds: float, allowed: float) -> None:
        life = ProcessLog(node, life_number)
        setup = {
            "node": node,
            "life": life_number,
            "nodes": self._plan.nodes,
            "transport": self._transport,
            "config": self._config,
            "file": self._plan.file,
            "fingerprint": self._fingerprint,
            "seconds": seconds,
            "allowed": allowed,
        }
        self._outcome.lives.append(life)
        child = await self._children.start(
            f"processor {life.name}", "ringproto.cli.demo.worker", setup, partial(self._hear, node, life)
        )
        self._at[node] = _DemoProcess(child, life)

    def _hear(self, node: int, life: ProcessLog, message: dict[str, Any]) -> None:
        if "log" in message:
            self._reporter.entries(life, life.extend(message["log"]), self._outcome.start_s)
        if "audited" in message:
            events, digest = message["audited"]
            if not life.audited or life.audited[-1][0] < events:
                life.audited.append((events, digest))
        processor = self._at.get(node)
        if "progress" in message and processor is not None and processor.life is life:
            processor.progress = message["progress"]
            applied = max(p.progress.get("revision", 0) for p in self._at.values())
            self._reporter.applied(time.monotonic() - self._outcome.start_s, applied)
        if "report" in message:
            life.report = message["report"]
            life.accepted = life.report["accepted"]

    async def _kill(self) -> None:
        victim = self._at.pop(self._plan.victim)
        victim.life.killed = True
        self._outcome.kill_s = time.monotonic()
        victim.child.kill()
        self._mark(
            f"kills processor {self._plan.victim} with SIGKILL, {victim.progress['waiting']} of its records unsent"
        )
        with trio.move_on_after(_STAGE_TIMEOUT_S):
            await victim.child.gone.wait()
            return
        raise RunFailedError(f"processor {self._plan.victim} was killed and did not end")

    async def _allow(self, part: float) -> None:
        for processor in self._at.values():
            await processor.child.send({"do": "allow", "part": part})

    async def _survivors_go_on(self, survivors: tuple[int, ...]) -> None:
        """Until each has delivered some of both priorities in the smaller ring, and all that it may send or enough."""
        plan = self._plan
        before = self._revision()
        share = max(1, round(plan.return_after * len(plan.records)))

        def gone_on() -> bool:
            here = [self._at[node].progress for node in survivors]
            enough = self._revision() >= before + share or all(p["idle"] for p in here)
            return enough and all(min(p["delivered_here"].values()) > 0 for p in here)

        await self._until(gone_on, "the survivors had not gone on with HIGH and LOW", stalls=True)

    async def _applied(self, count: int) -> None:
        await self._until(
            lambda: self._revision() >= count, f"the replicas had not all applied {count} records", stalls=True
        )

    def _all_finished(self) -> bool:
        progress = [p.progress for p in self._at.values()]
        return all(p["finished"] and p["complete"] for p in progress) and len({p["revision"] for p in progress}) == 1

    def _revision(self) -> int:
        return min(int(p.progress.get("revision", 0)) for p in self._at.values())

    async def _part(self) -> None:
        processors = list(self._at.values())
        for processor in processors:
            await processor.child.send({"do": "report"})
        await self._until(lambda: all(p.life.report for p in processors), "the final states were not there")
        self._mark("has every final state; the processors leave")
        async with trio.open_nursery() as nursery:
            for processor in processors:
                nursery.start_soon(self._dismiss, processor.child)
        self._children.check()

    async def _dismiss(self, child: Child) -> None:
        try:
            await child.dismiss()
        except RunFailedError as error:
            self._children.fail(str(error))

    async def _until(
        self, done: Callable[[], bool], text: str, timeout_s: float = _STAGE_TIMEOUT_S, stalls: bool = False
    ) -> None:
        await self._children.until(
            done,
            timeout_s=_STALL_TIMEOUT_S if stalls else timeout_s,
            failure=lambda: f"{'without progress ' if stalls else ''}{text}: {self._where()}",
            progress=self._total_applied if stalls else None,
        )

    def _where(self) -> str:
        return "; ".join(self._at[node].where() for node in sorted(self._at))

    def _total_applied(self) -> int:
        return sum(int(p.progress.get("revision", 0)) for p in self._at.values())

    def _mark(self, text: str) -> None:
        now_s = time.monotonic()
        self._outcome.marks.append((now_s, text))
        self._reporter.line(now_s - self._outcome.start_s, "supervisor", text)
