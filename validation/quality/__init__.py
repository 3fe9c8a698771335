"""Sample quality: how far draws are from a target known by its score, its weights, or a reference sample."""
