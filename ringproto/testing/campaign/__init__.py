"""One seed, one history, one verdict: settings, faults, bounds and coverage of random runs."""
