"""How far an estimate is from a reference: what codecs and vocoders are trained and measured by.

All take two pieces of audio ``[..., samples]`` of the same shape, full scale being 1. What is ours
gives one value for each of the leading dimensions; `auraloss_multi_resolution_stft` and `dac_mel`
are exactly other people's losses, and give one value for all, as theirs do. Every gradient is
finite, on silence too.
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

# Transform, hop and window, in samples. The longest is first here and below, so that it is the one
# an error names.
_AURALOSS_SIZES = ((2048, 240, 1200), (1024, 120, 600), (512, 50, 240))
_AURALOSS_POWER_FLOOR = 1e-8

# Window, in samples, and mel bands.
_DAC_SIZES = ((2048, 320), (1024, 160), (512, 80), (256, 40), (128, 20), (64, 10), (32, 5))
_DAC_FLOOR = 1e-5
# Bins for one of the transform's in which each of its filters is found filled, up to 400 kHz.
_DAC_FINER = 8

# SI-SDR is not told apart beyond 100 dB; float32 would not know it beyond some 120.
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
    ICASSP 2020, equations 3 to 6; ours are the floors, and that each element of a batch stands for
    itself.

    Args:
      estimate, reference: audio.
      n_ffts: samples of each transform and of its periodic Hann window, which fills it.
      hop_fraction: hop as a share of the window, above 0 and up to 1; rounded to samples.
      floor: magnitude that counts as silence, 1 being a full-scale sine in the middle of a bin, at
        every resolution; -100 dB by default. What lies below gets no gradient from the logarithm.

    Returns:
      ``[...]``, 0 for equals; no unit plus nepers. Twice the reference is at ``1 + log(2)``. Where
      the reference is silent it is up to ``1 / floor`` times the estimate's RMS magnitude.

    Raises:
      ValueError: an argument is not as said, or half of the longest transform is not shorter than
        the audio.
    """
    both = _pair(estimate, reference)
    if not n_ffts:
        raise ValueError("n_ffts must name at least one size")
    if not 0 < hop_fraction <= 1:
        raise ValueError(f"hop_fraction must be above 0 and at most 1, got {hop_fraction!r}")

    def distance(n_fft: int) -> jax.Array:
        hop_length = max(1, round(hop_fraction * n_fft))
        s = _full_scale_spectrogram(both, n_fft, hop_length, power=1.0)
        error, total = (_root(jnp.square(x).mean((-2, -1))) for x in (s[0] - s[1], s[1]))
        log = natural_log(s, floor=floor)
        return error / jnp.maximum(total, floor) + jnp.abs(log[0] - log[1]).mean((-2, -1))

    return _mean([distance(n_fft) for n_fft in sorted(n_ffts, reverse=True)])


@compiled("where")
def auraloss_multi_resolution_stft(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    where: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """``auraloss.freq.MultiResolutionSTFTLoss()(estimate, reference)``, with its defaults.

    As `multi_resolution_stft`, with these conventions: transforms of 1024, 2048 and 512 samples,
    hops of 120, 240 and 50, Hann windows of 600, 1200 and 240 in their middle; magnitudes
    ``sqrt(max(power, 1e-8))``, the floor being inside of the root and in the unit of the
    transform, which is not scaled; and the norms of the spectral convergence are over the whole
    batch, so that the loud decide. Source: auraloss 0.4.0, auraloss/freq.py.

    Args:
      estimate, reference: audio; any leading dimensions, for auraloss always two.
      where: the rows that count, all by default; the result is that of a batch of those alone.

    Returns:
      A scalar, 0 for equals, and where no row counts.

    Raises:
      ValueError: the arguments are not two such arrays, or have 1024 samples or less.
    """
    both = _pair(estimate, reference, is_reduced=True)

    def distance(n_fft: int, hop_length: int, win_length: int) -> jax.Array:
        power = spectrogram(both, n_fft=n_fft, hop_length=hop_length, win_length=win_length)
        s = jnp.sqrt(jnp.maximum(power, _AURALOSS_POWER_FLOOR))
        error, total = (_mean_of_rows(jnp.square(x), where, axes=2) for x in (s[0] - s[1], s[1]))
        log = jnp.log(s)
        # Of no rows, 0 over 0.
        convergence = _root(error / jnp.maximum(total, _AURALOSS_POWER_FLOOR))
        return convergence + _mean_of_rows(jnp.abs(log[0] - log[1]), where, axes=2)

    return _mean([distance(*sizes) for sizes in _AURALOSS_SIZES])


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
    the bands' sums of the magnitudes of a periodic Hann window, a quarter of it apart, weighted by
    triangles of unit height on Slaney's scale. Of the family of Kumar et al., "High-fidelity audio
    compression with improved RVQGAN", NeurIPS 2023, section 3.4, whose own is `dac_mel`.

    Args:
      estimate, reference: audio.
      sample_rate: Hz.
      n_ffts: samples of each transform and of its window.
      n_mels: bands for each of them; the default fills all of them up to 96 kHz.
      floor: band magnitude that counts as silence, 1 being a full-scale sine in the middle of a
        bin, before the triangles weigh it; -100 dB by default. What lies below gets no gradient.

    Returns:
      ``[...]``, in nepers, 0 for equals. Twice the reference is at ``log(2)``.

    Raises:
      ValueError: an argument is not as said, there are not as many ``n_mels`` as ``n_ffts``, half
        of the longest transform is not shorter than the audio, or a band would be empty.
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
        log = natural_log(mel, floor=floor)
        return jnp.abs(log[0] - log[1]).mean((-2, -1))

    pairs = sorted(zip(n_ffts, n_mels, strict=True), reverse=True)
    return _mean([distance(*pair) for pair in pairs])


@compiled("where")
def dac_mel(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    where: Bool[Array, "*batch"] | None = None,
) -> Float[Array, ""]:
    """The mel loss descript-audio-codec is trained by, before its weight of 15.

    ``sum over scales of mean(|log10(max(X, 1e-5) / max(Y, 1e-5))|)``, X and Y being magnitude mel
    spectrograms: periodic Hann windows of 32, 64, ..., 2048 samples a quarter of them apart, with
    reflected ends, unscaled, and 5, 10, ..., 320 bands from 0 Hz to Nyquist as librosa makes them
    (Slaney's scale and unit area). At rates above 44.1 kHz some bands of the shortest windows fall
    between two bins; as in the original they are there, and 0.

    Source: Kumar et al., "High-fidelity audio compression with improved RVQGAN", NeurIPS 2023;
    descript-audio-codec 1.0.0, dac/nn/loss.py (MelSpectrogramLoss), with conf/final/44khz.yml or
    16khz.yml, which agree in it, and the transforms of descript-audiotools 0.7.2.

    Args:
      estimate, reference: audio.
      sample_rate: Hz, up to 400,000.
      where: the rows that count, all by default.

    Returns:
      A scalar, the mean over the rows that count, 0 for equals. Ten times the reference is at
      7, one for each scale.

    Raises:
      ValueError: an argument is not as said, or the audio has 1024 samples or less.
    """
    both = _pair(estimate, reference, is_reduced=True)

    def distance(n_fft: int, n_mels: int) -> jax.Array:
        # Of a finer transform no filter is empty, and each bin of this one is one of its bins.
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
        log = jnp.log10(jnp.maximum(mel, _DAC_FLOOR))
        return _mean_of_rows(jnp.abs(log[0] - log[1]), where, axes=2)

    return jnp.stack([distance(*sizes) for sizes in _DAC_SIZES]).sum()


@compiled("length")
def si_sdr(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    floor: float = 1e-5,
    length: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """Scale-invariant signal-to-distortion ratio in dB; more is better, so its negative is a loss.

    ``10 log10(|a y|**2 / |a y - x|**2)`` with ``a = <x, y> / |y|**2``, x being the estimate and y
    the reference, each without its mean. Source: Le Roux et al., "SDR - half-baked or well
    done?", ICASSP 2019, equations 4 and 5. The mean is taken off as Luo and Mesgarani do, who call
    it SI-SNR (TasNet, ICASSP 2018); other libraries leave it in unless told (``zero_mean``).

    Args:
      estimate, reference: audio.
      floor: RMS, without the mean, that counts as silence.
      length: samples of each row that count, all by default; what is behind them is no part of any
        mean.

    Returns:
      ``[...]``, -100 to 100 dB. Where either is below ``floor`` it falls towards -100, which
      silence has, also where both are silent: leave such out of a mean.

    Raises:
      ValueError: an argument is not as said.
    """
    both = _pair(estimate, reference)
    check_level("floor", floor)
    counts = _counts(both, length)

    def mean(x: jax.Array) -> jax.Array:
        return _mean_of_samples(x, counts)

    both = (both - mean(both)) * counts
    # Of unit RMS, so that what follows is the same number at every level.
    x, y = both / jnp.maximum(_root(mean(jnp.square(both))), floor)
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
    ``length`` of each row, where that is given.

    Raises:
      ValueError: the arguments are not two such arrays.
    """
    both = _pair(estimate, reference)
    return _mean_of_samples(jnp.abs(both[0] - both[1]), _counts(both, length))[..., 0]


@compiled()
def a_weighted_spectral_distance(
    estimate: Float[Array, "*batch samples"],
    reference: Float[Array, "*batch samples"],
    *,
    sample_rate: float,
    n_fft: int = 2048,
    floor: float = 1e-10,
) -> Float[Array, "*batch"]:
    """Log-spectral distance in dB, each bin weighted by how loud the ear takes it to be.

    ``sqrt(mean over frames t of sum over bins k of w[k] (X[t, k] - Y[t, k])**2)``, X and Y being
    ``10 log10(max(power, floor))`` of a periodic Hann window, a quarter of it apart, and
    ``w[k] = 10**(A(f[k]) / 10)`` over the sum of these: the A curve as a factor on power.

    Source: Gray and Markel, "Distance measures for speech processing", IEEE ASSP 24(5), 1976, the
    log spectral measure for p = 2, with one root over all frames; IEC 61672-1 for the curve A
    (`aejax.signal.weighting.a_weighting`, without its lower limit).

    Args:
      estimate, reference: audio.
      sample_rate: Hz.
      n_fft: samples of the transform and of its window.
      floor: power that counts as silence, 1 being a full-scale sine in the middle of a bin; -100
        dB by default. What lies below gets no gradient.

    Returns:
      ``[...]``, in dB, 0 for equals. Ten times the reference is at 20 dB.

    Raises:
      ValueError: an argument is not as said, or half of the transform is not shorter than the
        audio.
    """
    both = _pair(estimate, reference)
    check_level("sample_rate", sample_rate)
    s = _full_scale_spectrogram(both, n_fft, None, power=2.0)
    db = power_to_db(s, floor=floor)
    hz = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    weight = 10 ** (np.asarray(a_weighting(hz, min_db=None)) / 10)
    weight = (weight / weight.sum()).astype(both.dtype)
    squared = jnp.square(db[0] - db[1])
    return _root((squared * expand(weight, squared.ndim)).sum(-1).mean(-1))


def _pair(estimate: jax.Array, reference: jax.Array, *, is_reduced: bool = False) -> jax.Array:
    """Both, checked, as ``[2, ..., samples]``: one transform for both compiles in half the time.

    Raises:
      ValueError: one is no audio, they differ in shape or type, or, where the result is a mean
        over the batch (``is_reduced``), that is empty.
    """
    for name, x in (("estimate", estimate), ("reference", reference)):
        check_real(name, x)
    if estimate.shape != reference.shape or estimate.dtype != reference.dtype:
        raise ValueError(
            "estimate and reference must be alike, got"
            f" {estimate.dtype} {estimate.shape} and {reference.dtype} {reference.shape}"
        )
    if estimate.shape[-1] == 0 or (is_reduced and estimate.size == 0):
        raise ValueError(f"there is nothing to compare in audio of shape {estimate.shape}")
    return jnp.stack([estimate, reference])


def _counts(both: jax.Array, length: jax.Array | None) -> jax.Array:
    """1 for each sample that counts and 0 for the others, ``[1, ..., samples]``."""
    place = jnp.asarray(expand(jnp.arange(both.shape[-1]), both.ndim))
    ends = jnp.full((1,) * both.ndim, both.shape[-1]) if length is None else length[None, ..., None]
    return (place < ends).astype(both.dtype)


def _mean_of_samples(x: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean over the samples that count, with an axis of 1 in their place; 0 where none does."""
    counts = counts if x.ndim == counts.ndim else counts[0]
    return (x * counts).sum(-1, keepdims=True) / jnp.maximum(counts.sum(-1, keepdims=True), 1)


def _mean_of_rows(x: jax.Array, where: jax.Array | None, *, axes: int) -> jax.Array:
    """The mean over all of the rows that count, ``[]``; 0 where none does. Behind the dimensions of
    ``where`` there are so many axes more."""
    if where is None:
        return x.mean()
    counts = where.reshape(*where.shape, *[1] * axes)
    count = where.sum().astype(x.dtype) * math.prod(x.shape[x.ndim - axes :])
    return jnp.where(counts, x, 0).sum() / jnp.maximum(count, 1)


def _full_scale_spectrogram(
    x: jax.Array, n_fft: int, hop_length: int | None, *, power: float
) -> jax.Array:
    """The spectrogram in which a full-scale sine in the middle of a bin is 1."""
    return spectrogram(x * _full_scale(n_fft), n_fft=n_fft, hop_length=hop_length, power=power)


def _full_scale(n_fft: int) -> float:
    return float(2 / window("hann", n_fft).sum())


def _root(x: jax.Array) -> jax.Array:
    """``sqrt(x)``, with a gradient of zero at zero."""
    is_zero = x == 0
    return jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, x)))


def _mean(values: list[jax.Array]) -> jax.Array:
    return jnp.stack(values).mean(0)
