"""Results and audio in; tables and pictures out. No jax."""
