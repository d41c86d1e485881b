"""Latents in few bits: what is known of them from training, quantisation, and a range coder.

A latent frame is predicted from the one before it, linearly; what is left is rounded to steps and
coded by a Laplace distribution whose width follows what was left lately. Encoder and decoder take
the same way through the same numbers, frame by frame.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from aejax.errors import UserError
from aejax.runtime import arrays

FILE = "coding.npz"
_REMEDY = "delete results.json beside it and start the run again to have it written anew"
# Rounded values go from -_MOST to _MOST; what is beyond is cut there.
_MOST = 2**13 - 1
# After so many latent frames comes a byte that has to be right. It also bounds what a few bytes can
# claim to stand for.
CHECKED = 8
# How likely it is that digital silence begins, or ends, with a latent frame.
_CHANGES = 1 / 256
# Statistics are smaller than this, and where they are above 0, larger than its inverse: what is
# computed of them is finite.
_MOST_STATISTIC = 1e9
# How much of the width of the distribution is of training, of this latent lately, of all latents
# just now; and how fast the latter two forget.
_SHARES = (0.1, 0.4, 0.5)
_KEPT = (0.8, 0.5)


class DamagedCode(Exception):
    """Bytes that are not what the encoder made."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What is known of latents from training, float64.

    Attributes:
      transition: ``[latent_dim, latent_dim]``, by which a latent frame predicts the next.
      offset: ``[latent_dim]``, added to that.
      spread: ``[latent_dim]``, mean magnitude of what the prediction leaves.
      steps: ``[latent_dim]``, how far each latent may be off for equal errors of the features.
    """

    transition: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    steps: np.ndarray


class _Moments:
    """Second moments of latent frames and those before them."""

    def __init__(self, size: int):
        self.count = 0
        self.sums = np.zeros((2 * size + 1, 2 * size + 1))

    def add(self, latents: np.ndarray) -> None:
        """Takes in one sequence, ``[latent_frames, latent_dim]``."""
        ones = np.ones((max(len(latents) - 1, 0), 1))
        rows = np.concatenate([ones, latents[:-1], latents[1:]], axis=1, dtype=np.float64)
        self.sums += rows.T @ rows
        self.count += len(rows)


# Of the mean square of a latent: pulls the prediction towards none where there is little to learn
# it from.
_RIDGE = 1e-3


def steps_of(sensitivity: np.ndarray) -> np.ndarray:
    """Steps of equal errors of the features, 1 in the geometric mean.

    Args:
      sensitivity: ``[latent_dim]``, how strongly features react to each latent.
    """
    # What hardly matters is not rounded away altogether.
    known = np.maximum(sensitivity.astype(np.float64), 1e-3 * max(float(sensitivity.max()), 1e-30))
    return np.exp(np.log(known).mean()) / known


def fit(sequences: Iterable[np.ndarray], steps: np.ndarray) -> Statistics:
    """What is to be known of latents.

    Args:
      sequences: latents ``[latent_frames, latent_dim]``, each without a gap.
      steps: ``[latent_dim]``, that they are rounded to.
    """
    size = len(steps)
    moments, kept = _Moments(size), []
    for latents in sequences:
        moments.add(latents)
        kept.append(latents)
    count = max(moments.count, 1)
    sums = moments.sums / count
    known, wanted = sums[: size + 1, : size + 1], sums[: size + 1, size + 1 :]
    pull = _RIDGE * np.diag(np.concatenate([[0.0], np.diag(known)[1:] + 1e-9]))
    found = np.linalg.lstsq(known + pull, wanted, rcond=None)[0]
    offset, transition = found[0], found[1:].T
    left = np.concatenate([later(each, transition, offset) for each in kept])
    spread = np.abs(left).mean(axis=0) if len(left) else np.ones(size)
    return Statistics(transition, offset, np.maximum(spread, 1e-6), steps.astype(np.float64))


def later(latents: np.ndarray, transition: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """What the prediction leaves of all but the first."""
    return latents[1:] - (latents[:-1] @ transition.T + offset)


def save(path: Path, **of: Statistics) -> None:
    """Writes statistics by name, whole or not at all."""
    found = {
        f"{name}.{field.name}": getattr(statistics, field.name)
        for name, statistics in of.items()
        for field in dataclasses.fields(Statistics)
    }
    arrays.save(path, {}, found)


def load(path: Path, name: str, latent_dim: int) -> Statistics:
    """Reads what `save` wrote; only arrays, never objects.

    Raises:
      UserError: it is not there, or not what `save` writes.
    """
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("offset", "spread", "steps"), (latent_dim,))
    shapes["transition"] = (latent_dim, latent_dim)
    if not os.path.lexists(path):
        raise UserError(
            f"{path} is missing: the run is from before latents could be coded; train it again"
        )
    _, everything = arrays.load(path, remedy=_REMEDY)
    found: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        array = everything.get(f"{name}.{key}")
        good = array is not None and array.shape == shape and array.dtype == np.float64
        # False for NaN, too.
        if array is None or not good or not (np.abs(array) <= _MOST_STATISTIC).all():
            raise UserError(f"{path} is damaged ({name}.{key}); {_REMEDY}")
        if key in ("spread", "steps") and array.min() < 1 / _MOST_STATISTIC:
            raise UserError(f"{path} is damaged ({name}.{key}); {_REMEDY}")
        found[key] = array
    return Statistics(**found)


@runtime_checkable
class FrameModel(Protocol):
    """What is expected of the integers of the next latent frame."""

    def family(self, models: Any) -> Any:
        """Of distributions, one of constriction's ``models``."""

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Of the family, for each integer of the frame."""

    def step(self, found: np.ndarray) -> None:
        """Takes in the frame that came."""


class Predictor:
    """Integers that stand for real latents in steps.

    Args:
      statistics: of the latents.
      scale: the size of a step, over ``statistics.steps``.
    """

    def __init__(self, statistics: Statistics, scale: float):
        steps = statistics.steps * scale
        self._transition = statistics.transition * steps / steps[:, None]
        self._offset = statistics.offset / steps
        self._spread = statistics.spread / steps
        self._mean = self._offset
        self._lately = np.ones_like(steps)
        self._now = 1.0

    def family(self, models: Any) -> Any:
        """Laplace's."""
        return models.QuantizedLaplace(-_MOST, _MOST)

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Mean and width. Rounded, so that the last digits of a sum make no difference."""
        own, lately, now = _SHARES
        width = self._spread * (own + lately * self._lately + now * self._now)
        # Rounding alone leaves a quarter of a step.
        width = np.exp2(np.round(4 * np.log2(np.clip(width + 0.1, 0.05, 4 * _MOST))) / 4)
        return np.round(16 * np.clip(self._mean, -_MOST, _MOST)) / 16, width

    def step(self, found: np.ndarray) -> None:
        """See `FrameModel`."""
        left = np.abs(found - self._mean) / (self._spread + 0.25)
        slow, fast = _KEPT
        self._lately = slow * self._lately + (1 - slow) * left
        self._now = fast * self._now + (1 - fast) * float(left.mean())
        self._mean = self._offset + self._transition @ found.astype(np.float64)


class Entries:
    """Entries of codebooks, by how often each was used in training.

    Args:
      share: ``[codebooks, entries]``, of use.
    """

    def __init__(self, share: np.ndarray):
        # One that was never used may be all the same.
        self._share = share.astype(np.float64) + 0.05 / share.shape[1]

    def family(self, models: Any) -> Any:
        """Any distribution."""
        return models.Categorical(perfect=False)

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Shares."""
        return (self._share,)

    def step(self, found: np.ndarray) -> None:
        """Frames are taken to have nothing to do with each other."""


def quantise(latents: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Latents to integers, in steps ``[latent_dim]``."""
    return np.clip(np.round(latents / steps), -_MOST, _MOST).astype(np.int32)


def dequantise(integers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Integers to latents, float32."""
    return (integers * steps).astype(np.float32)


def encode(
    integers: np.ndarray, model: Callable[[], FrameModel], silent: np.ndarray | None = None
) -> bytes:
    """Bytes of integers, by a new model for each row.

    Args:
      integers: ``[rows, latent_frames, width]``.
      model: makes a model of what comes.
      silent: bool ``[rows, latent_frames]``, frames whose integers are left out; None for none.
    """
    stream = _constriction().stream
    encoder, byte = stream.queue.RangeEncoder(), stream.model.Uniform(256)
    changes = stream.model.Bernoulli(_CHANGES, perfect=False)
    for number, row in enumerate(integers):
        frame, was_silent = model(), False
        family = frame.family(stream.model)
        for index, values in enumerate(row):
            is_silent = silent is not None and bool(silent[number, index])
            if silent is not None:
                encoder.encode(np.asarray([is_silent != was_silent], np.int32), changes)
                was_silent = is_silent
            if not is_silent:
                encoder.encode(values, family, *frame.parameters())
                frame.step(values)
            if _checked(index, len(row)):
                encoder.encode(_check(values * (not is_silent)), byte)
    return encoder.get_compressed().astype("<u4").tobytes()


def decode(
    payload: bytes,
    rows: int,
    frames: int,
    width: int,
    model: Callable[[], FrameModel],
    *,
    has_silence: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The integers that `encode` was given, 0 in silent frames; and which these are.

    Args:
      payload: of `encode`.
      rows, frames, width: shape of the integers.
      model: as for `encode`.
      has_silence: whether `encode` was told which frames are silent.

    Raises:
      DamagedCode: it is not what was encoded by that model.
    """
    if rows * (frames // CHECKED) > len(payload) + 8 or len(payload) % 4:
        raise DamagedCode("it is too short for what it is to stand for")
    stream = _constriction().stream
    integers, silent = np.zeros((rows, frames, width), np.int32), np.zeros((rows, frames), bool)
    byte, changes = stream.model.Uniform(256), stream.model.Bernoulli(_CHANGES, perfect=False)
    with _damage():
        decoder = stream.queue.RangeDecoder(np.frombuffer(payload, "<u4").astype(np.uint32))
        for row, is_silent in zip(integers, silent, strict=True):
            frame = model()
            family = frame.family(stream.model)
            for index in range(frames):
                if has_silence:
                    was_silent = index > 0 and is_silent[index - 1]
                    is_silent[index] = bool(decoder.decode(changes)) != was_silent
                if not is_silent[index]:
                    row[index] = decoder.decode(family, *frame.parameters())
                    frame.step(row[index])
                if _checked(index, frames) and decoder.decode(byte) != _check(row[index])[0]:
                    raise DamagedCode("it does not decode to what was coded")
    return integers, silent


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """What constriction raises at nonsense, as `DamagedCode`; its panics too, which are no
    `Exception`."""
    try:
        yield
    except BaseException as error:
        known = isinstance(error, AssertionError | ValueError | OverflowError)
        if not known and type(error).__name__ != "PanicException":
            raise
        reason = " ".join(str(error).split())[:100]
        raise DamagedCode(f"it does not decode ({reason})") from None


def _checked(index: int, frames: int) -> bool:
    return index % CHECKED == CHECKED - 1 or index == frames - 1


def _check(values: np.ndarray) -> np.ndarray:
    return np.asarray([int(values.sum()) & 255], np.int32)


def _constriction() -> Any:
    try:
        import constriction
    except ImportError:
        raise UserError("this needs constriction: pip install 'aejax[compress]'") from None
    return constriction
