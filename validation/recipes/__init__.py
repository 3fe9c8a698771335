"""Exact transition matrices of samplers that are no chains on the target's own space."""
