"""Many experiments: sweeps, populations in one compiled step, searches, and where they run."""
