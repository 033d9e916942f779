"""``ringproto simulate``: many histories of a simulated ring, or one of them step by step."""
