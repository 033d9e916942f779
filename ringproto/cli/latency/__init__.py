"""``ringproto latency``: how long messages take, under a steady load or beside a flood."""
