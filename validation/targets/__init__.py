"""Targets and models whose truth is known, one kind a file: continuous, finite, and models with a simulator."""
