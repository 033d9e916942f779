"""Where the command ``ringproto`` begins: outside the package, because importing that takes some tenths of a second.

Ctrl-C ends the process meanwhile as it ends any tool that has not begun yet, without a traceback.
"""

from __future__ import annotations

import signal

__all__ = ["main"]


def main() -> int:
    """Run the command of this process; returns its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ringproto.__main__ import main

    return main()
