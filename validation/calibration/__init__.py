"""Calibration: whether posterior draws and the parameter that made the data could change places."""
