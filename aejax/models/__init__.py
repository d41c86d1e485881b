"""Models: encoders, bottlenecks and decoders, put together as autoencoders; and PCA."""

from aejax.models import bottlenecks, encoders

__all__ = ["bottlenecks", "encoders"]
