"""Acceptance rules: how what was drafted is coupled with what is wanted."""
