"""Log-mel features: one definition, a torch version for training and a torch-free one for streaming."""
