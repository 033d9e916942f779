"""Who is on the ring: one module for each state of a processor, and what these work on."""
