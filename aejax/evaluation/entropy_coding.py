"""Entropy coding of latents: statistics from training, quantisation, and a range coder.

Each latent frame is predicted linearly from the previous one. The residual is quantised and coded
by a Laplace distribution whose width adapts to recent residuals. Encoder and decoder adapt alike.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from aejax.runtime import arrays
from aejax.runtime.errors import UserError

FILE = "coding.npz"
_REMEDY = "delete results.json in the same folder and repeat the run's command to rewrite it"
# Quantised values are clipped to -_MOST.._MOST.
_MOST = 2**13 - 1
# Of a value of the least probability.
_MOST_BITS = 24
FINEST, COARSEST = 2.0**-7, 2.0**7  # step sizes, in standard deviations of the latents
# The search for a step size ends after 14 rounds, or at 98 % of the requested rate.
_ROUNDS, _NEAR = 14, 0.98
# Latent frames per check byte. It also bounds the frames that a short payload can declare.
CHECKED = 8
# Probability that digital silence begins or ends at a latent frame.
_CHANGES = 1 / 256
# Limit of statistics; positive ones are at least its inverse. Results stay finite.
_MOST_STATISTIC = 1e9
# The width of the distribution is a weighted sum of residuals: in training, recent ones of this
# latent, recent ones of all latents. The last two decay at these rates.
_WIDTH_WEIGHTS = (0.1, 0.4, 0.5)
_DECAYS = (0.8, 0.5)


class DamagedCode(Exception):
    """Bytes that are not a valid code."""


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Statistics of latents from training, float64.

    Attributes:
      transition: ``[latent_dim, latent_dim]``, linear prediction of the next latent frame.
      offset: ``[latent_dim]``, offset of the prediction.
      spread: ``[latent_dim]``, mean magnitude of the residual.
      steps: ``[latent_dim]``, step sizes for equal errors of the features.
    """

    transition: np.ndarray
    offset: np.ndarray
    spread: np.ndarray
    steps: np.ndarray


class _Moments:
    """Second moments of pairs of successive latent frames."""

    def __init__(self, size: int):
        self.count = 0
        self.sums = np.zeros((2 * size + 1, 2 * size + 1))

    def add(self, latents: np.ndarray) -> None:
        """Adds one sequence, ``[latent_frames, latent_dim]``."""
        ones = np.ones((max(len(latents) - 1, 0), 1))
        rows = np.concatenate([ones, latents[:-1], latents[1:]], axis=1, dtype=np.float64)
        self.sums += rows.T @ rows
        self.count += len(rows)


# Ridge penalty of the prediction, relative to the mean square of a latent.
_RIDGE = 1e-3


def steps_of(sensitivity: np.ndarray) -> np.ndarray:
    """Step sizes for equal errors of the features; their geometric mean is 1.

    Args:
      sensitivity: ``[latent_dim]``, how strongly features react to each latent.
    """
    # The floor bounds the steps of latents with little effect.
    floored = np.maximum(
        sensitivity.astype(np.float64), 1e-3 * max(float(sensitivity.max()), 1e-30)
    )
    return np.exp(np.log(floored).mean()) / floored


def fit(sequences: Iterable[np.ndarray], steps: np.ndarray) -> Statistics:
    """Statistics of latents.

    Args:
      sequences: contiguous latents, ``[latent_frames, latent_dim]`` each.
      steps: ``[latent_dim]``, step sizes.
    """
    size = len(steps)
    moments, retained = _Moments(size), []
    for latents in sequences:
        moments.add(latents)
        retained.append(latents)
    count = max(moments.count, 1)
    sums = moments.sums / count
    gram, cross = sums[: size + 1, : size + 1], sums[: size + 1, size + 1 :]
    penalty = _RIDGE * np.diag(np.concatenate([[0.0], np.diag(gram)[1:] + 1e-9]))
    coefficients = np.linalg.lstsq(gram + penalty, cross, rcond=None)[0]
    offset, transition = coefficients[0], coefficients[1:].T
    residuals = np.concatenate([later(latents, transition, offset) for latents in retained])
    spread = np.abs(residuals).mean(axis=0) if len(residuals) else np.ones(size)
    return Statistics(transition, offset, np.maximum(spread, 1e-6), steps.astype(np.float64))


def later(latents: np.ndarray, transition: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Residuals of the linear prediction, for all frames but the first."""
    return latents[1:] - (latents[:-1] @ transition.T + offset)


def save(path: Path, **of: Statistics) -> None:
    """Writes statistics by name, atomically."""
    content = {
        f"{name}.{field.name}": getattr(statistics, field.name)
        for name, statistics in of.items()
        for field in dataclasses.fields(Statistics)
    }
    arrays.save(path, {}, content)


def load(path: Path, name: str, latent_dim: int) -> Statistics:
    """Statistics that `save` wrote.

    Raises:
      UserError: the file is missing or damaged.
    """
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("offset", "spread", "steps"), (latent_dim,))
    shapes["transition"] = (latent_dim, latent_dim)
    if not os.path.lexists(path):
        raise UserError(
            f"{path} is missing: the run is by an earlier version of aejax; train it again"
        )
    _, content = arrays.load(path, remedy=_REMEDY)
    values: dict[str, np.ndarray] = {}
    for key, shape in shapes.items():
        array = content.get(f"{name}.{key}")
        is_expected = array is not None and array.shape == shape and array.dtype == np.float64
        # This comparison also rejects NaN.
        if array is None or not is_expected or not (np.abs(array) <= _MOST_STATISTIC).all():
            raise UserError(f"{path} is damaged ({name}.{key}); {_REMEDY}")
        if key in ("spread", "steps") and array.min() < 1 / _MOST_STATISTIC:
            raise UserError(f"{path} is damaged ({name}.{key}); {_REMEDY}")
        values[key] = array
    return Statistics(**values)


@runtime_checkable
class FrameModel(Protocol):
    """Distribution of the integers of the next latent frame."""

    def family(self, models: Any) -> Any:
        """Family of distributions, from constriction's ``models``."""

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Parameters of the distribution of each integer in the frame."""

    def step(self, integers: np.ndarray) -> None:
        """Updates the model with a coded frame."""


class Predictor:
    """Frame model of quantised real latents; of several sequences at a time if its frames are
    ``[sequences, latent_dim]``.

    Args:
      statistics: of the latents.
      scale: step size, relative to ``statistics.steps``.
    """

    def __init__(self, statistics: Statistics, scale: float):
        steps = statistics.steps * scale
        self._transition = statistics.transition * steps / steps[:, None]
        self._offset = statistics.offset / steps
        self._spread = statistics.spread / steps
        self._mean = self._offset
        self._recent = np.ones_like(steps)
        self._recent_of_all = np.ones(1)

    def family(self, models: Any) -> Any:
        """The Laplace distribution."""
        return models.QuantizedLaplace(-_MOST, _MOST)

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Mean and width, rounded so that platforms agree."""
        fixed, slow, fast = _WIDTH_WEIGHTS
        width = self._spread * (fixed + slow * self._recent + fast * self._recent_of_all)
        # Quantisation alone has a mean error of a quarter step.
        width = np.exp2(np.round(4 * np.log2(np.clip(width + 0.1, 0.05, 4 * _MOST))) / 4)
        return np.round(16 * np.clip(self._mean, -_MOST, _MOST)) / 16, width

    def step(self, integers: np.ndarray) -> None:
        """See `FrameModel`."""
        residual = np.abs(integers - self._mean) / (self._spread + 0.25)
        slow, fast = _DECAYS
        self._recent = slow * self._recent + (1 - slow) * residual
        self._recent_of_all = fast * self._recent_of_all + (1 - fast) * residual.mean(
            -1, keepdims=True
        )
        self._mean = self._offset + integers.astype(np.float64) @ self._transition.T


class Entries:
    """Frame model of codebook indices, by their frequency in training.

    Args:
      frequency: ``[codebooks, entries]``, relative frequencies.
    """

    def __init__(self, frequency: np.ndarray):
        # Entries that training did not use stay possible.
        self._probability = frequency.astype(np.float64) + 0.05 / frequency.shape[1]

    def family(self, models: Any) -> Any:
        """The categorical distribution."""
        return models.Categorical(perfect=False)

    def parameters(self) -> tuple[np.ndarray, ...]:
        """Probabilities."""
        return (self._probability,)

    def step(self, integers: np.ndarray) -> None:
        """Does nothing: frames are modelled as independent."""


def quantise(latents: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Latents to integers; ``steps`` ``[latent_dim]`` are the step sizes."""
    return np.clip(np.round(latents / steps), -_MOST, _MOST).astype(np.int32)


def dequantise(integers: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Integers to latents, float32."""
    return (integers * steps).astype(np.float32)


def code_length(
    integers: Int[np.ndarray, "sequences frames latent_dim"],
    valid: Bool[np.ndarray, "sequences frames"],
    model: Predictor,
) -> float:
    """Bits that `encode` takes for the valid frames, but for its check bytes; a few in a thousand
    less, which the range coder needs more."""
    bits = 0.0
    for frame, counted in zip(integers.swapaxes(0, 1), valid.T, strict=True):
        mean, width = np.broadcast_arrays(*model.parameters(), frame)[:2]
        distance = np.abs(frame - mean)
        # Of a Laplace distribution from half below to half above, or both sides of its peak.
        beside = np.exp(-distance / width) * np.sinh(0.5 / width)
        across = 1 - np.exp(-0.5 / width) * np.cosh(np.minimum(distance, 0.5) / width)
        probability = np.where(distance < 0.5, across, beside)
        bits -= np.log2(np.maximum(probability, 2.0**-_MOST_BITS))[counted].sum()
        model.step(frame)
    return float(bits)


def finest_scale(rate: Callable[[float], float], most: float) -> float | None:
    """The finest step size, relative to ``Statistics.steps``, with a rate of at most ``most``, by
    regula falsi: the rate is nearly linear in the logarithm of the step size. None if even the
    coarsest has a higher rate.

    Args:
      rate: the rate by step size.
      most: the highest rate, in the same unit.
    """
    coarse, fine = np.log2(COARSEST), np.log2(FINEST)
    low = rate(COARSEST)
    if low > most:
        return None
    high = rate(FINEST)
    if high <= most:
        return FINEST
    best = COARSEST
    for _ in range(_ROUNDS):
        if low >= _NEAR * most:
            break
        fraction = np.clip((most - low) / (high - low), 0.1, 0.9)
        guess = float(2.0 ** (coarse + fraction * (fine - coarse)))
        current = rate(guess)
        if current <= most:
            best, coarse, low = guess, np.log2(guess), current
        else:
            fine, high = np.log2(guess), current
    return best


def encode(
    integers: np.ndarray, model: Callable[[], FrameModel], silent: np.ndarray | None = None
) -> bytes:
    """Range-coded bytes of integers; each row has a new frame model.

    Args:
      integers: ``[rows, latent_frames, width]``.
      model: makes a frame model.
      silent: bool ``[rows, latent_frames]``, mask of silent frames, which are not coded; or None.
    """
    stream = _constriction().stream
    encoder, byte = stream.queue.RangeEncoder(), stream.model.Uniform(256)
    changes = stream.model.Bernoulli(_CHANGES, perfect=False)
    for row_index, row in enumerate(integers):
        frame_model, was_silent = model(), False
        family = frame_model.family(stream.model)
        for index, values in enumerate(row):
            is_silent = silent is not None and bool(silent[row_index, index])
            if silent is not None:
                encoder.encode(np.asarray([is_silent != was_silent], np.int32), changes)
                was_silent = is_silent
            if not is_silent:
                encoder.encode(values, family, *frame_model.parameters())
                frame_model.step(values)
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
    """The coded integers, 0 in silent frames, and the mask of silent frames.

    Args:
      payload: bytes from `encode`.
      rows, frames, width: shape of the integers.
      model: as for `encode`.
      has_silence: whether `encode` had a mask of silent frames.

    Raises:
      DamagedCode: ``payload`` is not a valid code of that model.
    """
    if rows * (frames // CHECKED) > len(payload) + 8 or len(payload) % 4:
        raise DamagedCode("it is shorter than its header declares")
    stream = _constriction().stream
    integers, silent = np.zeros((rows, frames, width), np.int32), np.zeros((rows, frames), bool)
    byte, changes = stream.model.Uniform(256), stream.model.Bernoulli(_CHANGES, perfect=False)
    with _damage():
        decoder = stream.queue.RangeDecoder(np.frombuffer(payload, "<u4").astype(np.uint32))
        for row, is_silent in zip(integers, silent, strict=True):
            frame_model = model()
            family = frame_model.family(stream.model)
            for index in range(frames):
                if has_silence:
                    was_silent = index > 0 and is_silent[index - 1]
                    is_silent[index] = bool(decoder.decode(changes)) != was_silent
                if not is_silent[index]:
                    row[index] = decoder.decode(family, *frame_model.parameters())
                    frame_model.step(row[index])
                if _checked(index, frames) and decoder.decode(byte) != _check(row[index])[0]:
                    raise DamagedCode("a check byte is wrong")
    return integers, silent


@contextlib.contextmanager
def _damage() -> Iterator[None]:
    """Turns constriction's errors into `DamagedCode`; also its panics, which are no `Exception`."""
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
