"""What the tests of the transforms share: drawn parameters, a slow STFT, every transform."""

import functools

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from aejax import signal

SMALL = {"n_fft": 64, "hop_length": 16}
MEL = {"sample_rate": 8000, "n_fft": 64, "n_mels": 8}


def _mel(function, x):
    return function(signal.mel_spectrogram(x, **MEL, hop_length=16))


# Every transform as a function from a signal of 256 samples: what holds for all is asked of all.
TRANSFORMS = {
    "frame": functools.partial(signal.frame, frame_length=40, hop_length=16),
    "overlap_add": lambda x: signal.overlap_add(
        signal.frame(x, frame_length=40, hop_length=16), hop_length=8
    ),
    "magnitude": lambda x: signal.magnitude(signal.stft(x, **SMALL)),
    "power": lambda x: signal.power(signal.stft(x, **SMALL)),
    "spectrogram": functools.partial(signal.spectrogram, **SMALL, power=1.0),
    "istft": lambda x: signal.istft(signal.stft(x, **SMALL), **SMALL),
    "mel_spectrogram": functools.partial(_mel, lambda mel: mel),
    "mel_magnitude": functools.partial(
        signal.mel_spectrogram, **MEL, hop_length=16, power=1.0, scale="htk", norm=None
    ),
    "mfcc": functools.partial(signal.mfcc, **MEL, hop_length=16, n_mfcc=5, lifter=3.0),
    "log_mel": functools.partial(_mel, signal.power_to_db),
    "natural_log": functools.partial(_mel, signal.natural_log),
    "amplitude_to_db": functools.partial(
        _mel, lambda s: signal.amplitude_to_db(s, reference=s.max(), top_db=60.0)
    ),
    "pcen": functools.partial(
        _mel, functools.partial(signal.pcen, sample_rate=8000, hop_length=16)
    ),
    "mdct": functools.partial(signal.mdct, win_length=32),
    "imdct": lambda x: signal.imdct(x.reshape(*x.shape[:-1], 16, 16), window=("kbd", 12.0)),
    "mu_compress": signal.mu_compress,
    "mu_expand": signal.mu_expand,
    "resample": functools.partial(signal.resample, orig_sr=10, target_sr=9, num_zeros=8),
    "mel_to_linear": functools.partial(
        _mel, functools.partial(signal.mel_to_linear, sample_rate=8000, n_fft=64, method="pinv")
    ),
    "nnls": functools.partial(
        _mel,
        functools.partial(signal.mel_to_linear, sample_rate=8000, n_fft=64, num_iterations=5),
    ),
    "kl": functools.partial(
        _mel,
        functools.partial(
            signal.mel_to_linear, sample_rate=8000, n_fft=64, method="kl", num_iterations=5
        ),
    ),
    "convergence": lambda x: signal.griffin_lim(
        signal.spectrogram(x, **SMALL, power=1.0),
        **SMALL,
        num_iterations=2,
        return_convergence=True,
    )[1],
    "griffin_lim": lambda x: signal.griffin_lim(
        signal.spectrogram(x, **SMALL, power=1.0), **SMALL, num_iterations=2
    ),
}


def relative_error(x, y):
    """Norm of the difference over the norm."""
    return np.linalg.norm(np.asarray(x) - y) / np.linalg.norm(y)


@st.composite
def stft_parameters(draw, invertible=False):
    """Arguments of an STFT and the shape of a signal that is long enough for them."""
    n_fft = draw(st.one_of(st.integers(1, 700), st.sampled_from([256, 509, 1024])))
    win_length = draw(st.one_of(st.just(n_fft), st.integers(1, n_fft)))
    # At half a window every window here can be inverted well; beyond, some cannot at all.
    hop_length = draw(st.integers(1, max(1, win_length // 2) if invertible else win_length))
    std = draw(st.floats(0.15, 1)) * win_length
    window = draw(
        st.sampled_from(["hann", "hamming", "blackman", "rectangular", ("gaussian", std)])
        | st.tuples(st.just("kaiser"), st.floats(0.5, 12))
    )
    center = draw(st.booleans())
    pad_mode = draw(st.sampled_from(["reflect", "constant", "edge"]))
    least = 1
    if not center:
        least = n_fft
    elif pad_mode == "reflect":
        least = n_fft // 2 + 1
    elif n_fft % 2 and n_fft > 1:
        least = 2
    samples = least + draw(st.integers(0, 3000))
    assume(samples / hop_length < 3000)
    batch = draw(st.sampled_from([(), (2,), (2, 3)]))
    sizes = {
        "n_fft": n_fft,
        "hop_length": hop_length,
        "win_length": win_length,
        "window": window,
        "center": center,
        "pad_mode": pad_mode,
    }
    return sizes, (*batch, samples)


def scipy_window(window):
    """The same window as scipy and librosa name it."""
    return "boxcar" if window == "rectangular" else window


def reference_stft(x, *, n_fft, hop_length, win_length, window, center, pad_mode):
    """The slow and obvious STFT of one signal, in float64: the definition, frame by frame."""
    import scipy.signal

    weight = scipy.signal.get_window(scipy_window(window), win_length)
    first = (n_fft - win_length) // 2
    if center:
        x = np.pad(x.astype(np.float64), n_fft // 2, mode=pad_mode)
    frames = []
    for start in range(0, len(x) - n_fft + 1, hop_length):
        piece = np.zeros(n_fft)
        piece[first : first + win_length] = x[start + first : start + first + win_length] * weight
        frames.append(np.fft.rfft(piece))
    return np.stack(frames)
