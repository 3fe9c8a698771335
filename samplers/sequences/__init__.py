"""Autoregressive models, and exact generation from them and from laws made of them."""
