"""What ``ringproto node`` runs with: flags, a TOML file, or both.

The file has the flags' names as keys, and a table ``[config]`` with fields of ``Config``. A flag wins over the file; a
flag that chooses the transport (``--peer``, or ``--group``) puts the file's whole choice of a transport aside. A key
that does not exist is an error that names those that do, for a typing error must not become a default.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from typing import Any

from ringproto import Config, Guarantee, Priority
from ringproto._processes.failures import UsageError, shown
from ringproto.cli.node.settings_file import read_toml

__all__ = ["NodeSettings", "add_options", "read_peer", "settings_of"]

_PEERS_MAX = 256
"""No ring has more members (``Config.members_max``)."""
_PORT_MAX = 65535
_DIGITS_MAX = 10
_NUMBERS_END = 10**_DIGITS_MAX
_UNICAST_KEYS = ("peer",)
_MULTICAST_KEYS = ("group", "port", "interface")
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "node": ((int,), "a whole number"),
    "peer": ((dict, list), 'a table such as {1 = "127.0.0.1:5001"}, or a list such as ["1=127.0.0.1:5001"]'),
    "group": ((str,), "a string"),
    "port": ((int,), "a whole number"),
    "interface": ((str,), "a string"),
    "cluster": ((str,), "a string"),
    "quorum": ((int,), "a whole number"),
    "priority": ((str,), '"high" or "low"'),
    "guarantee": ((str,), '"agreed" or "safe"'),
    "json": ((bool,), "true or false"),
    "config": ((dict,), "a table of fields of Config"),
}


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    """One processor for trying it by hand."""

    node: int
    transport: dict[str, Any]
    """As :func:`ringproto._processes.transports.open_transport` takes it."""
    config: Config
    priority: Priority
    guarantee: Guarantee
    json: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the flags. Those not given are ``None``, so that the file's values can stand in for them."""
    add = parser.add_argument
    add("--config", metavar="FILE.toml", help="a TOML file with these names as keys, and a table [config]")
    add("--node", type=int, help="own node id, 1 to 4294967295")
    add(
        "--peer",
        action="append",
        metavar="NODE=HOST:PORT",
        help="unicast: where a processor is, once for each of them, this one too",
    )
    add("--group", help="multicast: the group's address, such as 239.192.7.1")
    add("--port", type=int, help="multicast: the UDP port")
    add("--interface", help="multicast: name, address or network of the interface")
    add("--cluster", help="name of the cluster (default: ringproto)")
    add("--quorum", type=int, help="members that a configuration needs (default: 1)")
    add("--priority", choices=("high", "low"), help="of the lines that are sent (default: high)")
    add("--guarantee", choices=("agreed", "safe"), help="of the lines that are sent (default: agreed)")
    add("--json", action="store_true", default=None, help="print events as JSON, one a line")


def settings_of(args: argparse.Namespace) -> NodeSettings:
    """The settings that flags and file give together.

    Raises:
        UsageError: something is missing, unknown or out of its range.
    """
    values = _read_file(args.config) if args.config is not None else {}
    flags = {name: getattr(args, name) for name in _KINDS if name != "config" and getattr(args, name) is not None}
    if "peer" in flags and "group" in flags:
        raise UsageError("--peer means unicast and --group means multicast: give one of them")
    if "peer" in flags:
        values = {name: value for name, value in values.items() if name not in _MULTICAST_KEYS}
    elif "group" in flags:
        values = {name: value for name, value in values.items() if name not in _UNICAST_KEYS}
    config = values.pop("config", {})
    doubled = sorted({"cluster", "quorum"} & values.keys() & config.keys())
    if doubled:
        raise UsageError(f"{args.config} gives {' and '.join(doubled)} twice: once at the top and once in [config]")
    values.update(flags)
    if "node" not in values:
        raise UsageError("the processor needs an id: --node 1, or node = 1 in the file")
    return NodeSettings(
        node=values["node"],
        transport=_transport(values),
        config=_config({**config, **{name: values[name] for name in ("cluster", "quorum") if name in values}}),
        priority=Priority[_choice(values, "priority", ("high", "low")).upper()],
        guarantee=Guarantee[_choice(values, "guarantee", ("agreed", "safe")).upper()],
        json=bool(values.get("json", False)),
    )


def read_peer(text: str) -> tuple[int, str, int]:
    """Node, host and port from ``NODE=HOST:PORT``; an IPv6 address stands in brackets.

    Raises:
        UsageError: the text is not of that form.
    """
    node, equals, address = text.partition("=")
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not (equals and colon and host.strip() and _is_number(node) and _is_number(port)):
        raise UsageError(f"a peer is NODE=HOST:PORT, such as 1=127.0.0.1:5001 or 1=[::1]:5001, not {shown(text)}")
    if int(port) > _PORT_MAX:
        raise UsageError(f"the port of a peer is a number up to {_PORT_MAX}, not {shown(text)}")
    return int(node), host.strip(), int(port)


def _is_number(text: str) -> bool:
    # More digits no node id has, and Python refuses to read very many.
    return text.isascii() and text.strip().isdecimal() and len(text.strip()) <= _DIGITS_MAX


def _read_file(file: str) -> dict[str, Any]:
    values = read_toml(file)
    for name, value in values.items():
        if name not in _KINDS:
            raise UsageError(f"{file} has the unknown key {shown(name)}; the keys are {', '.join(_KINDS)}")
        kinds, right = _KINDS[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds) or _is_huge(value):
            raise UsageError(f"{name} in {file} must be {right}, not {shown(value)}")
    return values


def _is_huge(value: Any) -> bool:
    """Whether it is a number larger than any of these may be; Python refuses to write those of thousands of digits."""
    return isinstance(value, int) and abs(value) >= _NUMBERS_END


def _transport(values: Mapping[str, Any]) -> dict[str, Any]:
    given = [name for name in _MULTICAST_KEYS if name in values]
    if "peer" in values:
        if given:
            raise UsageError(f"peer means unicast, and {given[0]} belongs to multicast: give one or the other")
        return {"kind": "unicast", "peers": _peers(values["peer"])}
    if "group" not in values:
        raise UsageError("the processor needs a transport: --peer for each processor, or --group, --port, --interface")
    missing = [f"--{name}" for name in _MULTICAST_KEYS if name not in values]
    if missing:
        raise UsageError(f"multicast needs {' and '.join(missing)} too")
    return {"kind": "multicast", **{name: values[name] for name in _MULTICAST_KEYS}}


def _peers(value: Mapping[str, Any] | list[Any]) -> dict[int, tuple[str, int]]:
    if len(value) > _PEERS_MAX:
        raise UsageError(f"there are {len(value)} peers, and a ring has at most {_PEERS_MAX} members")
    for one in value.values() if isinstance(value, Mapping) else value:
        if not isinstance(one, str):
            raise UsageError(f"peer must be {_KINDS['peer'][1]}, and has {shown(one)} in it")
    texts = [f"{node}={address}" for node, address in value.items()] if isinstance(value, Mapping) else value
    peers: dict[int, tuple[str, int]] = {}
    for text in texts:
        node, host, port = read_peer(text)
        if node in peers:
            raise UsageError(f"peer {node} is given twice")
        peers[node] = (host, port)
    return peers


def _choice(values: Mapping[str, Any], name: str, choices: tuple[str, str]) -> str:
    value = values.get(name, choices[0])
    if value not in choices:
        raise UsageError(f"{name} must be {' or '.join(choices)}, not {shown(value)}")
    return str(value)


def _config(fields: Mapping[str, Any]) -> Config:
    try:
        return Config.lan(**fields)
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
