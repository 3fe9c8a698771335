"""Samplers for a target whose factors are held by agents that talk to their neighbours only."""
