"""The transducer: predictor, joiner, and the loss over all alignments."""
