"""Messages into packets, and packets in order into messages."""
