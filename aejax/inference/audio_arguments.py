"""Checks of audio and latents that a caller passes."""

import os
from typing import Any, NamedTuple

import numpy as np

from aejax.data import audio_file
from aejax.data.audio_file import UnusableAudio
from aejax.data.examination import HIGHEST_RATE, LOUDEST, LOWEST_RATE, examine
from aejax.runtime import files
from aejax.runtime.errors import printable
from aejax.signal.arguments import whole_number

# A batch with more than 16 rows, and 4 times more rows than samples, is taken for transposed.
_MANY_ROWS, _ROWS_PER_SAMPLE = 16, 4


class Sound(NamedTuple):
    """Audio that a caller passes.

    Attributes:
      rows: float32 ``[rows, samples, *channels]``.
      is_batch: whether it has an axis of rows.
      sample_rate: Hz.
    """

    rows: np.ndarray
    is_batch: bool
    sample_rate: int


def sound(audio: Any, sample_rate: Any, channels: int, default_rate: int) -> Sound:
    """The audio of an array or of a file.

    Args:
      audio: as for `rows`; or the path of a file, whose channels are rows for a mono model, unless
        there is only one.
      sample_rate: Hz, of an array; None for ``default_rate``.
      channels: 1 or 2.
      default_rate: Hz.

    Raises:
      ValueError: the audio is invalid, the file cannot be used, or it has a sample rate already.
    """
    if not isinstance(audio, str | os.PathLike):
        sample_rate = rate(sample_rate, default_rate)
        return Sound(*rows(audio, channels), sample_rate)
    path = files.expand(audio)
    try:
        info = examine(path)
        with audio_file.opened(path, seeks=info.seeks) as file:
            array = np.concatenate(list(audio_file.read_blocks(file)))
    except UnusableAudio as error:
        raise ValueError(f"audio: {printable(str(path))}: {error}") from None
    if sample_rate is not None:
        raise ValueError(f"sample_rate: {printable(str(path))} has its own; leave it out")
    if channels == 2 and info.channels > 2:
        raise ValueError(
            f"audio: {printable(str(path))} has {info.channels} channels, the model 2; mix it down"
        )
    if channels == 2:
        array = audio_file.mix(array, "stereo")
    else:
        array = array[:, 0] if info.channels == 1 else array.T
    return Sound(*rows(array, channels), info.sample_rate)


def rate(sample_rate: Any, default: int) -> int:
    """A sample rate in Hz as ``int``; ``default`` for None.

    Raises:
      ValueError: it is not a sample rate of audio.
    """
    if sample_rate is None:
        return default
    return whole_number("sample_rate", sample_rate, least=LOWEST_RATE, most=HIGHEST_RATE)


def rows(audio: Any, channels: int) -> tuple[np.ndarray, bool]:
    """Audio as float32 ``[rows, samples, *channels]``, and whether it is a batch.

    Args:
      audio: ``[samples]`` or ``[rows, samples]``; with a last axis of 2 for two channels.
      channels: 1 or 2.

    Raises:
      ValueError: its shape, type or values are not those of audio.
    """
    array = _floats("audio", audio, "full scale at 1; divide integers of 16 bits by 32768")
    ndim = 1 if channels == 1 else 2
    shape = "[samples]" if channels == 1 else "[samples, 2]"
    is_valid = array.ndim in (ndim, ndim + 1) and array.size > 0
    if not is_valid or (ndim == 2 and array.shape[-1] != 2):
        transposed = ndim == 2 and array.ndim > 1 and array.shape[-2] == 2
        raise ValueError(
            f"audio must be {shape}, or a batch of such rows, with at least one sample;"
            f" its shape is {list(array.shape)}" + ("; transpose it" if transposed else "")
        )
    is_batch = array.ndim == ndim + 1
    array = array if is_batch else array[None]
    count, samples = array.shape[:2]
    if count > max(_MANY_ROWS, _ROWS_PER_SAMPLE * samples):
        hint = "; if it is [samples, channels], transpose it" if ndim == 1 else ""
        raise ValueError(
            f"audio has {count:,} rows of {samples:,} samples each, {list(array.shape)}{hint}"
        )
    for row in array:
        if not np.isfinite(row).all():
            raise ValueError("audio has samples that are not finite")
        loudest = max(float(row.max()), -float(row.min()))  # LOUDEST is no float16
        if loudest > LOUDEST:
            raise ValueError(
                f"audio has a peak of {loudest:g}; full scale is 1, the highest peak {LOUDEST:g}"
            )
    return array.astype(np.float32), is_batch


def latents(array: Any, dim: int) -> tuple[np.ndarray, bool]:
    """Latents as float32 ``[rows, latent_frames, latent_dim]``, and whether they are a batch.

    Raises:
      ValueError: they have another shape or type, or are not finite.
    """
    checked = _floats("latents", array, "as encode returns them")
    if checked.ndim not in (2, 3) or checked.shape[-1] != dim or not checked.size:
        raise ValueError(
            f"latents must be [latent_frames, {dim}] or [batch, latent_frames, {dim}], not"
            f" {list(checked.shape)}"
        )
    with np.errstate(over="ignore"):
        checked = checked.astype(np.float32)
    if not np.isfinite(checked).all():
        raise ValueError("latents are not all finite")
    is_batch = checked.ndim == 3
    return (checked if is_batch else checked[None]), is_batch


def _floats(name: str, values: Any, rule: str) -> np.ndarray:
    try:
        array = np.asarray(values)
    except Exception as error:  # an object's conversion may raise anything
        reason = " ".join(str(error).split())[:100]
        raise ValueError(f"{name} cannot be converted to an array ({reason})") from None
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"{name} must be floats, {rule}; got {array.dtype}")
    return array
