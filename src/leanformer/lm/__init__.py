"""Building language models: counting, smoothing, pruning, reading ARPA files."""
