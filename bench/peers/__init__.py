"""What ringproto is measured against. Each module has systems for the suite; members are programs of their own."""
