"""``make mutants``: the command of these, on its own."""

from __future__ import annotations

import sys

from mutants.command import main

if __name__ == "__main__":
    sys.exit(main())
