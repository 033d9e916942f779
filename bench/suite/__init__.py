"""The benchmark suite: ``python -m bench.suite``, or ``make bench``. docs/performance.md says how it measures."""
