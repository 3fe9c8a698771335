"""Slice samplers: kernels that draw a height under the density and move inside the slice above it."""
