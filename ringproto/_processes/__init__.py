"""A command and the processes that it starts: JSON lines between them, transports, signals, and how they fail.

Chaos, the demonstration and the latency measurements use it. It knows the public interface of ringproto.
"""
