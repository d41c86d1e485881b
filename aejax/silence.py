"""Digital silence: where it is in audio, and how decoded audio becomes it."""

import numpy as np

# Below half a step of 24 bits there is no sample, only what resampling makes of zeros.
_FAINTEST = 2.0**-24
_FADE_SECONDS = 0.005


def frames(audio: np.ndarray, count: int, block: int, overlap: int) -> np.ndarray:
    """Which latent frames are of digital silence, bool ``[rows, latent_frames]``.

    Args:
      audio: ``[rows, samples, *channels]``, silent from its end on.
      count: latent frames.
      block: samples that each stands for.
      overlap: blocks on either side that have to be silent too.
    """
    peak = np.abs(audio).reshape(*audio.shape[:2], -1).max(axis=2)[:, : count * block]
    peak = np.pad(peak, ((0, 0), (0, count * block - peak.shape[1])))
    is_loud = peak.reshape(len(audio), count, block).max(axis=2) > _FAINTEST
    loud = np.pad(np.cumsum(is_loud, axis=1), ((0, 0), (1, 0)))  # among the first 0, 1, ... frames
    at = np.arange(count)
    first, last = np.maximum(at - overlap, 0), np.minimum(at + overlap + 1, count)
    return loud[:, last] == loud[:, first]


def gated(audio: np.ndarray, silent: np.ndarray, kept: slice, sample_rate: int) -> np.ndarray:
    """Audio with silent latent frames at zero, faded over 5 ms where sound begins or ends.

    Args:
      audio: ``[rows, samples, *channels]``, of the latent frames ``kept``.
      silent: ``[rows, latent_frames]``, of the whole sound.
      kept: of them.
      sample_rate: Hz.
    """
    if not silent[:, kept].any():
        return audio
    beside = np.pad(silent, ((0, 0), (1, 1)), constant_values=True)
    before, after = beside[:, kept], beside[:, 2:][:, kept]
    count = kept.stop - kept.start
    block = audio.shape[1] // count
    size = min(int(_FADE_SECONDS * sample_rate), block // 2)
    fade = np.zeros(block, np.float32)
    fade[:size] = np.cos(np.linspace(0, np.pi / 2, size, endpoint=False)) ** 2
    edges = np.where(before[..., None], 0, fade) + np.where(after[..., None], 0, fade[::-1])
    gain = np.where(silent[:, kept, None], edges, np.float32(1)).reshape(len(audio), -1)
    return audio * gain.reshape(*gain.shape, *[1] * (audio.ndim - 2))
