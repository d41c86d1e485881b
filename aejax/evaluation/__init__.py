"""Measuring what encodes and decodes."""
