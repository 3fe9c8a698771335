"""Samplers that propose from normalizing flows."""
