"""Mutants of the order: the token, flow control, the window, delivery, packing and the bytes."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

MUTANTS = (
    # The token and its aru
    Mutant(
        "safe-after-one-rotation",
        "That the token says so once is taken for proof that every member has a packet (Totem asks for two rotations).",
        (Edit("ring/ring", "max(self.stable, min(self._last_aru, aru))", "max(self.stable, aru)"),),
    ),
    Mutant(
        "insists-on-what-never-comes",
        "A packet that is sent in vain is sent several times at once for as long as it is asked for: who receives "
        "nothing has the network filled.",
        (
            Edit(
                "ring/ring",
                "min(more, allowed - len(out), _INSISTED_MAX - self._insisted)",
                "min(more, allowed - len(out))",
            ),
        ),
        tests=("tests/core/test_ordering.py",),
    ),
    Mutant(
        "insists-beyond-flow-control",
        "What is sent several times at once is not in the window of a rotation.",
        (Edit("ring/ring", "min(more, allowed - len(out), _INSISTED_MAX", "min(more, _INSISTED_MAX"),),
        tests=("tests/core/test_ordering.py",),
    ),
    Mutant(
        "freed-by-own-aru",
        "A packet is freed when it was delivered here, and nobody can give it to those who still lack it (a peer's "
        "bug: its retransmission list then never became empty).",
        (
            Edit(
                "ring/token_passing",
                "ring.window.release(min(ring.stable, self._delivery.delivered))",
                "ring.window.release(self._delivery.delivered)",
            ),
        ),
    ),
    Mutant(
        "aru-gives-up-past-a-range",
        "When a gap is filled the aru advances by so many packets at most, and never looks again (a peer's bug).",
        (Edit("packets/window", "while aru < self.high and", "while aru < min(self.high, seq + 3) and"),),
    ),
    Mutant(
        "last-aru-of-a-copy",
        "A retransmitted token overwrites the aru that was remembered of the last visit (a peer's bug).",
        (
            Edit(
                "ring/ring",
                'token.token_seq <= self.token_seq:\n            return "duplicate_tokens"',
                "token.token_seq <= self.token_seq:\n            self._last_aru = token.aru\n"
                '            return "duplicate_tokens"',
            ),
        ),
    ),
    Mutant(
        "duplicate-tokens-accepted",
        "A copy of the last token is taken for a new one.",
        (Edit("ring/ring", "if token.token_seq <= self.token_seq:", "if token.token_seq < self.token_seq:"),),
    ),
    Mutant(
        "aru-raised-by-anybody",
        "A member that has more than the aru says raises it, although another one lowered it.",
        (
            Edit(
                "ring/ring",
                "return self.window.aru < token.aru or token.aru_id == 0 or token.aru_id == self.node",
                "return self.window.aru != token.aru",
            ),
        ),
    ),
    Mutant(
        "aru-never-lowered",
        "A member that lacks a packet leaves the aru above it.",
        (
            Edit(
                "ring/ring",
                "return self.window.aru < token.aru or token.aru_id == 0 or token.aru_id == self.node",
                "return self.window.aru > token.aru and token.aru_id in (0, self.node)",
            ),
        ),
    ),
    Mutant(
        "resting-token-goes-on-twice",
        "The token that rested somewhere is passed on and stays there as well.",
        (
            Edit(
                "ring/token_passing",
                "        self.resting = None\n        self._use_token(visit)\n",
                "        self._use_token(visit)\n",
            ),
        ),
    ),
    Mutant(
        "long-visit-forgets-what-it-sent",
        "A visit in which the token is kept counts only what it sent last: the window of a rotation is exceeded.",
        (Edit("ring/ring", "            visit.sent += taken", "            visit.sent = taken"),),
    ),
    Mutant(
        "called-token-rests",
        "Who keeps the token is called and lets it rest all the same; also the timer that ends the rest is a call.",
        (
            Edit(
                "ring/token_passing",
                "if self.called or ring.successor == self._context.node:",
                "if ring.successor == self._context.node:",
            ),
        ),
    ),
    Mutant(
        "token-never-sent-again",
        "The timer of the token's retransmission runs, and nothing is sent: one lost token breaks the ring.",
        (
            Edit(
                "ring/token_passing",
                'self._context.transmit(ring.successor, datagram, "tokens_retransmitted")',
                'self._context.counters.add("tokens_retransmitted")',
            ),
        ),
    ),
    Mutant(
        "token-tried-no-sooner",
        "A token that is lost again and again is sent again after the same wait each time: too seldom for a bad link.",
        (
            Edit(
                "ring/retransmission",
                "self.wait_s = max(least_s, self.wait_s / 2)",
                "self.wait_s = max(least_s, self.wait_s)",
            ),
        ),
    ),
    # Retransmission
    Mutant(
        "requests-never-served",
        "What is asked for in the token is not sent again by anybody.",
        (
            Edit(
                "ring/ring",
                "packet = window.get(seq) if len(out) < allowed or not out else None",
                "packet = None",
            ),
        ),
    ),
    Mutant(
        "gaps-never-asked-for",
        "A processor that lacks a packet does not ask for it.",
        (
            Edit(
                "ring/ring",
                "mine = self.window.missing(self._last_seq, most)",
                "mine: list[int] = []",
            ),
        ),
    ),
    Mutant(
        "requests-without-bound",
        "The list of requests grows with the holes instead of being cut at its limit.",
        (
            Edit(
                "ring/ring",
                "self.window.missing(self._last_seq, most)",
                "self.window.missing(self._last_seq, 128)",
            ),
            Edit("ring/ring", "return others[:most]", "return others"),
        ),
    ),
    # Flow control
    Mutant(
        "window-ignored",
        "What the others sent in this rotation does not count: each member takes the whole window for its own.",
        (
            Edit(
                "ring/flow_control",
                "min(self._window - others - held, self._visit_max)",
                "min(self._window, self._visit_max)",
            ),
        ),
    ),
    Mutant(
        "unconfirmed-without-bound",
        "New packets are sent however many are not known to be everywhere.",
        (Edit("ring/flow_control", "min(allowed, windows * self._window - unconfirmed)", "allowed"),),
    ),
    Mutant(
        "flow-control-carried-over",
        "At a change the state of flow control is carried over instead of built anew (a peer's bug): the new ring's "
        "counts lack what this processor had sent on the old one.",
        (
            Edit(
                "membership/formation",
                "        self._exchange = Exchange(",
                "        self.ring._flow = old._flow\n        self._exchange = Exchange(",
            ),
        ),
    ),
    # Delivery
    Mutant(
        "safe-is-agreed",
        "A safe message is delivered as soon as it is in order.",
        (
            Edit(
                "packets/delivery",
                "if packet is None or (packet.safe and seq > stable):",
                "if packet is None:",
            ),
        ),
    ),
    Mutant(
        "safe-in-regular-at-a-change",
        "When a ring has ended, all up to the first gap is delivered in the regular configuration, safe or not.",
        (
            Edit(
                "packets/delivery",
                "if packet is None or (packet.safe and seq > high_delivered):",
                "if packet is None:",
            ),
        ),
    ),
    Mutant(
        "delivery-jumps-over-gaps",
        "A packet that is missing in a regular configuration is passed over.",
        (
            Edit("packets/delivery", "last = window.aru\n", "last = window.high\n"),
            Edit(
                "packets/delivery",
                "            if packet is None or (packet.safe and seq > stable):\n                break\n"
                "            self._deliver_packet(packet, ring_id)",
                "            if packet is not None and packet.safe and seq > stable:\n                break\n"
                "            if packet is not None:\n                self._deliver_packet(packet, ring_id)",
            ),
        ),
    ),
    Mutant(
        "anything-behind-a-hole",
        "Behind a hole in a transitional configuration messages of every sender are delivered.",
        (Edit("packets/delivery", "elif not hole or packet.sender in deliver_set:", "else:"),),
    ),
    Mutant(
        "nothing-behind-a-hole",
        "Behind a hole in a transitional configuration nothing more is delivered, not even one's own messages.",
        (Edit("packets/delivery", "elif not hole or packet.sender in deliver_set:", "elif not hole:"),),
    ),
    Mutant(
        "transitional-only-if-smaller",
        "A transitional configuration that has all members of the old ring is thought to be needless.",
        (
            Edit(
                "packets/delivery",
                '        self._put("CONF", TransitionalConfiguration(ring_id, members))',
                "        if members != self.configuration.members:\n"
                '            self._put("CONF", TransitionalConfiguration(ring_id, members))',
            ),
        ),
    ),
    Mutant(
        "settled-after-the-transitional-configuration",
        "A safe message that others of the configuration may lack is said to be settled.",
        (Edit("packets/delivery", "self._barrier.complete and not self._transitional", "self._barrier.complete"),),
    ),
    Mutant(
        "settled-though-agreed",
        "A message counts as settled as soon as the barrier is complete, whatever it was sent with.",
        (Edit("packets/delivery", "settling and (flags & _SAFE) != 0 and", "settling and"),),
    ),
    Mutant(
        "everybody-joined",
        "The first thing that a configuration is compared with is nothing, so all its members have joined.",
        (Edit("packets/delivery", "before = set(self.configuration.members)", "before: set[int] = set()"),),
    ),
    Mutant(
        "data-of-any-ring",
        "Data of another ring is taken for data of this one.",
        (
            Edit(
                "membership/operational",
                "passing = self.passing\n        if packet.ring != ring.name:",
                "passing = self.passing\n        if not packet.ring:",
            ),
        ),
    ),
    # Packing and queues
    Mutant(
        "last-in-first-out",
        "A message that is accepted goes before those that wait.",
        (
            Edit(
                "packets/send_queue",
                "self._payloads.append(payload)\n        self._guarantees.append(guarantee)",
                "place = self._first + min(1, count)\n"
                "        self._payloads.insert(place, payload)\n        self._guarantees.insert(place, guarantee)",
            ),
        ),
    ),
    Mutant(
        "cursor-kept-at-a-change",
        "A message that was half sent when the configuration changed is continued on the new ring, not begun again.",
        (
            Edit(
                "packets/packing",
                "        self.queues[1].rewind()\n        self.queues[2].rewind()\n",
                "",
            ),
        ),
    ),
    Mutant(
        "fragments-across-rings",
        "A half-sent message is continued on the new ring, and the receivers put its pieces of both rings together.",
        (
            Edit(
                "packets/packing",
                "        self.queues[1].rewind()\n        self.queues[2].rewind()\n",
                "",
            ),
            Edit("packets/delivery", "        self.reassembler.clear()\n", ""),
        ),
    ),
    Mutant(
        "sent-again-after-a-change",
        "The message that was sent last is sent again on the new ring, lest it was lost with the old one.",
        (
            Edit("packets/send_queue", '"bytes", "cursor")', '"bytes", "cursor", "last")'),
            Edit(
                "packets/send_queue",
                "        self.bytes = 0\n        self.cursor = 0\n\n    def __len__",
                "        self.bytes = 0\n        self.cursor = 0\n        self.last = None\n\n    def __len__",
            ),
            Edit(
                "packets/send_queue",
                "        self.bytes -= len(self.head())\n",
                "        self.last = (self.head(), self.guarantee())\n        self.bytes -= len(self.head())\n",
            ),
            Edit(
                "packets/send_queue",
                '        """Begin the head again."""\n',
                '        """Begin the head again."""\n        if self.last is not None:\n'
                "            self._payloads.insert(self._first, self.last[0])\n"
                "            self._guarantees.insert(self._first, self.last[1])\n"
                "            self.bytes += len(self.last[0])\n"
                "            self.last = None\n",
            ),
        ),
    ),
    Mutant(
        "queue-lost-at-a-change",
        "HIGH messages that wait when the configuration changes are dropped with those of the round.",
        (Edit("packets/packing", "self.queues[1].rewind()", "self.queues[1].clear()"),),
    ),
    Mutant(
        "pieces-told-apart-by-sender-alone",
        "Pieces of a HIGH message that stand between those of a long LOW one are put into it.",
        (
            Edit(
                "packets/reassembly",
                "key = self._sender * 4 + (flags & _PRIORITY)",
                "key = self._sender * 4",
            ),
        ),
    ),
    Mutant(
        "unblock-takes-no-place",
        "The unblock is not counted in the message order, so the next message has its place too.",
        (Edit("packets/packing", "return len(self.payloads)", "return len(self.payloads) - self.unblock"),),
    ),
    # The bytes
    Mutant(
        "no-room-for-encapsulation",
        "A packet uses the room that it needs when recovery sends it inside a packet of the next ring (a peer's bug: "
        "the encapsulated packet was larger than a datagram).",
        (
            Edit(
                "wire/regular",
                "DATA_OVERHEAD = RECOVERED_SIZE + TRAILER_SIZE",
                "DATA_OVERHEAD = DATA_SIZE + TRAILER_SIZE",
            ),
        ),
    ),
    Mutant(
        "short-packet-is-valid",
        "That a datagram is long enough for its header is not checked before the header is read (a peer's bug).",
        (
            Edit(
                "wire/regular",
                '        if size < _ENVELOPE:\n            raise Malformed("too_short")\n        if data',
                "        if data",
            ),
        ),
    ),
    Mutant(
        "checksum-ignored",
        "A datagram that was damaged on its way is believed.",
        (Edit("wire/regular", '            raise Malformed("checksum")\n', "            pass\n"),),
    ),
    # Time
    Mutant(
        "turn-by-the-clock-of-the-last",
        "A turn without datagrams goes by the time of the last turn: its deadlines are too early, or past.",
        (
            Edit(
                "processor",
                "        membership.note_time(now)\n        membership.take_up()",
                "        if datagrams:\n            membership.note_time(now)\n        membership.take_up()",
            ),
        ),
        tests=("tests/core/test_turn.py",),
    ),
    Mutant(
        "submit-sends-by-itself",
        "A message that is accepted calls the token immediately, by a clock that stood still since the last turn.",
        (
            Edit(
                "processor",
                "        self._membership.note_queued()\n        return True",
                "        self._membership.want_token()\n        return True",
            ),
        ),
        tests=("tests/core/test_turn.py",),
    ),
    Mutant(
        "leave-counts-from-its-turn",
        "The time for leaving begins with the turn after the call, which may be long after it.",
        (
            Edit(
                "membership/membership",
                "self._context.timers.set(Timer.LEAVE, self._leave_at)",
                "self._context.timers.set(Timer.LEAVE, self._context.now + self._context.config.leave_timeout_s)",
            ),
        ),
        tests=("tests/core/test_turn.py",),
    ),
)
"""In the order of the module's sections."""
