"""Passes that take a trained model and return a smaller or faster one; the given model is never changed."""
