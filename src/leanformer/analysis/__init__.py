"""What the layers of a trained encoder hold: how alike they are, and what can be read out of them."""
