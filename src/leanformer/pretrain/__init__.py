"""Self-supervised pre-training: an encoder learns from audio without transcripts."""
