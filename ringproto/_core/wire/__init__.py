"""Datagrams: their layout, their encoding, and the decoding of untrusted bytes."""
