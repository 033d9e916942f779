"""What a round of chaos leaves behind beside its logs: enough to judge them again, by anybody, at any time."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, get_args, get_origin, get_type_hints

from ringproto._processes.failures import UsageError, one_line, shown
from ringproto._processes.files import read_regular
from ringproto.chaos.script import Script

__all__ = ["LifeRecord", "RoundRecord"]

_FILE = "round.json"
_BYTES_MAX = 16 * 2**20

Made = TypeVar("Made")


class _RecordedMark(TypedDict):
    """What a judge reads of a mark; there is more in it."""

    records: int
    given: int
    accepted: int
    logged_as_accepted: int
    returned: int
    delivered: int


@dataclasses.dataclass
class LifeRecord:
    """One life of one processor."""

    node: int
    life: int
    """1, 2, 3 ... in the order of the lives of this node."""
    log: str
    """Name of the file of its log, in the folder of the round."""
    end: Literal["killed", "left", "broken off"] = "broken off"
    """SIGKILL, an orderly leave, or killed because the round had failed."""
    mark: dict[str, Any] | None = None
    """For who was alive when all faults were over and everything had been delivered: how far it was then."""


@dataclasses.dataclass
class RoundRecord:
    """One round."""

    seed: int
    script: list[str]
    """In words."""
    quorum: int
    window_size: int | None
    """In packets; ``None``: by the size of the datagrams."""
    retransmits_max: int
    storage: bool
    """Whether ring sequences survived restarts."""
    lives: list[LifeRecord] = dataclasses.field(default_factory=list)
    happened: list[str] = dataclasses.field(default_factory=list)
    """What was done when, in seconds since the beginning of the round."""
    failures: list[str] = dataclasses.field(default_factory=list)
    """What the supervisor saw go wrong: a process that ended by itself, a bound that was passed."""

    @classmethod
    def of(cls, script: Script) -> RoundRecord:
        """The record of a round that has not begun."""
        config = script.config
        return cls(
            script.seed, script.lines(), config.quorum, config.window_size, config.retransmits_max, script.storage
        )

    def write(self, folder: Path) -> None:
        """Write it into the folder. Raises ``OSError``."""
        (folder / _FILE).write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> RoundRecord:
        """Read it from the folder.

        Raises:
            UsageError: there is none, or it is not what :meth:`write` writes.
        """
        file = folder / _FILE
        try:
            values = json.loads(read_regular(str(file), _BYTES_MAX))
            lives = [_made(LifeRecord, life) for life in values.pop("lives")]
            for life in lives:
                if life.mark is not None:
                    _check_types(life.mark, _RecordedMark)
            return dataclasses.replace(_made(cls, values), lives=lives)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise UsageError(f"{file} is not the record of a round: {one_line(error)}") from error


def _made(kind: type[Made], values: dict[str, Any]) -> Made:
    """A record with these values. Raises ``TypeError`` or ``KeyError`` if they are not of one."""
    made = kind(**values)
    _check_types(vars(made), kind)
    return made


def _check_types(values: Mapping[str, Any], kind: type) -> None:
    for name, hint in get_type_hints(kind).items():
        if not _fits(values[name], hint):
            raise TypeError(f"{name} is {shown(values[name])}")


def _fits(value: object, hint: Any) -> bool:
    """Whether a value out of JSON is of the type that an annotation says."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in inner
    if kind is types.UnionType:
        return any(_fits(value, one) for one in inner)
    if kind is list:
        return isinstance(value, list) and all(_fits(one, inner[0]) for one in value)
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, kind or hint)
