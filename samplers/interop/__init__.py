"""Interoperation: kernels of this library inside NumPyro, and models of NumPyro as targets here."""
