"""The trio service: one processor, driven by a transport and a clock, as channels."""
