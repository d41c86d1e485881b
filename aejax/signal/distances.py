"""Distances between estimate and reference audio: losses and metrics of codecs and vocoders.

All take two arrays ``[..., samples]`` of the same shape, full scale being 1. They return one value
per row, except `auraloss_multi_resolution_stft` and `dac_mel`, which reproduce published losses and
return a scalar. Every gradient is finite, on silence too.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from aejax.signal.arguments import check_level, check_real, compiled
from aejax.signal.framing import expand
from aejax.signal.mel import apply_filterbank, mel_filterbank, mel_spectrogram
from aejax.signal.scale import natural_log, power_to_db
from aejax.signal.stft import magnitude, spectrogram, stft_then
from aejax.signal.weighting import a_weighting
from aejax.signal.windows import window

# Transform, hop and window in samples. The longest is first, here and below: errors name it.
_AURALOSS_SIZES = ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
_AURALOSS_POWER_FLOOR = 1e-8

# Window, in samples, and mel bands.
_DAC_SIZES = ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5))
_DAC_FLOOR = 1e-5
# Oversampling of bins at which no filter is empty, up to 400 kHz.
_DAC_FINER = 8

# SI-SDR is limited to 100 dB; float32 resolves some 120.
_LEAST_RATIO = 1e-10


@compiled()
def multi_resolution_stft(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    n_ffts: tuple[int, ...] = (512, 1024, 2048),
    hop_fraction: float = 0.25,
    floor: float = 1e-5,
) -> Float[Array, "*batch"]:
    """Spectral convergence plus L1 of log magnitudes, the mean over several resolutions.

    With magnitudes X of the estimate and Y of the reference, at each resolution

    ``rms(X - Y) / max(rms(Y), floor) + mean(|log(max(X, floor) / max(Y, floor))|)``,

    rms and mean over frames and bins. Source: Yamamoto, Song and Kim, "Parallel WaveGAN",
    ICASSP 2020, equations 3 to 6; the floors and one value per row are aejax's.

    Args:
      estimate, reference: audio.
      n_ffts: samples of each transform, which are those of its periodic Hann window too.
      hop_fraction: hop as a fraction of the window, above 0 and up to 1; rounded to samples.
      floor: magnitude that counts as silence, 1 being a full-scale sine in the middle of a bin, at
        every resolution; -100 dB by default. Lower values have no gradient from the logarithm.

    Returns:
      ``[...]``, 0 for equal signals; no unit plus nepers. Twice the reference gives
      ``1 + log(2)``. Where the reference is silent it is up to ``1 / floor`` times the
      estimate's RMS magnitude.

    Raises:
      ValueError: an argument is invalid, or the audio is not longer than half of the longest
        transform.
    """
    both = _pair(estimate, reference)
    if not n_ffts:
        raise ValueError("n_ffts must name at least one size")
    if not 0 < hop_fraction <= 1:
        raise ValueError(f"hop_fraction must be above 0 and at most 1, got {hop_fraction!r}")

    def distance(n_fft: int) -> jax.Array:
        hop_length = max(1, round(hop_fraction * n_fft))
        s = spectrogram(both * _full_scale(n_fft), n_fft=n_fft, hop_length=hop_length, power=1.0)
        x, y = _each(s)
        error, total = (_root(jnp.square(x).mean((-2, -1))) for x in (x - y, y))
        log_x, log_y = _each(natural_log(s, floor=floor))
        return error / jnp.maximum(total, floor) + jnp.abs(log_x - log_y).mean((-2, -1))

    return jnp.stack([distance(n_fft) for n_fft in sorted(n_ffts, reverse=True)]).mean(0)


@compiled("where")
def auraloss_multi_resolution_stft(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    where: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """``auraloss.freq.MultiResolutionSTFTLoss()(estimate, reference)``, with its defaults.

    As `multi_resolution_stft`, with these conventions: transforms of 1024, 2048 and 512 samples,
    hops of 120, 240 and 50, centred Hann windows of 600, 1200 and 240; magnitudes
    ``sqrt(max(power, 1e-8))``, with the floor inside the root and in the unit of the unscaled
    transform; and norms of the spectral convergence over the whole batch, where loud rows
    dominate. Source: auraloss 0.4.0, auraloss/freq.py.

    Args:
      estimate, reference: audio; any leading dimensions, for auraloss always two.
      where: mask of valid rows, all by default; other rows do not affect the result.

    Returns:
      A scalar, 0 for equal signals, and without a valid row.

    Raises:
      ValueError: the arguments differ in shape or type, or have 1024 samples or less.
    """
    both = _pair(estimate, reference, is_reduced=True)

    def distance(n_fft: int, hop_length: int, win_length: int) -> jax.Array:
        power = spectrogram(both, n_fft=n_fft, hop_length=hop_length, win_length=win_length)
        s = jnp.sqrt(jnp.maximum(power, _AURALOSS_POWER_FLOOR))
        x, y = _each(s)
        error, total = (_mean_of_rows(jnp.square(x), where, axes=2) for x in (x - y, y))
        log_x, log_y = _each(jnp.log(s))
        # 0 / 0 without a valid row.
        convergence = _root(error / jnp.maximum(total, _AURALOSS_POWER_FLOOR))
        return convergence + _mean_of_rows(jnp.abs(log_x - log_y), where, axes=2)

    return jnp.stack([distance(*sizes) for sizes in _AURALOSS_SIZES]).mean()


@compiled()
def multi_scale_mel(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    n_ffts: tuple[int, ...] = (256, 512, 1024, 2048),
    n_mels: tuple[int, ...] = (20, 40, 80, 160),
    floor: float = 1e-5,
) -> Float[Array, "*batch"]:
    """L1 of natural-log mel magnitudes, the mean over several window lengths.

    ``mean(|log(max(X, floor) / max(Y, floor))|)`` over frames, mel bands and scales, X and Y being
    mel spectrograms of magnitudes: periodic Hann windows with a hop of a quarter, and triangular
    filters of unit height on Slaney's scale. A variant of `dac_mel`, the loss of Kumar et al.,
    "High-fidelity audio compression with improved RVQGAN", NeurIPS 2023, section 3.4.

    Args:
      estimate, reference: audio.
      sample_rate: Hz.
      n_ffts: samples of each transform and of its window.
      n_mels: bands for each transform; by default none is empty at rates up to 96 kHz.
      floor: band magnitude that counts as silence, 1 being a full-scale sine in the middle of a
        bin, before the triangles weigh it; -100 dB by default. Lower values have no gradient.

    Returns:
      ``[...]``, in nepers, 0 for equal signals. Twice the reference gives ``log(2)``.

    Raises:
      ValueError: an argument is invalid, ``n_mels`` and ``n_ffts`` differ in length, the audio
        is not longer than half of the longest transform, or a band would be empty.
    """
    both = _pair(estimate, reference)
    if not n_ffts or len(n_ffts) != len(n_mels):
        raise ValueError(f"n_ffts and n_mels must go in pairs, got {n_ffts} and {n_mels}")

    def distance(n_fft: int, bands: int) -> jax.Array:
        mel = mel_spectrogram(
            both * _full_scale(n_fft),
            sample_rate=sample_rate,
            n_fft=n_fft,
            n_mels=bands,
            power=1.0,
            norm=None,
        )
        x, y = _each(natural_log(mel, floor=floor))
        return jnp.abs(x - y).mean((-2, -1))

    pairs = sorted(zip(n_ffts, n_mels, strict=True), reverse=True)
    return jnp.stack([distance(*pair) for pair in pairs]).mean(0)


@compiled("where")
def dac_mel(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    where: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """The mel loss of descript-audio-codec, before its weight of 15.

    ``sum over scales of mean(|log10(max(X, 1e-5) / max(Y, 1e-5))|)``, X and Y being magnitude mel
    spectrograms: periodic Hann windows of 32, 64, ..., 2048 samples with a hop of a quarter,
    reflect padding, unscaled, and 5, 10, ..., 320 bands from 0 Hz to Nyquist as librosa makes them
    (Slaney's scale and unit area). At rates above 44.1 kHz some bands of the shortest windows fall
    between two bins and are 0, as in the original.

    Source: Kumar et al., "High-fidelity audio compression with improved RVQGAN", NeurIPS 2023;
    descript-audio-codec 1.0.0, dac/nn/loss.py (MelSpectrogramLoss), with conf/final/44khz.yml or
    16khz.yml, which agree in it, and the transforms of descript-audiotools 0.7.2.

    Args:
      estimate, reference: audio.
      sample_rate: Hz, up to 400,000.
      where: mask of valid rows, all by default.

    Returns:
      A scalar, the mean over valid rows, 0 for equal signals. Ten times the reference gives 7,
      one for each scale.

    Raises:
      ValueError: an argument is invalid, or the audio has 1024 samples or less.
    """
    both = _pair(estimate, reference, is_reduced=True)

    def distance(n_fft: int, n_mels: int) -> jax.Array:
        # In a finer transform no filter is empty, and its bins include all bins of this one.
        finer = mel_filterbank(sample_rate=sample_rate, n_fft=_DAC_FINER * n_fft, n_mels=n_mels)
        filters = finer[::_DAC_FINER].astype(both.dtype)
        mel = stft_then(
            lambda s: apply_filterbank(magnitude(s), filters),
            both,
            n_fft=n_fft,
            hop_length=n_fft // 4,
            win_length=n_fft,
            window="hann",
            center=True,
            pad_mode="reflect",
        )
        x, y = _each(jnp.log10(jnp.maximum(mel, _DAC_FLOOR)))
        return _mean_of_rows(jnp.abs(x - y), where, axes=2)

    return jnp.stack([distance(*sizes) for sizes in _DAC_SIZES]).sum()


@compiled("length")
def si_sdr(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    floor: float = 1e-5,
    length: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """Scale-invariant signal-to-distortion ratio in dB; higher is better.

    ``10 log10(|a y|**2 / |a y - x|**2)`` with ``a = <x, y> / |y|**2``, x being the estimate and y
    the reference, each without its mean. Source: Le Roux et al., "SDR - half-baked or well
    done?", ICASSP 2019, equations 4 and 5. The mean is subtracted as by Luo and Mesgarani, who call
    it SI-SNR (TasNet, ICASSP 2018); in other libraries that is an option (``zero_mean``).

    Args:
      estimate, reference: audio.
      floor: RMS, without the mean, that counts as silence.
      length: valid samples of each row, all by default; later samples are ignored.

    Returns:
      ``[...]``, -100 to 100 dB. Where either is below ``floor`` it falls towards -100, the
      value of silence, also where both are silent: exclude such rows from a mean.

    Raises:
      ValueError: an argument is invalid.
    """
    _check_pair(estimate, reference)
    check_level("floor", floor)
    valid = _valid_samples(estimate, length)

    def mean(x: jax.Array) -> jax.Array:
        return _mean_of_samples(x, valid)

    def unit(x: jax.Array) -> jax.Array:
        x = (x - mean(x)) * valid
        return x / jnp.maximum(_root(mean(jnp.square(x))), floor)

    # Unit RMS: the result is the same number at every level.
    x, y = unit(estimate), unit(reference)
    target = mean(x * y) * y
    distortion = mean(jnp.square(target - x))[..., 0]
    ratio = mean(jnp.square(target))[..., 0] / jnp.maximum(distortion, _LEAST_RATIO)
    return 10 * jnp.log10(jnp.maximum(ratio, _LEAST_RATIO))


@compiled("length")
def waveform_l1(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    length: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """``mean(|estimate - reference|)`` over samples, in the unit of the audio; over the first
    ``length`` of each row, if not None.

    Raises:
      ValueError: the arguments differ in shape or type.
    """
    _check_pair(estimate, reference)
    return _mean_of_samples(jnp.abs(estimate - reference), _valid_samples(estimate, length))[..., 0]


@compiled()
def a_weighted_spectral_distance(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    n_fft: int = 2048,
    floor: float = 1e-10,
) -> Float[Array, "*batch"]:
    """Log-spectral distance in dB, bins weighted by the A curve.

    ``sqrt(mean over frames t of sum over bins k of w[k] (X[t, k] - Y[t, k])**2)``, X and Y being
    ``10 log10(max(power, floor))`` of periodic Hann windows with a hop of a quarter, and
    ``w[k] = 10**(A(f[k]) / 10)`` over its sum: the A curve as a factor on power.

    Source: Gray and Markel, "Distance measures for speech processing", IEEE ASSP 24(5), 1976, the
    log spectral measure for p = 2, with one root over all frames; IEC 61672-1 for the curve A
    (`aejax.signal.weighting.a_weighting`, without its lower limit).

    Args:
      estimate, reference: audio.
      sample_rate: Hz.
      n_fft: samples of the transform and of its window.
      floor: power that counts as silence, 1 being a full-scale sine in the middle of a bin; -100
        dB by default. Lower values have no gradient.

    Returns:
      ``[...]``, in dB, 0 for equal signals. Ten times the reference gives 20 dB.

    Raises:
      ValueError: an argument is invalid, or the audio is not longer than half of the transform.
    """
    both = _pair(estimate, reference)
    check_level("sample_rate", sample_rate)
    s = spectrogram(both * _full_scale(n_fft), n_fft=n_fft)
    x, y = _each(power_to_db(s, floor=floor))
    hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    weight = 10 ** (np.asarray(a_weighting(hz, min_db=None)) / 10)
    weight = (weight / weight.sum()).astype(both.dtype)
    squared = jnp.square(x - y)
    return _root((squared * expand(weight, squared.ndim)).sum(-1).mean(-1))


def _pair(estimate: jax.Array, reference: jax.Array, *, is_reduced: bool = False) -> jax.Array:
    """Estimate and reference as ``[..., 2, samples]``: one transform compiles in half the time, and
    rows of a batch, which devices share, stay the first axis. Raises as `_check_pair`."""
    _check_pair(estimate, reference, is_reduced=is_reduced)
    return jnp.stack([estimate, reference], axis=-2)


def _each(s: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The spectrogram of the estimate and that of the reference, of ``[..., 2, frames, bins]``."""
    return s[..., 0, :, :], s[..., 1, :, :]


def _check_pair(estimate: jax.Array, reference: jax.Array, *, is_reduced: bool = False) -> None:
    """Checks arguments.

    Raises:
      ValueError: one is not audio, they differ in shape or type, or the batch is empty although
        the result is a mean over it (``is_reduced``).
    """
    for name, x in (("estimate", estimate), ("reference", reference)):
        check_real(name, x)
    if estimate.shape != reference.shape or estimate.dtype != reference.dtype:
        raise ValueError(
            "estimate and reference must have the same shape and type, got"
            f" {estimate.dtype} {estimate.shape} and {reference.dtype} {reference.shape}"
        )
    if estimate.shape[-1] == 0 or (is_reduced and estimate.size == 0):
        raise ValueError(f"there is nothing to compare in audio of shape {estimate.shape}")


def _valid_samples(x: jax.Array, length: jax.Array | None) -> jax.Array:
    """1 for each valid sample and 0 for the others, ``[..., samples]``."""
    index = jnp.asarray(expand(jnp.arange(x.shape[-1]), x.ndim))
    ends = jnp.full((1,) * x.ndim, x.shape[-1]) if length is None else length[..., None]
    return (index < ends).astype(x.dtype)


def _mean_of_samples(x: jax.Array, valid: jax.Array) -> jax.Array:
    """The mean over valid samples, ``[..., 1]``; 0 if there are none."""
    return (x * valid).sum(-1, keepdims=True) / jnp.maximum(valid.sum(-1, keepdims=True), 1)


def _mean_of_rows(x: jax.Array, where: jax.Array | None, *, axes: int) -> jax.Array:
    """The mean over valid rows, ``[]``, or 0; ``x`` has ``axes`` more dimensions than
    ``where``."""
    if where is None:
        return x.mean()
    mask = where.reshape(*where.shape, *[1] * axes)
    count = where.sum().astype(x.dtype) * math.prod(x.shape[x.ndim - axes :])
    return jnp.where(mask, x, 0).sum() / jnp.maximum(count, 1)


def _full_scale(n_fft: int) -> float:
    """The factor by which a full-scale sine in the middle of a bin has the magnitude 1."""
    return float(2 / window("hann", n_fft).sum())


def _root(x: jax.Array) -> jax.Array:
    """``sqrt(x)``, with a gradient of zero at zero."""
    is_zero = x == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, x)))
