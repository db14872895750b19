"""From the model's log-probabilities to tokens: searches that keep their state in a value."""
