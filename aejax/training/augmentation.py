"""Changes to the training audio that its description should survive, drawn anew in each step."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from aejax import signal

# How much softer than itself the excerpt is that another is mixed with, dB.
_SOFTEST_DB = -40.0
# Terms of a random equaliser's response: no finer than a third of the axis.
_COSINES = 6


class Augmentation(NamedTuple):
    """How much of each kind, each of them off by default: see ``config.augment``.

    Attributes:
      speed: lowest and highest, log-uniform.
      speed_probability: of being played at another speed than 1 at all.
      mix_probability: of having another excerpt mixed in.
      noise: "none", "white", "pink" or "folder".
      noise_probability: of having it added.
      noise_snr_db: lowest and highest, uniform.
      target: "noisy", or "clean": the noise is in what the model sees, not in what it is to give
        back.
      eq_db: how uneven a random equaliser is.
      gain_db: largest change of level.
      polarity_probability: of being turned over.
      cut_probability: of beginning and ending abruptly, in silence.
      seen_stretch: of the bins that the model sees, lowest and highest, log-uniform.
      seen_eq_db: as ``eq_db``, of what the model sees alone.
      time_masks, time_mask_frames: how many stretches of frames are hidden, and the longest.
      frequency_masks, frequency_mask_bins: the same of bins.
    """

    speed: tuple[float, float] = (1.0, 1.0)
    speed_probability: float = 1.0
    mix_probability: float = 0.0
    noise: str = "none"
    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (0.0, 30.0)
    target: str = "noisy"
    eq_db: float = 0.0
    gain_db: float = 0.0
    polarity_probability: float = 0.0
    cut_probability: float = 0.0
    seen_stretch: tuple[float, float] = (1.0, 1.0)
    seen_eq_db: float = 0.0
    time_masks: int = 0
    time_mask_frames: int = 8
    frequency_masks: int = 0
    frequency_mask_bins: int = 8

    @property
    def apart(self) -> bool:
        """Whether what is heard is another audio than what is to be given back."""
        return self.target == "clean" or self.seen_eq_db > 0

    def span(self, samples: int) -> int:
        """Samples that have to be read for so many to be there at the highest speed."""
        return math.ceil(samples * max(1.0, self.speed[1]))


def from_config(config: ConfigDict) -> Augmentation:
    """What ``config.augment`` of a whole config stands for."""
    keys: dict[str, Any] = config.augment.to_dict()
    del keys["noise_path"]
    for pair in ("speed", "noise_snr_db", "seen_stretch"):
        keys[pair] = tuple(keys[pair])
    return Augmentation(**keys)


class Augmented(NamedTuple):
    """An excerpt that was changed.

    Attributes:
      heard: what the model sees.
      target: what it is to give back: the same, or that without its noise or in another response.
      length: samples of each row before its clip ends.
    """

    heard: Float[Array, "batch samples *channels"]
    target: Float[Array, "batch samples *channels"]
    length: Int[Array, " batch"]


def augment(
    key: jax.Array,
    audio: Float[Array, "batch span *channels"],
    length: Int[Array, " batch"],
    place: Float[Array, " batch"],
    amount: Augmentation,
    *,
    samples: int,
    noise: Float[Array, "batch span *channels"] | None = None,
) -> Augmented:
    """All augmentations of audio, one after the other; behind the end of its clip each row stays
    silent.

    Noise is added to what has been changed already, so that the ratio is as drawn; that from a
    folder is changed in speed and response too, by draws of its own.

    Args:
      key: of this step. Each kind has its own, so that one that is off changes no other.
      audio: more of each clip than is put out, if the speed may be above 1.
      length: samples of each row before its clip ends.
      place: where each row lies in its clip, from 0 to 1.
      amount: of each kind.
      samples: to put out.
      noise: to be added, where ``amount.noise`` is "folder".
    """
    keys = iter(jax.random.split(key, 8))
    speed_key, mix_key, noise_key, eq_key, gain_key, polarity_key, input_eq_key, cut_key = keys
    if amount.speed != (1.0, 1.0):
        audio, length = random_speed(
            speed_key,
            audio,
            length,
            place,
            amount.speed,
            amount.speed_probability,
            samples=samples,
        )
    else:
        audio, length = audio[:, :samples], jnp.minimum(length, samples)
    if amount.mix_probability:
        audio = random_mix(mix_key, audio, amount.mix_probability)
    if amount.eq_db:
        audio = random_eq(eq_key, audio, amount.eq_db)
    audio = signal.until_end(audio, length)
    if amount.polarity_probability:
        audio = random_polarity(polarity_key, audio, amount.polarity_probability)
    if amount.cut_probability:
        audio = random_cut(cut_key, audio, amount.cut_probability)
    heard = audio
    if amount.noise != "none":
        shape_key, level_key = jax.random.split(noise_key)
        if amount.noise == "folder":
            assert noise is not None  # the loader gives it
            noise = _changed_noise(shape_key, noise, amount, samples)
        heard = noisy(shape_key, level_key, audio, length, noise, amount)
    target = audio if amount.target == "clean" else heard
    if amount.seen_eq_db:
        heard = signal.until_end(random_eq(input_eq_key, heard, amount.seen_eq_db), length)
    if amount.gain_db:
        heard, target = random_gain(gain_key, (heard, target), amount.gain_db)
    return Augmented(heard, target, length)


def _changed_noise(
    key: jax.Array,
    noise: Float[Array, "batch span *channels"],
    amount: Augmentation,
    samples: int,
) -> Float[Array, "batch samples *channels"]:
    """Noise from a folder as it would be of another thing of its kind."""
    place_key, speed_key, eq_key = jax.random.split(key, 3)
    rows = noise.shape[0]
    if amount.speed != (1.0, 1.0):
        whole = jnp.full((rows,), noise.shape[1], jnp.int32)
        place = jax.random.uniform(place_key, (rows,))
        noise, _ = random_speed(
            speed_key,
            noise,
            whole,
            place,
            amount.speed,
            amount.speed_probability,
            samples=samples,
        )
    return random_eq(eq_key, noise, amount.eq_db) if amount.eq_db else noise


def noisy(
    shape_key: jax.Array,
    level_key: jax.Array,
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    noise: Float[Array, "batch samples *channels"] | None,
    amount: Augmentation,
) -> Float[Array, "batch samples *channels"]:
    """Audio with the given noise in it, or with coloured noise."""
    if noise is None:
        noise = coloured_noise(shape_key, audio, pink=amount.noise == "pink")
    return add_noise(level_key, audio, length, noise, amount.noise_snr_db, amount.noise_probability)


def _of_rows(values: Float[Array, " batch"], audio: Array) -> Array:
    """One value a row, so that it goes with the audio."""
    return values.reshape(-1, *[1] * (audio.ndim - 1))


def random_speed(
    key: jax.Array,
    audio: Float[Array, "batch span *channels"],
    length: Int[Array, " batch"],
    place: Float[Array, " batch"],
    speed: tuple[float, float],
    probability: float,
    *,
    samples: int,
) -> tuple[Float[Array, "batch samples *channels"], Int[Array, " batch"]]:
    """Each row faster or slower with that probability, pitch and all, by a log-uniform factor.

    A row holds more than is played. What is played lies in it as the row lies in its clip, so that
    all of a clip is heard equally often.

    Returns:
      The audio, and how much of it there is before each clip ends.
    """
    lowest, highest = math.log(speed[0]), math.log(speed[1])
    choice_key, factor_key = jax.random.split(key)
    rows = audio.shape[:1]
    factor = jnp.exp(jax.random.uniform(factor_key, rows, minval=lowest, maxval=highest))
    factor = jnp.where(jax.random.bernoulli(choice_key, probability, rows), factor, 1.0)
    available = length.astype(audio.dtype)
    offset = jnp.floor(place * jnp.maximum(available - samples * factor, 0.0)).astype(jnp.int32)
    # A hair more, so that rounding takes no sample away.
    played = jnp.floor((available - offset.astype(audio.dtype)) / factor + 0.01)
    played = played.astype(length.dtype)
    # A row that has any samples keeps one: a length of 0 is a row that only fills the batch.
    played = jnp.clip(played, jnp.minimum(length, 1), samples)
    channels = jnp.moveaxis(audio.reshape(*audio.shape[:2], -1), 2, 1)
    shape = channels.shape[:2]
    changed = signal.play_at_speed(
        channels,
        jnp.broadcast_to(factor[:, None], shape),
        jnp.broadcast_to(offset[:, None], shape),
        length=samples,
    )
    return jnp.moveaxis(changed, 1, 2).reshape(-1, samples, *audio.shape[2:]), played


def random_mix(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row with the next one added to it, with that probability, 0 to 40 dB softer than it is.

    New mixtures of known sounds: what a corpus of a few minutes lacks most.
    """
    choice_key, level_key = jax.random.split(key)
    rows = (audio.shape[0],)
    chosen = jax.random.bernoulli(choice_key, probability, rows)
    level = jax.random.uniform(level_key, rows, minval=_SOFTEST_DB, maxval=0.0)
    amount = jnp.where(chosen, signal.db_to_amplitude(level), 0.0)
    return audio + _of_rows(amount, audio) * jnp.roll(audio, 1, axis=0)


def coloured_noise(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], *, pink: bool
) -> Float[Array, "batch samples *channels"]:
    """Gaussian noise of the shape of ``audio``: white, or pink, whose power falls by 3 dB an
    octave. Another in each channel."""
    white = jax.random.normal(key, audio.shape, audio.dtype)
    if not pink:
        return white
    spectrum = jnp.fft.rfft(white, axis=1)
    order = jnp.arange(spectrum.shape[1], dtype=audio.dtype)
    amplitude = jnp.where(order > 0, jax.lax.rsqrt(jnp.maximum(order, 1.0)), 0.0)
    return _filtered(spectrum, _along_time(amplitude[None], audio), audio.shape[1])


def add_noise(
    key: jax.Array,
    audio: Float[Array, "batch samples *channels"],
    length: Int[Array, " batch"],
    noise: Float[Array, "batch samples *channels"],
    snr_db: tuple[float, float],
    probability: float,
) -> Float[Array, "batch samples *channels"]:
    """Noise added to each row with that probability, at a signal-to-noise ratio drawn uniformly in
    dB: the power of the row over that of its noise, as far as its clip goes (``length``), which
    is as far as there is noise."""
    choice_key, level_key = jax.random.split(key)
    rows = (audio.shape[0],)
    chosen = jax.random.bernoulli(choice_key, probability, rows)
    ratio_db = jax.random.uniform(level_key, rows, minval=snr_db[0], maxval=snr_db[1])
    axes = tuple(range(1, audio.ndim))
    noise = signal.until_end(noise, length)
    power = jnp.square(signal.until_end(audio, length)).mean(axes)
    noise_power = jnp.square(noise).mean(axes)
    wanted = power * signal.db_to_power(-ratio_db)
    amount = jnp.sqrt(wanted / jnp.where(noise_power > 0, noise_power, 1.0))
    return audio + _of_rows(jnp.where(chosen, amount, 0.0), audio) * noise


def random_eq(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], eq_db: float
) -> Float[Array, "batch samples *channels"]:
    """Each row through a smooth filter of its own, as another microphone or room would sound.

    The response in dB is a random cosine series along a logarithmic frequency axis, whose standard
    deviation over draws, averaged over the axis, is ``eq_db``. The filter has zero phase.
    """
    samples = audio.shape[1]
    frequency = jnp.fft.rfftfreq(samples)  # 0 to 0.5 of the sample rate
    place = jnp.log1p(64 * frequency) / jnp.log1p(32.0)  # 0 to 1
    order = jnp.arange(1, _COSINES + 1, dtype=audio.dtype)
    cosines = jnp.cos(jnp.pi * order[:, None] * place[None])
    spread = eq_db * jnp.sqrt(2 / _COSINES)
    response_db = spread * jax.random.normal(key, (audio.shape[0], _COSINES)) @ cosines
    response = _along_time(signal.db_to_amplitude(response_db), audio)
    return _filtered(jnp.fft.rfft(audio, axis=1), response, samples)


def _along_time(response: Float[Array, "rows bins"], audio: Array) -> Array:
    return response.reshape(*response.shape, *[1] * (audio.ndim - 2))


def _filtered(spectrum: Array, response: Array, samples: int) -> Array:
    """Back in time. Real and imaginary part apart, as there is no complex response to promote."""
    return jnp.fft.irfft(
        jax.lax.complex(spectrum.real * response, spectrum.imag * response), samples, axis=1
    )


def random_gain(
    key: jax.Array, audio: tuple[Float[Array, "batch samples *channels"], ...], gain_db: float
) -> tuple[Float[Array, "batch samples *channels"], ...]:
    """Each row louder or softer by up to ``gain_db``, uniform in dB, in all of these alike."""
    gain = jax.random.uniform(key, audio[0].shape[:1], minval=-gain_db, maxval=gain_db)
    return tuple(x * _of_rows(signal.db_to_amplitude(gain), x) for x in audio)


def random_polarity(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row times -1, with that probability."""
    turned = jax.random.bernoulli(key, probability, audio.shape[:1])
    return audio * _of_rows(jnp.where(turned, -1.0, 1.0), audio)


def random_cut(
    key: jax.Array, audio: Float[Array, "batch samples *channels"], probability: float
) -> Float[Array, "batch samples *channels"]:
    """Each row, with that probability, with silence before a random sample of its first half, after
    one of its second half, or both: onsets and ends as hard as they come."""
    choice_key, start_key, end_key = jax.random.split(key, 3)
    rows, samples = audio.shape[:2]
    chosen = jax.random.bernoulli(choice_key, probability, (rows,))
    # Half of the draws lie beyond the row, and cut nothing.
    start = jax.random.randint(start_key, (rows,), -(samples // 2), samples // 2)
    end = jax.random.randint(end_key, (rows,), samples // 2, 2 * samples - samples // 2)
    sample = jnp.arange(samples)[None]
    sounds = (sample >= start[:, None]) & (sample < end[:, None]) | ~chosen[:, None]
    return jnp.where(sounds.reshape(rows, samples, *[1] * (audio.ndim - 2)), audio, 0.0)


def seen(
    key: jax.Array,
    features: Float[Array, "batch frames bins"],
    fill: Float[Array, " bins"],
    amount: Augmentation,
    *,
    channels: int = 1,
) -> Float[Array, "batch frames bins"]:
    """Features for the model's eyes alone: stretched along frequency, with stretches hidden.

    Args:
      key: of this step.
      features: of what is heard; where their bins are those of several ``channels`` side by side,
        all channels are changed alike.
      fill: what masks are filled with.
      amount: of each kind.
      channels: see there.
    """
    stretch_key, mask_key = jax.random.split(key)
    if amount.seen_stretch != (1.0, 1.0):
        features = random_stretch(stretch_key, features, amount.seen_stretch, channels=channels)
    if amount.time_masks or amount.frequency_masks:
        features = random_masks(mask_key, features, fill, amount, channels=channels)
    return features


def random_stretch(
    key: jax.Array,
    features: Float[Array, "batch frames bins"],
    stretch: tuple[float, float],
    *,
    channels: int = 1,
) -> Float[Array, "batch frames bins"]:
    """Each row with its bins stretched by a log-uniform factor, as by a throat of another length:
    what was in bin k is in bin k times that; above the highest there is what is in it.

    Source: Jaitly and Hinton, "Vocal tract length perturbation (VTLP) improves speech recognition",
    2013, with one straight line for a warp.
    """
    rows, frames, bins = features.shape
    lowest, highest = math.log(stretch[0]), math.log(stretch[1])
    factor = jnp.exp(jax.random.uniform(key, (rows,), minval=lowest, maxval=highest))
    own = bins // channels
    place = jnp.arange(own, dtype=features.dtype)
    # How much of bin j, in columns, there is in bin k: a straight line between neighbours.
    source = jnp.clip(place[None] / factor[:, None], 0.0, own - 1.0)
    weights = jnp.maximum(1 - jnp.abs(source[:, None, :] - place[None, :, None]), 0.0)
    split = features.reshape(rows, frames * channels, own)
    found = jnp.einsum("nfj,njk->nfk", split, weights, precision="highest")
    return found.reshape(rows, frames, bins)


def random_masks(
    key: jax.Array,
    features: Float[Array, "batch frames bins"],
    fill: Float[Array, " bins"],
    amount: Augmentation,
    *,
    channels: int = 1,
) -> Float[Array, "batch frames bins"]:
    """Features with stretches of frames and of bins hidden under ``fill``: for the model's eyes
    alone, while the whole features are what it has to give back. Where the bins are those of
    several ``channels`` side by side, the same are hidden in all of them.

    Source: Park et al., "SpecAugment", Interspeech 2019, without the time warping.
    """
    time_key, frequency_key = jax.random.split(key)
    _, frames, bins = features.shape
    times = _stretches(time_key, features, amount.time_masks, amount.time_mask_frames, frames)
    bands = _stretches(
        frequency_key,
        features,
        amount.frequency_masks,
        amount.frequency_mask_bins,
        bins // channels,
    )
    bands = jnp.tile(bands, (1, channels))
    hidden = times[:, :, None] | bands[:, None, :]
    return jnp.where(hidden, fill[None, None], features)


def _stretches(key: jax.Array, features: Array, count: int, longest: int, size: int) -> Array:
    """Which of ``size`` places lie in one of ``count`` random stretches, bool ``[batch, size]``."""
    width_key, start_key = jax.random.split(key)
    shape = (features.shape[0], count, 1)
    width = jax.random.randint(width_key, shape, 0, min(longest, size) + 1)
    start = jax.random.randint(start_key, shape, 0, size - width + 1)
    place = jnp.arange(size)[None, None]
    return ((place >= start) & (place < start + width)).any(axis=1)
