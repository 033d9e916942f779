"""One round of real chaos: the supervisor of its processes.

It starts the processors, waits for the moment of each step of the script, and does the step. Then it mends everything,
waits until all who are alive are one configuration with its barrier complete, lets them deliver all that was accepted,
notes how far each log was then, and has them leave one after the other. What it hands over is a folder of logs and a
record of the round; whether they are right is judged from the folder alone, by verdict.py.
"""

from __future__ import annotations

import dataclasses
import math
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from ringproto._processes.failures import RunFailedError
from ringproto._processes.parent import Child, Children, open_children
from ringproto.chaos.faulty_transport import CALM
from ringproto.chaos.ports import claim_transport
from ringproto.chaos.record import LifeRecord, RoundRecord
from ringproto.chaos.script import Script, Step
from ringproto.chaos.verdict import have_everything

__all__ = ["RoundResult", "play", "stop_process"]

_START_TIMEOUT_S = 60.0
_END_TIMEOUT_S = 15.0
_MOMENT_UNITS = 2.5
_LIVENESS_UNITS = 20.0
_LIVENESS_LEAST_S = 60.0
"""The simulator asks for liveness within 20 times (token timeout + consensus timeout), on virtual time. Here that is 13
to 26 s of a machine that may be busy with other things, on which a process waits for its turn; so it is a minute."""
_TOGETHER_S = 20.0
"""So long the first step waits for processors to come together on links that disturb them."""
_STALL_S = 30.0
"""The rest of the load must be delivered, and as long as some is the time starts anew."""
_MARK_EVERY_S = 0.05
_GUARD = 'read gone; kill -CONT "$0"'


class _ChildProcess:
    """One life of one processor."""

    child: Child

    def __init__(self, record: LifeRecord) -> None:
        self.record = record
        self.guard: trio.Process | None = None
        self.ready = False
        """Whether its process has started and its sockets are open."""
        self.state: dict[str, Any] = {}
        self.mark: dict[str, Any] = {}
        self.mark_number = 0

    @property
    def node(self) -> int:
        return self.record.node

    def hear(self, message: dict[str, Any]) -> None:
        """What its process says."""
        if "ready" in message:
            self.ready = True
        if "state" in message:
            self.state = message["state"]
        if "mark" in message:
            self.mark, self.mark_number = message["mark"], message["number"]

    @property
    def stopped(self) -> bool:
        return self.guard is not None

    def text(self) -> str:
        """Where it is, for a failure text."""
        known = self.mark if self.mark_number else self.state
        if not known:
            return f"{self.node} has said nothing yet"
        where = f"{self.node} is {known['phase']} in {known['ring']} of {known['members']}"
        waits = f", waits for {known['waiting_for']}" if known["waiting_for"] else ""
        return f"{where}{waits}, accepted {known['accepted']}, has {known['returned']} of them back"


class RoundResult:
    """What one round did."""

    def __init__(self, script: Script, folder: Path) -> None:
        self.script = script
        self.folder = folder
        self.record = RoundRecord.of(script)
        self.faults: Counter[str] = Counter()
        """How often each action was done."""
        self.in_barrier = 0
        """How many steps were done while a processor that runs had a barrier that was not complete."""
        self.missed = 0
        """How many moments did not come in time; the step was done all the same."""
        self.seconds = 0.0
        self.together_s: float | None = None
        """From when all was mended until all had completed a barrier together, in seconds; ``None``: they did not."""


async def play(script: Script, folder: Path) -> RoundResult:
    """Play a script with processes whose logs go into ``folder``, and write the record of the round there.

    What goes wrong with a process, or does not come within its bound, is a failure in the record and is not raised, and
    so is cancellation, which is raised as well. Never leaves a process behind.

    Raises:
        OSError: the folder cannot be written.
    """
    played = RoundResult(script, folder)
    began = time.monotonic()
    try:
        with claim_transport(script.transport, script.nodes) as transport:
            async with open_children() as children:
                await _Supervisor(played, children, transport).conduct()
    except RunFailedError as error:
        played.record.failures.append(str(error))
    except BaseException:
        played.record.failures.append("the round was broken off")
        raise
    finally:
        played.seconds = time.monotonic() - began
        played.record.write(folder)
    return played


class _Supervisor:
    def __init__(self, played: RoundResult, children: Children, transport: dict[str, Any]) -> None:
        self._played = played
        self._script = played.script
        self._children = children
        self._at: dict[int, _ChildProcess] = {}
        self._leaving: list[_ChildProcess] = []
        self._losses: dict[int, dict[int, float]] = {node: {} for node in self._script.nodes}
        self._disorder = self._script.disorder
        self._loading = True
        self._marks = 0
        self._began = time.monotonic()
        self._transport = {**transport, "segment_size": self._script.segment_size}
        self._config = {
            **dataclasses.asdict(self._script.config),
            # Nobody else's processors on this host are of this cluster.
            "cluster": f"chaos-{secrets.token_hex(8)}",
        }

    async def conduct(self) -> None:
        script = self._script
        for node in script.nodes:
            await self._start(node, opens=not script.together_first)
        everybody = list(self._at.values())
        await self._until(
            lambda: all(one.ready for one in everybody), _START_TIMEOUT_S, "the processes had not all started"
        )
        if script.together_first:
            for one in everybody:
                await one.child.send({"do": "open"})
            await self._begin_together()
        for number, step in enumerate(script.steps, 1):
            await self._do(number, step)
        mended = time.monotonic()
        await self._until(
            self._together, self._liveness_s, "when all was mended, the living had not completed a barrier together"
        )
        self._played.together_s = time.monotonic() - mended
        self._note("all are together")
        await self._drain()
        self._note("all have everything, and leave")
        await self._leave_all()
        self._note("all have left")

    async def _begin_together(self) -> None:
        """Wait until all are together. On links that keep datagrams back it is left to chance whether they come to it.

        What is late by more than the token timeout ends rings, and a barrier takes many rotations of one ring. No
        membership protocol promises to live where its timeouts do not hold; liveness is asked for when all is mended.
        """
        with trio.move_on_after(math.inf if self._script.disorder == CALM else _TOGETHER_S) as scope:
            await self._until(
                self._together, self._liveness_s, "the processors had not formed one ring at the beginning"
            )
        self._note("they do not come together" if scope.cancelled_caught else "all are together")

    def _note(self, text: str) -> None:
        self._played.record.happened.append(f"{time.monotonic() - self._began:.3f} s: {text}")

    # Waiting

    @property
    def _liveness_s(self) -> float:
        slowest_s = max(habits.recovery_s for habits in self._script.habits.values())
        return max(_LIVENESS_LEAST_S, _LIVENESS_UNITS * (self._script.unit_s + slowest_s))

    async def _until(self, done: Callable[[], bool], timeout_s: float, text: str) -> None:
        await self._children.until(
            done,
            timeout_s=timeout_s,
            failure=lambda: f"{text}: {'; '.join(self._at[node].text() for node in sorted(self._at))}",
        )

    def _together(self) -> bool:
        states = [one.state for one in self._at.values()]
        return (
            all(state and state["phase"] == "complete" for state in states)
            and all(state["members"] == sorted(self._at) for state in states)
            and len({state["ring"] for state in states}) == 1
        )

    # Steps

    async def _do(self, number: int, step: Step) -> None:
        came = await self._await_moment(step)
        self._played.missed += not came
        await trio.sleep(step.delay_s)
        self._children.check()
        self._note(f"{number}. {step}{'' if came else ' (the moment did not come)'}")
        running = [one.state for one in self._at.values() if one.state and not one.stopped]
        if step.action == "mend":
            await self._mend()
            return
        self._played.in_barrier += any(state["phase"] != "complete" for state in running)
        self._played.faults[step.action] += 1
        if step.action == "links":
            await self._set_links(step)
        elif step.action == "start":
            await self._start(step.node)
            # The next moment is one of a ring to which this processor belongs or comes.
            started = self._at[step.node]
            await self._until(lambda: started.ready, _START_TIMEOUT_S, f"the process of {step.node} had not started")
        elif step.action == "kill":
            await self._kill(self._at.pop(step.node))
        elif step.action == "stop":
            await self._stop(self._at[step.node])
        elif step.action == "go on":
            self._go_on(self._at[step.node])
        else:
            self._leave(self._at.pop(step.node))

    async def _await_moment(self, step: Step) -> bool:
        """Wait for the moment; whether it came in time, for a fault before it may have made it impossible."""
        subject = self._at.get(step.subject)
        if step.moment == "later" or subject is None or subject.stopped:
            return step.moment == "later"
        before = dict(subject.state)

        def come() -> bool:
            state = subject.state
            if not state:
                return False
            if step.moment == "complete":
                return bool(state["completions"] > before.get("completions", 0))
            # Alone it is in a barrier of nobody else's, so that must at least be news.
            as_before = state["ring"] == before.get("ring") and (step.fresh or len(state["members"]) == 1)
            return bool(state["phase"] == step.moment and not as_before)

        with trio.move_on_after(_MOMENT_UNITS * self._script.unit_s):
            await self._until(come, _LIVENESS_LEAST_S, f"the moment did not come: {step}")
            return True
        return False

    async def _start(self, node: int, *, opens: bool = True) -> None:
        for one in self._leaving:
            if one.node == node:
                await _within(_END_TIMEOUT_S, one.child.gone.wait, f"processor {node} had not left")
        script, folder = self._script, self._played.folder
        life = 1 + sum(record.node == node for record in self._played.record.lives)
        record = LifeRecord(node, life, f"{node}.{life}.log")
        setup = {
            "seed": script.seed,
            "node": node,
            "life": life,
            "log": str(folder / record.log),
            "storage": str(folder / f"{node}.sequence") if script.storage else None,
            "transport": self._transport,
            "config": self._config,
            "habits": dataclasses.asdict(script.habits[node]),
            "losses": self._losses[node],
            "disorder": dataclasses.asdict(self._disorder),
            "loading": self._loading,
            "opens": opens,
        }
        self._played.record.lives.append(record)
        processor = _ChildProcess(record)
        processor.child = await self._children.start(
            f"processor {node} in life {life}", "ringproto.chaos.worker", setup, processor.hear
        )
        self._at[node] = processor

    async def _kill(self, processor: _ChildProcess) -> None:
        processor.record.end = "killed"
        processor.child.kill()
        self._call_off_guard(processor)
        await _within(_END_TIMEOUT_S, processor.child.gone.wait, f"{processor.child.name} was killed and did not end")

    async def _stop(self, processor: _ChildProcess) -> None:
        processor.guard = await stop_process(self._children, processor.child)

    def _go_on(self, processor: _ChildProcess) -> None:
        processor.child.process.send_signal(signal.SIGCONT)
        self._call_off_guard(processor)

    def _call_off_guard(self, processor: _ChildProcess) -> None:
        if processor.guard is not None:
            processor.guard.kill()
            processor.guard = None

    def _leave(self, processor: _ChildProcess) -> None:
        processor.record.end = "left"
        self._leaving.append(processor)
        self._children.start_soon(processor.child.dismiss)

    async def _set_links(self, step: Step | None) -> None:
        self._losses = {node: {} for node in self._script.nodes}
        for hearer, speaker, loss in step.losses if step else ():
            self._losses[hearer][speaker] = loss
        for one in self._at.values():
            await one.child.send({"do": "lose", "losses": self._losses[one.node]})

    async def _calm(self) -> None:
        self._disorder = CALM
        for one in self._at.values():
            await one.child.send({"do": "disturb", "disorder": dataclasses.asdict(CALM)})

    # The end

    async def _mend(self) -> None:
        """All links good, all who were stopped go on, and some of those who are gone come back."""
        for one in self._at.values():
            if one.stopped:
                self._go_on(one)
        await self._set_links(None)
        await self._calm()
        for node in self._script.comeback:
            if node not in self._at:
                await self._start(node)

    async def _drain(self) -> None:
        """End the load; wait until everything that was accepted was delivered, and note how far each log is."""
        self._loading = False
        for one in self._at.values():
            await one.child.send({"do": "load", "on": False})
        last, stalled_at = -1, 0.0
        while not await self._marked():
            delivered = sum(one.mark["delivered"] for one in self._at.values())
            if delivered != last:
                last, stalled_at = delivered, trio.current_time() + _STALL_S
            elif trio.current_time() > stalled_at:
                where = "; ".join(one.text() for one in self._at.values())
                raise RunFailedError(f"for {_STALL_S:g} s nothing of what was accepted was delivered any more: {where}")
            await trio.sleep(_MARK_EVERY_S)
        for one in self._at.values():
            one.record.end, one.record.mark = "left", one.mark

    async def _marked(self) -> bool:
        """Ask all how far they are; whether that is the end."""
        self._marks += 1
        number = self._marks
        for one in self._at.values():
            await one.child.send({"do": "mark", "number": number})
        await self._until(
            lambda: all(one.mark_number == number for one in self._at.values()),
            _STALL_S,
            "the processors did not say how far they are",
        )
        return have_everything([one.mark for one in self._at.values()], sorted(self._at))

    async def _leave_all(self) -> None:
        for node in self._script.leaving:
            processor = self._at.pop(node, None)
            if processor is not None:
                await processor.child.dismiss()
        for processor in self._leaving:
            await _within(_END_TIMEOUT_S, processor.child.gone.wait, f"{processor.child.name} had not left")
        self._children.check()


async def stop_process(children: Children, child: Child) -> trio.Process:
    """SIGSTOP; gives the guard, another process, which is to be killed when the child goes on or is killed.

    A stopped process does not notice that its parent is gone. The guard does, and lets it go on, so that it ends.
    """
    guard = await children.start_process(["sh", "-c", _GUARD, str(child.process.pid)])
    child.process.send_signal(signal.SIGSTOP)
    return guard


async def _within(timeout_s: float, wait: Callable[[], Any], text: str) -> None:
    with trio.move_on_after(timeout_s):
        await wait()
        return
    raise RunFailedError(f"after {timeout_s:g} s {text}")
