"""Tables of peers for unicast UDP: made from the user's arguments, or refused with the reason why they cannot work."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ringproto.log import BoundedLog
from ringproto.transports._addresses import (
    format_address,
    format_packed,
    is_wildcard,
    pack_address,
    reach,
)
from ringproto.transports._checks import check_node, check_whole
from ringproto.transports._interface import TransportError
from ringproto.transports._names import FAMILIES, Answer, is_name, may_move
from ringproto.transports._peers import Peer, PeerTable
from ringproto.transports._sockets import PEERS_MAX

__all__ = [
    "all_on_this_host",
    "check_answers",
    "check_table",
    "choose_family",
    "hint_at_reach",
    "make_table",
    "of_family",
]


def check_table(node: int, peers: Mapping[int, tuple[str, int]]) -> None:
    if not isinstance(peers, Mapping):
        raise ValueError(f"peers must map node ids to (host, port), and is of type {type(peers).__name__}")
    if len(peers) > PEERS_MAX:
        raise ValueError(f"peers may have {PEERS_MAX} entries at most, not {len(peers)}")
    taken: dict[tuple[str, int], int] = {}
    for peer, entry in peers.items():
        check_node(peer, "a key of peers")
        if not isinstance(entry, (tuple, list)) or len(entry) != 2 or not isinstance(entry[0], str) or not entry[0]:
            raise ValueError(f"peers[{peer}] must be (host, port), such as ('10.0.0.1', 5001), not {entry!r}")
        check_whole(entry[1], f"the port in peers[{peer}]", 1, 65_535)
        where = (entry[0].lower(), entry[1])
        if where in taken:
            raise ValueError(f"nodes {taken[where]} and {peer} have one address, {format_address(where)}")
        taken[where] = peer
    if node not in peers:
        raise ValueError(
            f"peers must have an entry for the own node {node}, the address to bind; it has {sorted(peers)}"
        )


def check_answers(node: int, peers: Mapping[int, tuple[str, int]], answers: Mapping[int, Answer]) -> None:
    """Raise ``TransportError`` for an unresolved host that is required, or that can never be a host."""
    for peer in (node, *peers):
        answer, host = answers[peer], peers[peer][0]
        if not answer.addresses and (peer == node or not may_move(host) or isinstance(answer.error, UnicodeError)):
            raise TransportError(f"host {host!r} of node {peer} cannot be resolved: {answer.failure}") from answer.error


def choose_family(
    found: Mapping[int, Mapping[int, list[tuple[Any, ...]]]],
    peers: Mapping[int, tuple[str, int]],
    wanted: int | None,
) -> int:
    for family in FAMILIES if wanted is None else (wanted,):
        if all(family in candidates for candidates in found.values()):
            return family
    have = ", ".join(
        f"node {node} ({peers[node][0]}) has {' and '.join(FAMILIES[one] for one in found[node]) or 'none'}"
        for node in sorted(found)
    )
    what = "addresses of one family" if wanted is None else f"{FAMILIES[wanted]} addresses"
    raise TransportError(f"all processors must have {what}: {have}")


def of_family(answer: Answer, family: int) -> tuple[list[bytes], str]:
    """Return the packed addresses of this family, and the reason if there are none."""
    found = [pack_address(address) for address in answer.addresses.get(family, [])]
    if found or answer.failure:
        return found, answer.failure
    has = " and ".join(FAMILIES[one] for one in answer.addresses)
    return [], f"it has {has} addresses only, and this processor uses {FAMILIES[family]} (family)"


def make_table(
    node: int,
    peers: Mapping[int, tuple[str, int]],
    answers: Mapping[int, Answer],
    family: int,
    own: bytes,
) -> PeerTable:
    """Return the table, with the addresses that are known.

    Raises:
        ValueError: the table cannot work, whatever its names resolve to later.
    """
    table = PeerTable(node, own)
    for one in sorted(peers):
        if one != node:
            host, port = peers[one]
            table.add(Peer(one, host, port, may_move(host)))
    # Addresses in digits come first because they never change. A name that resolves to one of them waits for a better
    # answer.
    for peer in sorted(table.peers.values(), key=lambda peer: peer.named):
        found, failure = of_family(answers[peer.node], family)
        table.answered(peer, found, failure)
        if peer.address is None and not peer.named:
            raise ValueError(f"node {peer.node} cannot have this address: {peer.failure}")
    return table


def hint_at_reach(table: PeerTable, log: BoundedLog) -> None:
    """Log a hint if the table probably does not work."""
    outside = table.beyond()
    if outside is not None:
        log.state(
            logging.WARNING,
            "own address",
            f"the own address of node {table.node}, {format_packed(table.own)}, reaches "
            f"{'its link' if reach(table.own) else 'this host'} alone, and node {outside} is at "
            f"{format_packed(table.addresses()[outside])}: if that is another host, give the address by which it can "
            "reach this one (host names often stand for 127.0.1.1 at home)",
        )


def all_on_this_host(table: PeerTable, own_host: str) -> bool:
    """Return whether the table alone proves that all processors are on this host. A name proves nothing: it may resolve
    differently at another processor, or later, and all processors must come to one result."""
    places: list[tuple[str, bytes | None]] = [(peer.host, peer.address) for peer in table.peers.values()]
    if not is_wildcard(table.own):
        places.append((own_host, table.own))
    return bool(table.peers) and all(
        address is not None and reach(address) == 0 and (host.lower() == "localhost" or not is_name(host))
        for host, address in places
    )
