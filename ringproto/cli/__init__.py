"""The commands of ``ringproto``, each a module with ``add_parser(subparsers)`` and ``run(args) -> int``.

They stand on the public interface and on ``ringproto._processes``. ``chaos`` is a module; ``demo``,
``latency``, ``node`` and ``simulate`` are folders, whose ``command`` is that module and whose other modules belong to
it. They promise nothing to programs outside.
"""
