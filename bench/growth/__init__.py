"""How ringproto grows: with processors, with time, with loss, with the size of messages."""
