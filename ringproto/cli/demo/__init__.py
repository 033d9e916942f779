"""``ringproto demo``: a replicated store on real processes, and the checks of its logs."""
