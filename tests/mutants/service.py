"""Mutants of the service: what stands between the core and the application, run by the tests of the service."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

_TESTS = "tests/service/test_service_"
_STREAM, _RECOVERY, _LEAVING = f"{_TESTS}stream.py", f"{_TESTS}recovery.py", f"{_TESTS}leaving.py"
_CANCELLATION, _BACKPRESSURE, _TURN = f"{_TESTS}cancellation.py", f"{_TESTS}backpressure.py", f"{_TESTS}turn.py"
_FAILURE, _MISUSE, _GATE, _THREAD = (
    f"{_TESTS}failure.py",
    f"{_TESTS}misuse.py",
    f"{_TESTS}gate.py",
    f"{_TESTS}thread_core.py",
)


def _mutant(name: str, why: str, tests: tuple[str, ...], *changes: Edit) -> Mutant:
    return Mutant(name, why, changes, "service", tests)


MUTANTS = (
    _mutant(
        "one-reader-is-woken",
        "When the processor has left, one of several readers is told and the others wait for ever.",
        (_STREAM,),
        Edit(
            "channels",
            "        if self._arrivals:\n            self._arrivals.unpark_all()\n",
            "        if self._arrivals:\n            self._arrivals.unpark()\n",
        ),
    ),
    _mutant(
        "end-wakes-no-completions",
        "Who waits for a completion is not told that the processor has left.",
        (_STREAM,),
        Edit(
            "channels",
            "        self._ended = True\n        self._arrivals.unpark_all()\n",
            "        self._ended = True\n",
        ),
    ),
    _mutant(
        "recover-before-completions",
        "recover is called although the application has not taken the completions before the configuration.",
        (_STREAM, _RECOVERY),
        Edit("channels", "return seen and self._dealt_with >=", "return self._dealt_with >="),
    ),
    _mutant(
        "recover-before-messages",
        "recover is called although the application still deals with messages before the configuration.",
        (_STREAM, _RECOVERY),
        Edit("channels", "return seen and self._dealt_with >= change.last_message", "return seen"),
    ),
    _mutant(
        "taken-is-dealt-with",
        "An event counts as dealt with when it is taken, and not when the application comes back for more.",
        (_STREAM, _RECOVERY),
        Edit(
            "channels",
            "        self._taken += len(events)\n        return events",
            "        self._taken += len(events)\n        self._dealt_with = self._taken\n        return events",
        ),
    ),
    _mutant(
        "end-of-stream-before-its-last-events",
        "The stream ends as soon as the processor has left, whatever is still in it.",
        (_STREAM, _LEAVING),
        Edit("channels", "if not events and self._driver.has_left:", "if self._driver.has_left:"),
    ),
    _mutant(
        "cancelled-reader-loses-an-event",
        "A reader that is cancelled has taken its event already.",
        (_CANCELLATION,),
        Edit(
            "channels",
            "            await trio.lowlevel.cancel_shielded_checkpoint()\n        while not events:",
            "            await trio.lowlevel.checkpoint()\n        while not events:",
        ),
    ),
    _mutant(
        "batch-goes-on-from-its-beginning",
        "A batch that found the queue full in its middle begins anew, so its first messages are sent twice.",
        (_STREAM, _BACKPRESSURE),
        Edit("channels", "accepted += count  # alone", "accepted = 0 if accepted else count  # alone"),
    ),
    _mutant(
        "send-nowait-overtakes",
        "A send that does not wait goes before those that wait for room.",
        (_STREAM, _BACKPRESSURE, _MISUSE),
        Edit(
            "channels",
            "            raise trio.WouldBlock\n        if not self._driver.submit(",
            "        if not self._driver.submit(",
        ),
    ),
    _mutant(
        "recover-beside-the-former",
        "The next recover begins while the cancelled one still cleans up.",
        (_RECOVERY,),
        Edit("recovery", "self._recovering = trio.Lock()", "self._recovering = trio.CapacityLimiter(9)"),
    ),
    _mutant(
        "former-round-runs-on",
        "A new configuration does not cancel the recover of the one before.",
        (_RECOVERY,),
        Edit(
            "recovery", "            scope.cancel()\n        self._scopes.clear()", "            self._scopes.clear()"
        ),
    ),
    _mutant(
        "overdue-although-complete",
        "recovery_overdue is called at the deadline, complete or not.",
        (f"{_TESTS}hosting.py::test_barrier_that_completes_in_time_is_not_reported",),
        Edit("recovery", " and not driver.complete:", ":"),
    ),
    _mutant(
        "failure-of-recover-is-kept-back",
        "What recover raises does not end the ring.",
        (_RECOVERY,),
        Edit("recovery", "                self._fail(failure)\n", "                return\n"),
    ),
    _mutant(
        "leave-without-waiting",
        "The end of the body does not wait until the processor has left.",
        (_LEAVING,),
        Edit("ring", "                await driver.left.wait()\n", ""),
    ),
    _mutant(
        "cancelled-body-drains",
        "A processor that is cancelled while its recover runs waits for an unblock that never comes.",
        (_LEAVING, _CANCELLATION),
        Edit("ring", "drain=in_order or not self._recovers or driver.complete", "drain=True"),
    ),
    _mutant(
        "nobody-waits-for-room",
        "Who finds a queue full does not say so, and is not woken when there is room.",
        (_BACKPRESSURE,),
        Edit(
            "driver",
            "            if not self._processor.submit(payload, priority, guarantee):\n"
            "                self._room_wanted = True\n",
            "            if not self._processor.submit(payload, priority, guarantee):\n",
        ),
    ),
    _mutant(
        "events-not-asked-for",
        "Who finds no events does not say so, and hears of none that come by the network.",
        (_STREAM,),
        Edit(
            "driver",
            "            if not events:\n                self._events_wanted = True\n        if events:",
            "        if events:",
        ),
    ),
    _mutant(
        "submit-without-the-lock",
        "A message is submitted while the thread that drives the core may be in the middle of it.",
        (_THREAD,),
        Edit(
            "driver",
            "        with self._lock:\n            if self.has_left or self._processor.leaving:\n"
            "                raise _closed()\n            if not self._processor.submit(",
            "        if True:\n            if self.has_left or self._processor.leaving:\n"
            "                raise _closed()\n            if not self._processor.submit(",
        ),
    ),
    _mutant(
        "events-without-the-lock",
        "Events are taken while the thread that drives the core may be in the middle of it.",
        (_THREAD,),
        Edit(
            "driver",
            "        with self._lock:\n            events = self._processor.take_events(limit)",
            "        if True:\n            events = self._processor.take_events(limit)",
        ),
    ),
    _mutant(
        "gates-stay-closed-at-the-end",
        "Who waits for room is not told that the processor has left.",
        (_LEAVING, _FAILURE, _BACKPRESSURE),
        Edit("driver", "gate.break_all()\n", "gate.retry()\n                    break\n"),
    ),
    _mutant(
        "last-datagrams-not-sent",
        "A processor that has left stops before what it still had to say is sent.",
        (_TURN, _LEAVING),
        Edit(
            "trio_driver",
            "            while self._rest is not None:\n",
            "            while self._rest is not None and not processor.left:\n",
        ),
    ),
    _mutant(
        "judges-before-it-reads",
        "A processor whose timer is overdue does not look for datagrams first, and judges others by those that wait in "
        "its own socket.",
        (_TURN, f"{_TESTS}stall.py"),
        Edit("trio_driver", "max(self._next_timeout, now + _LOOK_S)", "self._next_timeout"),
    ),
    _mutant(
        "call-judges-before-the-loop-reads",
        "A call of the application takes a turn although a timer is overdue, and the socket was not read before it.",
        (_TURN,),
        Edit("trio_driver", "        if now >= self._next_timeout:\n", "        if False:\n"),
    ),
    _mutant(
        "told-application-judges-before-the-loop-reads",
        "What the application does when it is told of events causes a turn although a timer is overdue, and the socket "
        "was not read before it.",
        (_TURN,),
        Edit("trio_driver", "if asked_at < ready.next_timeout:", "if True:"),
    ),
    _mutant(
        "thread-judges-before-it-reads",
        "A turn that another turn causes is taken on the thread although a timer is overdue, and the socket was not "
        "read before it.",
        (_THREAD,),
        Edit(
            "thread_driver",
            "while processor.wants_turn and (now := self._clock()) < ready.next_timeout:",
            "while processor.wants_turn:",
        ),
    ),
    _mutant(
        "what-the-network-did-not-take-is-dropped",
        "What a transport without send_nowait is to send is forgotten.",
        (_TURN, _STREAM),
        Edit(
            "trio_driver",
            "            self._rest = [*(self._rest or ()), *transmits]\n",
            "            self._rest = ()\n",
        ),
    ),
    _mutant(
        "deadline-never-moved-forward",
        "A deadline of the core that came nearer does not wake the loop.",
        (_TURN, _RECOVERY, _LEAVING),
        Edit("trio_driver", "        elif ready.next_timeout < self._deadline:\n", "        elif False:\n"),
    ),
    _mutant(
        "thread-is-not-interrupted",
        "The thread is not told when the core was called, and sends only at its next wake-up.",
        (_THREAD,),
        Edit("thread_driver", "        if nudges:\n", "        if False:\n"),
    ),
    _mutant(
        "thread-told-once-for-ever",
        "The thread was told to look and never says that it did, so it is told no more.",
        (_THREAD,),
        Edit("thread_driver", "                self._nudged = False\n", ""),
    ),
    _mutant(
        "gate-overtaken",
        "Who comes to a gate goes through before those who wait there.",
        (_GATE, _BACKPRESSURE),
        Edit("gate", "if not self._lock.locked() and attempt():", "if attempt():"),
    ),
    _mutant(
        "cancelled-at-the-gate-tries",
        "Who was let through a gate and cancelled before it ran tries all the same.",
        (_GATE, _CANCELLATION),
        Edit(
            "gate",
            "                await self._room.park()\n                await trio.lowlevel.checkpoint_if_cancelled()\n",
            "                await self._room.park()\n",
        ),
    ),
)
