"""Everything that is compiled for training, and what drives it."""
