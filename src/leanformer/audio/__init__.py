"""Sound files and live streams, turned into float32 mono samples in [-1, 1] at one rate."""
