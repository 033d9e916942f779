"""The commands of ``ringproto``, one module each with ``add_parser(subparsers)`` and ``run(args) -> int``.

They stand on the public interface alone. ``demo``, ``latency``, ``chaos``, ``node`` and ``simulate`` are the commands;
the other modules are theirs and promise nothing to programs outside.
"""
