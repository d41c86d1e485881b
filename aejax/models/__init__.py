"""Flax modules from features to features. They know neither audio nor training."""
