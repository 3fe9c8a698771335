"""Acceptance rules for several positions at once: chains of drafts, trees of them, and whole sequences."""
