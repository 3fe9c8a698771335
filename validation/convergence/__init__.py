"""Convergence of chains: what ArviZ does not compute. For R-hat (also nested), ESS and MCSE use ``arviz_stats``."""
