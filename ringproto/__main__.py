"""The command ``ringproto``, also ``python -m ringproto``.

Exit codes: 0 when what was asked for held, 1 when it ran and did not hold, 2 when it was called wrongly, 128 and the
number of the signal when one ended it, 141 (SIGPIPE) when nobody read its output any more.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version

from ringproto._processes.failures import InterruptedRunError, RunFailedError, UsageError, told
from ringproto.cli._common import OneLineParser
from ringproto.cli.streams import (
    OutputError,
    Terminated,
    discard_output,
    heed_interrupts,
    ignore_interrupts,
    open_streams,
)

__all__ = ["build_parser", "main"]


def build_parser() -> OneLineParser:
    """The parser with every command."""
    # Here, so that an interrupt while they are imported is told as every other one.
    from ringproto.cli import chaos
    from ringproto.cli.demo import command as demo
    from ringproto.cli.latency import command as latency
    from ringproto.cli.node import command as node
    from ringproto.cli.simulate import command as simulate

    parser = OneLineParser(
        prog="ringproto", description="Totally ordered, virtually synchronous messages: a token ring with a barrier."
    )
    parser.add_argument("--version", action="version", version=f"ringproto {_version()}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for command in (demo, latency, chaos, node, simulate):
        command.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code. Wrong usage exits with 2, by ``SystemExit`` where argparse finds it.

    Without ``argv`` it is the command of this process: then it takes over the standard streams, and when the command is
    over Ctrl-C has no effect any more.
    """
    if argv is not None:
        return _run(argv)
    try:
        heed_interrupts()
        if not open_streams():
            return _complain("ringproto", "standard output is closed; give it a file, or /dev/null to throw it away", 2)
        return _run(sys.argv[1:])
    except KeyboardInterrupt as interrupt:  # once more, while the first one was told
        return _interrupted(interrupt).exit_code
    finally:
        ignore_interrupts()


def _run(argv: Sequence[str]) -> int:
    name = "ringproto"
    try:
        try:
            args = build_parser().parse_args(argv)
            name = f"ringproto {args.command}"
            code: int = args.run(args)
        finally:
            sys.stdout.flush()
        return code
    except BaseException as error:  # trio puts an interrupt into a group with what else went wrong
        ending = _ending(error)
        if ending is None:
            raise
        reason, code = ending
        return _complain(name, reason, code)


def _ending(error: BaseException) -> tuple[object, int] | None:
    """What to tell of an error, and the exit code; ``None`` if it is one that no user can meet."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, OutputError):
            discard_output()
            return leaf, leaf.exit_code
    for leaf in leaves:
        if isinstance(leaf, KeyboardInterrupt):
            leaf = _interrupted(leaf)
        if isinstance(leaf, InterruptedRunError):
            return leaf, leaf.exit_code
    for leaf in leaves:
        if isinstance(leaf, UsageError):
            return leaf, 2
        if isinstance(leaf, RunFailedError):
            return leaf, 1
    if all(isinstance(leaf, OSError) for leaf in leaves):
        return f"cannot go on: {leaves[0]}", 1  # no more files, processes or memory, or a full disk
    return None


def _interrupted(interrupt: KeyboardInterrupt) -> InterruptedRunError:
    return InterruptedRunError(signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    for inner in getattr(error, "exceptions", ()):
        yield from _leaves(inner)
    if not hasattr(error, "exceptions"):
        yield error


def _complain(name: str, reason: object, code: int) -> int:
    print(f"{name}: {told(reason)}", file=sys.stderr)
    return code


def _version() -> str:
    try:
        return version("ringproto")
    except PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
