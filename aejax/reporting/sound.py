"""Audio for the page: equally loud, encoded, within a budget."""

import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import soundfile
import soxr

TARGET_DB = -23.0  # A-weighted level, re full scale
_SOFTEST_DB = -70.0  # softer sounds keep their level
_PEAK = 0.98
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
FORMATS = {"flac": "audio/flac", "opus": "audio/ogg; codecs=opus"}
# Of libsndfile's Opus at its default setting.
_OPUS_BYTES_PER_SECOND = 5000


def a_weighted_db(audio: np.ndarray, sample_rate: int) -> float:
    """A-weighted level of ``[samples]`` or ``[samples, channels]``, dB re full scale; -200 for
    silence. Source: IEC 61672-1, by its analytic curve on the spectrum."""
    frames = len(audio)
    if not frames:
        return -200.0
    spectrum = np.abs(np.fft.rfft(audio, axis=0)) ** 2
    f2 = np.fft.rfftfreq(frames, 1 / sample_rate) ** 2
    corner = 12194.0**2
    curve = corner * f2**2 / ((f2 + 20.6**2) * (f2 + corner))
    curve /= np.sqrt((f2 + 107.7**2) * (f2 + 737.9**2))
    weight = (1.2589 * curve) ** 2  # 0 dB at 1 kHz
    power = float(weight @ spectrum.reshape(len(f2), -1).mean(1)) * 2 / frames**2
    return 10 * math.log10(max(power, 1e-20))


def equally_loud(versions: Sequence[np.ndarray], sample_rate: int) -> list[np.ndarray]:
    """All versions of a clip at an A-weighted level of `TARGET_DB`, or at a lower one if a peak
    would exceed full scale; nearly silent sounds keep their level.

    Args:
      versions: float, ``[samples]`` or ``[samples, channels]`` each.
      sample_rate: Hz.
    """
    levels = [a_weighted_db(audio, sample_rate) for audio in versions]
    gains = [10 ** ((TARGET_DB - x) / 20) if x > _SOFTEST_DB else 1.0 for x in levels]
    scaled = [audio * gain for audio, gain in zip(versions, gains, strict=True)]
    peaks = [float(np.abs(audio).max(initial=0)) for audio in scaled]
    gain = min(1.0, _PEAK / max(*peaks, 1e-9))
    return [audio * gain for audio in scaled]


def encode(audio: np.ndarray, sample_rate: int, kind: str = "flac") -> bytes:
    """The bytes of a file of one of `FORMATS`, from ``[samples]`` or ``[samples, channels]``; clips
    at full scale. Opus is resampled if it does not have the rate."""
    file = io.BytesIO()
    audio = np.clip(audio, -1, 1)
    if kind == "flac":
        soundfile.write(file, audio, sample_rate, format="FLAC", subtype="PCM_16")
        return file.getvalue()
    if sample_rate not in _OPUS_RATES:
        rate = min((x for x in _OPUS_RATES if x > sample_rate), default=48000)
        audio, sample_rate = soxr.resample(audio, sample_rate, rate), rate
    soundfile.write(file, audio, sample_rate, format="OGG", subtype="OPUS")
    return file.getvalue()


def encode_all(
    sounds: Sequence[np.ndarray], sample_rates: Sequence[int], budget: int
) -> tuple[list[bytes], str, float | None]:
    """All sounds as FLAC if they fit in the budget, else as Opus, shortened if necessary.

    Args:
      sounds: ``[samples]`` or ``[samples, channels]`` each.
      sample_rates: Hz, of each.
      budget: total bytes.

    Returns:
      The files, their format (one of `FORMATS`), and the seconds they were cut to, or None.
    """
    with ThreadPoolExecutor() as pool:
        if sum(sound.size for sound in sounds) < 2 * budget:
            files = list(pool.map(encode, sounds, sample_rates))
            if sum(map(len, files)) <= budget:
                return files, "flac", None
        seconds: float | None = None
        if sum(map(len, sounds)):
            lengths = [len(x) / rate for x, rate in zip(sounds, sample_rates, strict=True)]
            if sum(lengths) * _OPUS_BYTES_PER_SECOND > budget:
                seconds = cut_to(lengths, budget / _OPUS_BYTES_PER_SECOND)
        while True:
            cut = [
                sound if seconds is None else sound[: max(1, int(seconds * rate))]
                for sound, rate in zip(sounds, sample_rates, strict=True)
            ]
            files = list(pool.map(lambda x, rate: encode(x, rate, "opus"), cut, sample_rates))
            if sum(map(len, files)) <= budget or (seconds is not None and seconds < 0.05):
                return files, "opus", seconds
            longest = max(len(x) / rate for x, rate in zip(cut, sample_rates, strict=True))
            seconds = 0.9 * longest * min(1.0, budget / sum(map(len, files)))


def cut_to(lengths: Sequence[float], total: float) -> float:
    """The length to cut all to so that their sum is at most ``total``."""
    rest = total
    for index, length in enumerate(sorted(lengths)):
        if length * (len(lengths) - index) > rest:
            return rest / (len(lengths) - index)
        rest -= length
    return max(lengths, default=0.0)


def decode(file: bytes, most_samples: int) -> tuple[np.ndarray, int]:
    """The beginning of a file made by `encode`, float32 ``[samples]`` or ``[samples, channels]``,
    and its sample rate, Hz.

    Raises:
      ValueError: it has another format.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(file)) as opened:
            return opened.read(most_samples, dtype="float32"), opened.samplerate
    except soundfile.SoundFileError as error:
        raise ValueError(str(error)) from None
