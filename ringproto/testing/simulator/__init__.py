"""The simulated world: virtual time, a network, machines with their applications, and what is seen of them."""
