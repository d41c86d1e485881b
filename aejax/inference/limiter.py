"""A limiter: bounds the peaks of decoded audio by those of its input, block by block.

For an input unlike its training data, a network's output may be a hundred times as loud.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Float

HEADROOM_DB = 2.0
_HEADROOM = 10 ** (HEADROOM_DB / 20)


class PeakMeter:
    """Records the peak of each block of a sound while it is read.

    Args:
      read: ``read(start, count)``, samples ``[rows, count, *channels]``; ``start`` is the first
        sample of a block.
      block: samples.
    """

    def __init__(self, read: Callable[[int, int], np.ndarray], block: int):
        self._read, self._block = read, block
        self._peaks: dict[int, np.ndarray] = {}

    def read(self, start: int, count: int) -> np.ndarray:
        """The samples, unchanged."""
        audio = self._read(start, count)
        for index, peak in enumerate(block_peaks(audio, self._block).T):
            # The last block of a window may be incomplete.
            number = start // self._block + index
            self._peaks[number] = np.maximum(self._peaks.get(number, peak), peak)
        return audio

    def ceilings(self, blocks: int, spread: int) -> Float[np.ndarray, "rows blocks"]:
        """Peak limit of each block: `HEADROOM_DB` above the highest peak of the blocks at most
        ``spread`` away. Blocks that were not read count as silent."""
        silence = np.zeros_like(self._peaks[0])
        peaks = np.stack([self._peaks.get(number, silence) for number in range(blocks)], axis=1)
        padded = np.pad(peaks, ((0, 0), (spread, spread)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * spread + 1, axis=1)
        return ceiling(windows.max(-1))


def ceiling(peaks: np.ndarray) -> np.ndarray:
    """Peak limits, `HEADROOM_DB` above the peaks of the input."""
    return peaks * np.float32(_HEADROOM)


def block_peaks(audio: np.ndarray, block: int) -> Float[np.ndarray, "rows blocks"]:
    """The maximum magnitude in each block of ``[rows, samples, *channels]``, over all channels; the
    last block may be shorter."""
    magnitude = np.abs(audio.reshape(*audio.shape[:2], -1)).max(-1)
    starts = np.arange(0, audio.shape[1], block)
    return np.maximum.reduceat(magnitude, starts, axis=1)


def limit(
    chunks: Iterable[np.ndarray], ceilings: Float[np.ndarray, "rows blocks"], block: int
) -> Iterator[np.ndarray]:
    """Audio in chunks, attenuated where a block exceeds its ceiling.

    Each block has a gain of at most 1. Gains are interpolated linearly between blocks, and never
    exceed the gain of the block.

    Args:
      chunks: float32 ``[rows, samples, *channels]`` of whole blocks, one after another.
      ceilings: of each block.
      block: samples.
    """
    done = 0
    last: np.ndarray | None = None  # the last block, whose gain depends on the next
    before = np.ones((len(ceilings), 1))
    for audio in chunks:
        audio = audio if last is None else np.concatenate([last, audio], axis=1)
        blocks = audio.shape[1] // block
        gains = _gains(block_peaks(audio, block), ceilings[:, done : done + blocks])
        if last is None:
            before = gains[:, :1]
        ends = np.minimum(gains[:, :-1], gains[:, 1:])
        edges = np.concatenate([before, ends], axis=1)
        last, before = audio[:, -block:], edges[:, -1:]
        if blocks > 1:
            yield _ramped(audio[:, :-block], edges, block)
        done += blocks - 1
    if last is not None:
        gain = _gains(block_peaks(last, block), ceilings[:, done : done + 1])
        yield _ramped(last, np.concatenate([before, gain], axis=1), block)


def _gains(peaks: np.ndarray, ceilings: np.ndarray) -> np.ndarray:
    return np.where(peaks > ceilings, ceilings / np.where(peaks > 0, peaks, 1), 1.0)


def _ramped(audio: np.ndarray, edges: np.ndarray, block: int) -> np.ndarray:
    """Audio with gains interpolated linearly between the edges of blocks."""
    if (edges == 1).all():
        return audio
    along = np.arange(block) / block
    ramps = edges[:, :-1, None] + along * (edges[:, 1:] - edges[:, :-1])[:, :, None]
    gain = ramps.reshape(len(audio), -1, *[1] * (audio.ndim - 2))
    return (audio * gain).astype(np.float32)
