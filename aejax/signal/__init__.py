"""Pure functions from sound to spectra and back, in librosa's words, usable anywhere in JAX."""

from aejax.signal.framing import frame, overlap_add, window
from aejax.signal.mel import hz_to_mel, mel_filterbank, mel_spectrogram, mel_to_hz, mel_to_linear
from aejax.signal.phase import griffin_lim
from aejax.signal.scale import db_to_amplitude, db_to_power, power_to_db
from aejax.signal.stft import istft, power, stft

__all__ = [
    "db_to_amplitude",
    "db_to_power",
    "frame",
    "griffin_lim",
    "hz_to_mel",
    "istft",
    "mel_filterbank",
    "mel_spectrogram",
    "mel_to_hz",
    "mel_to_linear",
    "overlap_add",
    "power",
    "power_to_db",
    "stft",
    "window",
]
