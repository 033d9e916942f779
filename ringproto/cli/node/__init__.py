"""``ringproto node``: one processor for trying it by hand."""
