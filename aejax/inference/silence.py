"""Digital silence: its detection in audio, and a gate for decoded audio."""

import numpy as np

# Half a step of 24-bit audio; resampled zeros are below it.
_FAINTEST = 2.0**-24
_FADE_SECONDS = 0.005


def frames(audio: np.ndarray, count: int, block: int, overlap: int) -> np.ndarray:
    """Mask of latent frames of digital silence, bool ``[rows, latent_frames]``.

    Args:
      audio: ``[rows, samples, *channels]``; silence follows it.
      count: latent frames.
      block: samples of a latent frame.
      overlap: number of blocks on either side that must be silent too.
    """
    peak = np.abs(audio).reshape(*audio.shape[:2], -1).max(axis=2)[:, : count * block]
    peak = np.pad(peak, ((0, 0), (0, count * block - peak.shape[1])))
    is_loud = peak.reshape(len(audio), count, block).max(axis=2) > _FAINTEST
    # The number of loud frames among the first 0, 1, ...
    loud_before = np.pad(np.cumsum(is_loud, axis=1), ((0, 0), (1, 0)))
    index = np.arange(count)
    first, last = np.maximum(index - overlap, 0), np.minimum(index + overlap + 1, count)
    return loud_before[:, last] == loud_before[:, first]


def gated(audio: np.ndarray, silent: np.ndarray, part: slice, sample_rate: int) -> np.ndarray:
    """Audio with silent latent frames set to zero, with fades of 5 ms at their edges.

    Args:
      audio: ``[rows, samples, *channels]``, of the latent frames ``part``.
      silent: ``[rows, latent_frames]``, of the whole sound.
      part: latent frames of ``audio``.
      sample_rate: Hz.
    """
    if not silent[:, part].any():
        return audio
    padded = np.pad(silent, ((0, 0), (1, 1)), constant_values=True)
    before, after = padded[:, part], padded[:, 2:][:, part]
    count = part.stop - part.start
    block = audio.shape[1] // count
    size = min(int(_FADE_SECONDS * sample_rate), block // 2)
    fade = np.zeros(block, np.float32)
    fade[:size] = np.cos(np.linspace(0, np.pi / 2, size, endpoint=False)) ** 2
    edges = np.where(before[..., None], 0, fade) + np.where(after[..., None], 0, fade[::-1])
    gain = np.where(silent[:, part, None], edges, np.float32(1)).reshape(len(audio), -1)
    return audio * gain.reshape(*gain.shape, *[1] * (audio.ndim - 2))
