"""Acceptance rules for drafts from laws with densities."""
