"""Gibbs samplers: exact draws of blocks, and compiled sweeps of spin systems."""
