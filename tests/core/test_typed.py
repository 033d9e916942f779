"""The augmenting ``.pxd`` files beside the modules of the core, and one of the transports.

A class that one of them declares has only the attributes that are declared there. Cython compiles an assignment to any
other one without a word, and it fails when it runs.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import ringproto

PACKAGE = Path(ringproto.__file__).parent
AUGMENTING = [*sorted((PACKAGE / "_core").rglob("*.pxd")), *sorted((PACKAGE / "transports").glob("*.pxd"))]
CLASS = re.compile(r"^cdef class (\w+)(?:\((\w+)\))?:\n((?:(?:[ \t].*)?\n)*)", re.MULTILINE)
ATTRIBUTE = re.compile(r"^    cdef (?:public |readonly )?[\w ]+?(?:\[\])? (\w+)\s*(?:#.*)?$", re.MULTILINE)


def assigned(path: Path) -> dict[str, set[str]]:
    """The attributes that the methods of each class assign to ``self``."""
    found = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            found[node.name] = {
                part.attr
                for part in ast.walk(node)
                if isinstance(part, ast.Attribute)
                and isinstance(part.ctx, ast.Store)
                and isinstance(part.value, ast.Name)
                and part.value.id == "self"
            }
    return found


def declarations(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Of each class that is typed, the one that it stands on and the attributes that it declares."""
    return {name: (base, set(ATTRIBUTE.findall(body))) for name, base, body in CLASS.findall(path.read_text())}


@pytest.mark.parametrize("types", AUGMENTING, ids=lambda path: path.stem)
def test_typed_class_declares_every_attribute(types: Path) -> None:
    classes = assigned(types.with_suffix(".py"))
    everywhere = {name: found for path in AUGMENTING for name, found in declarations(path).items()}
    for name, (base, declared) in declarations(types).items():
        inherited: set[str] = set()
        while base:
            base, above = everywhere[base]
            inherited |= above
        assert declared == classes[name] - inherited, name
