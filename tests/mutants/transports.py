"""Mutants of the transports, run by the tests of the transports. What is compiled is run interpreted."""

from __future__ import annotations

from mutants.mutation import Edit, Mutant

__all__ = ["MUTANTS"]

_TESTS = "tests/transports/test_transport_"
_LOOPBACK, _SOCKETS, _SEGMENTS = f"{_TESTS}loopback.py", f"{_TESTS}sockets.py", f"{_TESTS}segments.py"
_UNICAST, _MULTICAST, _BATCH = f"{_TESTS}unicast_udp.py", f"{_TESTS}multicast_udp.py", f"{_TESTS}batch.py"
_CONTRACT, _BLOCKING, _INTERFACES = f"{_TESTS}contract.py", f"{_TESTS}blocking.py", f"{_TESTS}interfaces.py"


def _mutant(name: str, why: str, tests: tuple[str, ...], *changes: Edit) -> Mutant:
    return Mutant(name, why, changes, "transports", tests)


MUTANTS = (
    _mutant(
        "queue-room-leaks",
        "What is read from the in-memory network does not make room again: after so many datagrams it takes none.",
        (_LOOPBACK,),
        Edit("loopback", "        self.room += len(batch)\n", ""),
    ),
    _mutant(
        "queue-room-leaks-where-more-waits",
        "A read that leaves something makes no room for what it took.",
        (_LOOPBACK,),
        Edit(
            "loopback",
            "            del arrived[:BATCH_MAX]\n",
            "            del arrived[:BATCH_MAX]\n            return batch\n",
        ),
    ),
    _mutant(
        "queue-room-leaks-when-handed-over",
        "What a perfect network hands over takes no room, so the queue has no bound.",
        (_LOOPBACK,),
        Edit("loopback", "        self.room -= count\n", ""),
    ),
    _mutant(
        "receiver-sleeps-through-an-earlier-datagram",
        "A receiver that waits for a datagram is not woken by one that is due before it.",
        (_LOOPBACK,),
        Edit(
            "loopback", "        if self.task is not None and entry[0] < self.wake_at:\n            self.wake()\n", ""
        ),
    ),
    _mutant(
        "crashed-still-sends",
        "What a processor sends after its crash still gets out.",
        (_LOOPBACK,),
        Edit("loopback", "        if self._queue.connected:\n", "        if True:\n"),
    ),
    _mutant(
        "cut-is-both-ways",
        "A cut of one direction cuts the other one too.",
        (_LOOPBACK,),
        Edit(
            "loopback",
            "        if (source, destination) in self._cuts:\n",
            "        if {(source, destination), (destination, source)} & self._cuts:\n",
        ),
    ),
    _mutant(
        "reach-is-never-looked-up-again",
        "Who reaches whom is kept over a change of the network.",
        (_LOOPBACK,),
        Edit("loopback", "            queue.reachable = None\n", "            pass\n"),
    ),
    _mutant(
        "overtaking-datagrams-come-last",
        "A datagram that is due before others waits behind them.",
        (_LOOPBACK,),
        Edit("loopback", "        if not lane or entry > lane[-1]:\n", "        if True:\n"),
    ),
    _mutant(
        "closed-receiver-is-not-woken",
        "A task that waits in receive() is not told that the transport was closed.",
        (_LOOPBACK,),
        Edit("loopback", "            self._queue.wake()\n        await", "        await"),
    ),
    _mutant(
        "rest-is-sent-from-its-beginning",
        "What the send buffer did not take is sent from the beginning of its batch, so datagrams leave twice.",
        (_SOCKETS,),
        Edit(
            "_traffic",
            "self._kept = (addresses, heads, datagrams, place)",
            "self._kept = (addresses, heads, datagrams, 0)",
        ),
    ),
    _mutant(
        "error-stops-the-batch",
        "A datagram that the system refuses is tried again and again, and those behind it never.",
        (_SOCKETS,),
        Edit(
            "_traffic",
            "            self.lost_address = addresses[place]\n            place += 1\n",
            "            self.lost_address = addresses[place]\n            break\n",
        ),
    ),
    _mutant(
        "failing-socket-is-a-busy-loop",
        "A socket that answers nothing but errors is read again at once.",
        (_SOCKETS,),
        Edit("_traffic", "            self.errors_in_a_row += 1\n", ""),
    ),
    _mutant(
        "good-read-forgives-nothing",
        "Errors are counted as in a row although datagrams came in between.",
        (_SOCKETS,),
        Edit("_traffic", "        if read:\n            self.errors_in_a_row = 0\n", "        if read:\n"),
    ),
    _mutant(
        "strangers-are-welcome",
        "Datagrams of senders that are not in the table are taken in.",
        (_UNICAST,),
        Edit(
            "_traffic",
            'how one of them begins."""\n        return False',
            'how one of them begins."""\n        return True',
        ),
        Edit(
            "unicast_udp",
            '            self._counts["drops_unknown_source"] += 1\n            return False',
            '            self._counts["drops_unknown_source"] += 1\n            return True',
        ),
    ),
    _mutant(
        "own-datagrams-come-in",
        "A processor hears what it multicast itself.",
        (_MULTICAST,),
        Edit("multicast_udp", "                skip=pack_address(membership.own_address) + self._header,\n", ""),
    ),
    _mutant(
        "token-before-its-data",
        "A token is handed up although datagrams that were sent before it are still to be read.",
        (_MULTICAST,),
        Edit("multicast_udp", "if not group_more or self._held_rounds", "if True or self._held_rounds"),
    ),
    _mutant(
        "token-held-without-bound",
        "A token waits for as long as the group has something to read.",
        (_MULTICAST,),
        Edit("multicast_udp", "            self._held_rounds += 1\n", "            pass\n"),
    ),
    _mutant(
        "former-address-stays-welcome",
        "Datagrams from where a node was before it was started anew count as its own.",
        (_MULTICAST,),
        Edit("multicast_udp", "            self._origins.discard(former + header)\n", ""),
    ),
    _mutant(
        "group-is-never-joined-again",
        "A membership that was lost with its interface stays lost.",
        (_MULTICAST,),
        Edit("multicast_udp", "if error in _INTERFACE_TROUBLE:", "if False:"),
    ),
    _mutant(
        "segments-of-a-copy-count",
        "A piece that comes twice counts twice, so a datagram is whole although a piece is missing.",
        (_SEGMENTS,),
        Edit("_segments", "        elif partial.seen[place]:\n", "        elif False:\n"),
    ),
    _mutant(
        "late-segment-begins-anew",
        "A late piece of a former datagram throws the one away that is in the making.",
        (_SEGMENTS,),
        Edit(
            "_segments",
            "            if partial is not None and 0 < (partial.number - number) & _NUMBERS <= LATE_MAX:\n"
            '                return self._drop("drops_late_segment")\n',
            "",
        ),
    ),
    _mutant(
        "datagrams-in-the-making-without-bound",
        "Who sends pieces under many addresses makes a receiver keep something for each.",
        (_SEGMENTS,),
        Edit("_segments", "elif len(partials) >= self._senders_max:", "elif False:"),
    ),
    _mutant(
        "padding-belongs-to-the-datagram",
        "What fills up a last segment is taken for a part of the datagram.",
        (_SEGMENTS,),
        Edit("_segments", "        length = data[6] << 8 | data[7]\n", "        length = space\n"),
    ),
    _mutant(
        "marked-datagram-goes-as-it-is",
        "A datagram of the ring that begins like a segment is sent whole, and is taken for one.",
        (_SEGMENTS,),
        Edit(
            "_traffic",
            "whole = len(datagram) <= segment_size and datagram[0] != mark",
            "whole = len(datagram) <= segment_size",
        ),
    ),
    _mutant(
        "error-behind-datagrams-is-lost",
        "An error that the system reports behind datagrams of the same call is not said.",
        (_BATCH,),
        Edit(
            "_plain", "                self._error = error\n                return read", "                return read"
        ),
    ),
    _mutant(
        "too-long-by-one-is-cut",
        "A datagram that is longer than the buffer is taken in without its last byte.",
        (_BATCH,),
        Edit("_plain", "self._socket.recvfrom(limit + 1)", "self._socket.recvfrom(limit)"),
    ),
    _mutant(
        "interrupt-between-two-waits-is-lost",
        "An interrupt that comes while the thread does not wait does not end its next wait.",
        (_BLOCKING,),
        Edit(
            "_blocking",
            '            os.write(self._writing, b"\\0")\n',
            '            os.write(self._writing, b"")\n',
        ),
    ),
    _mutant(
        "network-of-several-interfaces",
        "Where several interfaces are in the network that a person named, one of them is taken.",
        (_INTERFACES,),
        Edit("interfaces", "    if len(names) > 1:\n", "    if not names:\n"),
    ),
)
