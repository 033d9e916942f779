"""The command ``ringproto``, also ``python -m ringproto``.

Exit codes: 0 when what was asked for held, 1 when it ran and did not hold, 2 when it was called wrongly.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from ringproto.cli import chaos, demo, latency, mutants, node, simulate
from ringproto.cli._common import OneLineParser, RunFailedError, UsageError

__all__ = ["build_parser", "main"]


def build_parser() -> OneLineParser:
    """The parser with every command."""
    parser = OneLineParser(
        prog="ringproto", description="Totally ordered, virtually synchronous messages: a token ring with a barrier."
    )
    parser.add_argument("--version", action="version", version=f"ringproto {_version()}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in (demo, latency, chaos, mutants, node, simulate):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Wrong usage exits with 2, by ``SystemExit`` where argparse finds it."""
    args = build_parser().parse_args(argv)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except UsageError as error:
        _complain(args.command, error)
        return 2
    except RunFailedError as error:
        _complain(args.command, error)
        return 1
    except BrokenPipeError:
        # Who read the output is gone. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        _complain(args.command, "interrupted")
        return 1


def _complain(command: str, error: object) -> None:
    sys.stdout.flush()
    print(f"ringproto {command}: {error}", file=sys.stderr)


def _version() -> str:
    try:
        return version("ringproto")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
