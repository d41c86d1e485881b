"""Windows over a sound of any length, processed one by one."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from aejax.models.blocks import ReceptiveField


class Windows(NamedTuple):
    """Sizes of the windows over a sound of any length, in latent frames.

    Attributes:
      before, after: context before and after the output.
      content: most output per window.
      fixed: whether all windows have the same size; otherwise short sounds have shorter windows.
    """

    before: int
    content: int
    after: int
    fixed: bool

    def over(self, total: int) -> Iterator[tuple[slice, slice]]:
        """Slices of each window and of its output; the last window may end after ``total``."""
        content = self.content
        if not self.fixed:  # only powers of 2, since each size is compiled
            content = min(content, 2 ** math.ceil(math.log2(max(total, 1))))
        size = self.before + content + self.after
        for start in range(0, total, content):
            begin = max(0, start - self.before)
            yield slice(begin, begin + size), slice(start, min(start + content, total))


def windows(receptive_field: ReceptiveField, edge: int, excerpt: int, most: int) -> Windows:
    """Windows for a receptive field.

    Models with an unbounded receptive field use windows of the training length.

    Args:
      receptive_field: context of a network before and after, in latent frames.
      edge: latent frames at each edge affected by the transforms.
      excerpt: latent frames of a training excerpt.
      most: latent frames of output per window.
    """
    unbounded = [math.isinf(steps) for steps in receptive_field]
    context = excerpt // 2 // max(sum(unbounded), 1)
    before, after = (
        (context if is_unbounded else int(steps)) + edge
        for is_unbounded, steps in zip(unbounded, receptive_field, strict=True)
    )
    if not any(unbounded):
        return Windows(before, most, after, fixed=False)
    content = max(1, min(most, excerpt - sum(unbounded) * context))
    return Windows(before, content, after, fixed=True)
