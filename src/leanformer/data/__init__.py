"""Data: corpora through lhotse, cached waveforms, and batches that any step can be asked for."""
