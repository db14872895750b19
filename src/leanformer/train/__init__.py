"""Training: recipe, objectives, schedule, checkpoints, loop."""
