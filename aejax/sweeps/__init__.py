"""Sweeps and searches of experiments, populations in one compiled step, and launchers."""
