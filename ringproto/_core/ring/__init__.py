"""One ring: its token, what a visit of the token does, and how much is sent."""
