"""Samplers that run a diffusion backwards."""
