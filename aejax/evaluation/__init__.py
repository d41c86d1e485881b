"""Evaluation of codecs: metrics, probes, latent maps and audio examples."""
