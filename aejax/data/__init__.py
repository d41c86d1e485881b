"""The host's side: audio files, corpora, the built-in corpus, batches. No jax arrays."""
