"""Text: transcripts made uniform, and word-pieces in and out."""
