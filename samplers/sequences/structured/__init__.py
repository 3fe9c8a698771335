"""Draws from laws on tokens and strings that are arranged, not independent: codes, subsets, truncations, orders."""
