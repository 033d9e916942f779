"""Programs with one mistake each, and the processes in which seeds and tests run on them."""
