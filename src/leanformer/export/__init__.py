"""From a trained model to a verified bundle that runs without torch."""
