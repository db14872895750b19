"""Finding a model for a budget, by the cost meter alone."""
