"""Streaming layers: each maps (x, lengths, state) to (y, lengths, state)."""
