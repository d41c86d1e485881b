"""How a sound of any length is cut into windows that a network goes through one by one."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from aejax.models.blocks import Reach


class Windows(NamedTuple):
    """How a sound of any length is cut up, in latent frames.

    Attributes:
      before, after: of context, at least.
      content: the most that is kept of one window.
      fixed: whether every window has that much content; shorter sounds have shorter ones otherwise.
    """

    before: int
    content: int
    after: int
    fixed: bool

    def over(self, total: int) -> Iterator[tuple[slice, slice]]:
        """For each window, where it lies, and what is kept of it; there may be more than
        ``total``, at the end."""
        content = self.content
        if not self.fixed:  # Not each length by itself: every size is compiled.
            content = min(content, 2 ** math.ceil(math.log2(max(total, 1))))
        size = self.before + content + self.after
        for start in range(0, total, content):
            begin = max(0, start - self.before)
            yield slice(begin, begin + size), slice(start, min(start + content, total))


def windows(reach: Reach, edge: int, excerpt: int, most: int) -> Windows:
    """Windows for what reaches so far.

    Args:
      reach: of a network, in latent frames.
      edge: latent frames at either end that hear a cut, apart from the network.
      excerpt: latent frames of a training excerpt.
      most: latent frames of content.
    """
    endless = [math.isinf(steps) for steps in reach]
    given = excerpt // 2 // max(sum(endless), 1)
    before, after = (
        (given if forever else int(steps)) + edge
        for forever, steps in zip(endless, reach, strict=True)
    )
    if not any(endless):
        return Windows(before, most, after, fixed=False)
    content = max(1, min(most, excerpt - sum(endless) * given))
    return Windows(before, content, after, fixed=True)
