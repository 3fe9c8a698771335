"""Metropolis-Hastings kernels."""
