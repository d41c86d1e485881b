"""Pure functions between audio and spectra for JAX, named as in librosa.

Time comes before frequency: signals are ``[..., samples]``, spectra ``[..., frames, bins]``, with
any number of leading dimensions. Arrays are traced, settings are static.
Arguments are checked, see `aejax.signal.arguments.checked`.
"""

from aejax.signal.arguments import checked
from aejax.signal.distances import (
    a_weighted_spectral_distance,
    auraloss_multi_resolution_stft,
    dac_mel,
    multi_resolution_stft,
    multi_scale_mel,
    si_sdr,
    waveform_l1,
)
from aejax.signal.framing import frame, overlap_add
from aejax.signal.mdct import imdct, mdct
from aejax.signal.mel import (
    hz_to_mel,
    mel_cepstrum,
    mel_filterbank,
    mel_spectrogram,
    mel_to_hz,
    mfcc,
)
from aejax.signal.mel_inversion import mel_to_linear
from aejax.signal.pcen import pcen
from aejax.signal.phase import griffin_lim
from aejax.signal.resampling import play_at_speed, resample
from aejax.signal.rows import channel_rows, channel_si_sdr, until_end
from aejax.signal.scale import (
    amplitude_to_db,
    db_to_amplitude,
    db_to_power,
    mu_compress,
    mu_dequantize,
    mu_expand,
    mu_quantize,
    natural_log,
    power_to_db,
)
from aejax.signal.stft import istft, magnitude, power, spectrogram, stft
from aejax.signal.weighting import a_weighting, k_weighting
from aejax.signal.windows import window

__all__ = [
    "a_weighted_spectral_distance",
    "a_weighting",
    "amplitude_to_db",
    "auraloss_multi_resolution_stft",
    "channel_rows",
    "channel_si_sdr",
    "dac_mel",
    "db_to_amplitude",
    "db_to_power",
    "frame",
    "griffin_lim",
    "hz_to_mel",
    "imdct",
    "istft",
    "k_weighting",
    "magnitude",
    "mdct",
    "mel_cepstrum",
    "mel_filterbank",
    "mel_spectrogram",
    "mel_to_hz",
    "mel_to_linear",
    "mfcc",
    "mu_compress",
    "mu_dequantize",
    "mu_expand",
    "mu_quantize",
    "multi_resolution_stft",
    "multi_scale_mel",
    "natural_log",
    "overlap_add",
    "pcen",
    "play_at_speed",
    "power",
    "power_to_db",
    "resample",
    "si_sdr",
    "spectrogram",
    "stft",
    "until_end",
    "waveform_l1",
    "window",
]

globals().update({name: checked(globals()[name]) for name in __all__})
