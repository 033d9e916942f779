"""Rounds of real chaos: real processes on real sockets, which are killed, stopped, cut off, and then judged.

The command ``ringproto chaos`` is in ``ringproto.cli.chaos``.
"""
