"""The suite is no part of the package: it is imported from the root of the tree, after everything that is installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
