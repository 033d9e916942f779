"""The package as such: its name, its faces, what it may know."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

import ringproto.transports
from ringproto.transports import LoopbackNetwork, Transport, TransportError

FOLDER = Path(ringproto.transports.__file__).parent


def test_package_refuses_to_be_called_transports() -> None:
    specification = importlib.util.spec_from_file_location("transports", FOLDER / "__init__.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    with pytest.raises(ImportError, match=r"this package is ringproto.transports, not transports"):
        specification.loader.exec_module(module)


def test_exported_names_are_there() -> None:
    for name in ringproto.transports.__all__:
        assert hasattr(ringproto.transports, name)


def test_something_else_is_no_transport() -> None:
    assert not isinstance(object(), Transport)
    assert isinstance(LoopbackNetwork().open(1), Transport)


def test_errors_of_opening_are_os_errors() -> None:
    assert issubclass(TransportError, OSError)


def test_transports_know_neither_the_core_nor_each_other() -> None:
    transports = {"loopback", "unicast_udp", "multicast_udp"}
    for file in FOLDER.glob("*.py"):
        imported = set()
        for statement in ast.walk(ast.parse(file.read_text())):
            if isinstance(statement, ast.ImportFrom) and statement.module is not None:
                imported.add(statement.module)
            elif isinstance(statement, ast.Import):
                imported.update(alias.name for alias in statement.names)
        ours = {name for name in imported if name.startswith("ringproto")}
        for name in ours:
            assert name.startswith("ringproto.transports.") or name in {"ringproto.types", "ringproto.log"}, (
                f"{file.name} imports {name}"
            )
        if file.stem != "__init__":
            assert not {name.rpartition(".")[2] for name in ours} & transports, f"{file.name} knows another transport"
        if file.stem != "interfaces":
            assert "netifaces" not in imported, f"{file.name} knows netifaces"
