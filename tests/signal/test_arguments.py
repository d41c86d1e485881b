"""Bad input is refused when it is traced, by name, value and rule."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import signal

X = jnp.zeros(1000)
S = jnp.zeros((5, 33), jnp.complex64)


@pytest.mark.parametrize(
    ("changed", "rule"),
    [
        ({"n_fft": 0}, "n_fft must be a whole number, 1 to 16777216; got 0"),
        ({"n_fft": 64.5}, "n_fft must be a whole number.* got 64.5"),
        ({"n_fft": True}, "n_fft must be a whole number.* got True"),
        ({"win_length": 0}, "win_length must be .* got 0"),
        ({"win_length": 65}, "win_length must be a whole number, 1 to 64; got 65"),
        ({"hop_length": 0}, "hop_length must be .* got 0"),
        ({"hop_length": -3}, "hop_length must be .* got -3"),
        ({"hop_length": 65}, "hop_length=65 is larger than win_length=64"),
        ({"win_length": 32, "hop_length": 33}, "hop_length=33 is larger than win_length=32"),
        ({"window": "hanning"}, "unknown window 'hanning'"),
        ({"pad_mode": "wrap"}, "unknown pad_mode 'wrap'; known: 'reflect', 'constant', 'edge'"),
        ({"n_fft": 2000}, "reflect' needs more samples than n_fft // 2 = 1000, x has 1000"),
        ({"n_fft": 1001, "center": False}, "x has 1000 samples, fewer than n_fft=1001"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_stft_refuses(changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.stft(X, **{"n_fft": 64} | changed)
    # At trace time, before anything runs.
    with pytest.raises(ValueError, match=rule):
        jax.eval_shape(lambda x: signal.spectrogram(x, **{"n_fft": 64} | changed), X)


@pytest.mark.parametrize(
    ("x", "rule"),
    [
        (jnp.zeros(0), "x must have at least one sample"),
        (jnp.zeros((3, 0)), "x must have at least one sample"),
        (jnp.zeros(1000, jnp.int16), "x must be float32 .* got int16"),
        (jnp.zeros(1000, jnp.bfloat16), "x must be float32 .* got bfloat16"),
        (jnp.zeros(1000, jnp.complex64), "x must be float32 .* got complex64"),
        (jnp.zeros(()), "at least 1 dimensions"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_is_no_signal_is_refused(x, rule):
    for transform in (signal.stft, signal.mdct):
        with pytest.raises(ValueError, match=rule):
            transform(x)


@pytest.mark.parametrize(
    ("s", "changed", "rule"),
    [
        (S, {"hop_length": 64}, "'hann' window of win_length=64 every hop_length=64 .* inverted"),
        (S, {"hop_length": 80}, "hop_length=80 is larger than win_length=64"),
        (S, {"n_fft": 128}, "n_fft=128 needs .* 65.*, the spectrum is .5, 33"),
        (S, {"length": 0}, "length must be"),
        (S[:0], {}, "the spectrum is .0, 33"),
        (S[:1], {}, "single centred frame .* length"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_istft_refuses(s, changed, rule):
    with pytest.raises(ValueError, match=rule):
        signal.istft(s, **{"n_fft": 64} | changed)


WHOLE = jnp.arange(8).reshape(2, 4)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: signal.power_to_db(WHOLE), "x must be float32 .* got int32"),
        (lambda: signal.db_to_power(WHOLE), "db must be float32 .* got int32"),
        (lambda: signal.natural_log(WHOLE), "x must be float32 .* got int32"),
        (lambda: signal.mel_cepstrum(WHOLE, n_mfcc=2), "log_mel must be float32"),
        (lambda: signal.a_weighting(WHOLE), "hz must be float32"),
        (lambda: signal.istft(WHOLE, n_fft=6), "floating-point, got int32"),
        (lambda: signal.k_weighting(30000.0), "at most 24000, got 30000"),
        (lambda: signal.frame(jnp.zeros(()), frame_length=1, hop_length=1), "1 dimensions"),
        (lambda: signal.overlap_add(jnp.zeros(4), hop_length=1), "2 dimensions"),
        (lambda: signal.overlap_add(jnp.zeros((4, 0)), hop_length=1), "frame_length must be"),
        (lambda: signal.power_to_db(X, floor=1e-50), "floor must be .*1.2e-38.* got 1e-50"),
        (lambda: signal.power_to_db(X, reference=1e39), "reference must be"),
        (lambda: signal.db_to_power(X, reference=float("nan")), "reference must be .* nan"),
        (lambda: signal.stft(X, window=("kaiser", 800.0), n_fft=64), "at most 700"),
        (lambda: signal.stft(X, window=("gaussian", 1e-3), n_fft=63), "zero everywhere"),
        (lambda: signal.resample(X, orig_sr=10, target_sr=9, beta=800.0), "at most 700"),
        (lambda: signal.imdct(jnp.zeros((1, 16))), "at least two frames"),
        (
            lambda: signal.mel_filterbank(
                sample_rate=48000, n_fft=2048, n_mels=128, fmin=999.999, fmax=1000.0
            ),
            "too narrow",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_what_would_give_wrong_numbers_is_refused(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()


# Arguments that are right, of every public function.
MEL = {"sample_rate": 8000, "n_fft": 64, "n_mels": 8}
ROWS, LENGTHS = jnp.zeros((2, 60)), jnp.asarray([60, 30], jnp.int32)
RIGHT = {
    "a_weighted_spectral_distance": ((X, X), {"sample_rate": 8000, "n_fft": 64}),
    "a_weighting": ((1000.0,), {}),
    "amplitude_to_db": ((X,), {"top_db": 60.0}),
    "auraloss_multi_resolution_stft": ((jnp.zeros(2000), jnp.zeros(2000)), {}),
    "channel_rows": ((ROWS, LENGTHS), {}),
    "channel_si_sdr": ((ROWS, ROWS, LENGTHS), {}),
    "dac_mel": ((jnp.zeros(2000), jnp.zeros(2000)), {"sample_rate": 8000}),
    "db_to_amplitude": ((X,), {}),
    "db_to_power": ((X,), {}),
    "frame": ((X,), {"frame_length": 64, "hop_length": 16}),
    "griffin_lim": ((abs(S),), {"n_fft": 64, "num_iterations": 2, "length": 60}),
    "hz_to_mel": ((1000.0,), {}),
    "imdct": ((jnp.zeros((5, 32)),), {}),
    "istft": ((S,), {"n_fft": 64, "length": 60}),
    "k_weighting": ((1000.0,), {}),
    "magnitude": ((S,), {}),
    "mdct": ((X,), {"win_length": 64}),
    "mel_cepstrum": ((jnp.zeros((5, 8)),), {"n_mfcc": 4}),
    "mel_filterbank": ((), MEL),
    "mel_spectrogram": ((X,), MEL),
    "mel_to_hz": ((10.0,), {}),
    "mel_to_linear": ((jnp.zeros((5, 8)),), {"sample_rate": 8000, "n_fft": 64}),
    "mfcc": ((X,), MEL | {"n_mfcc": 4}),
    "mu_compress": ((X,), {}),
    "mu_dequantize": ((jnp.zeros(4, jnp.int32),), {}),
    "mu_expand": ((X,), {}),
    "mu_quantize": ((X,), {}),
    "multi_resolution_stft": ((X, X), {"n_ffts": (64, 128)}),
    "multi_scale_mel": ((X, X), {"sample_rate": 8000, "n_ffts": (64,), "n_mels": (8,)}),
    "natural_log": ((X,), {}),
    "overlap_add": ((jnp.zeros((5, 64)),), {"hop_length": 16}),
    "pcen": ((jnp.zeros((5, 8)),), {"sample_rate": 8000, "hop_length": 16}),
    "play_at_speed": ((X, jnp.ones(()), jnp.zeros((), jnp.int32)), {"length": 10, "num_taps": 2}),
    "power": ((S,), {}),
    "power_to_db": ((X,), {"top_db": 60.0}),
    "resample": ((X,), {"orig_sr": 10, "target_sr": 9, "num_zeros": 2}),
    "si_sdr": ((X, X), {}),
    "spectrogram": ((X,), {"n_fft": 64, "hop_length": 16, "win_length": 32}),
    "stft": ((X,), {"n_fft": 64, "hop_length": 16, "win_length": 32}),
    "until_end": ((ROWS, LENGTHS), {}),
    "waveform_l1": ((X, X), {}),
    "window": (("hann", 32), {"n_fft": 64}),
}
NONSENSE = [
    float("nan"),
    np.float32("nan"),
    "much",
    object(),
    {"a": 1},
    [[1, 2], [3]],
    np.array(["a"]),
    np.array([None]),
    -1e300,
    b"x",
]
# What has no bounds of its own, and is a number or a text.
NO_NUMBER_IS_TOO_LOW = {"hz", "mel", "min_db"}
CALLED = {"name": "window|name"}


def is_array(value):
    return isinstance(value, jax.Array)


def arguments_of(name):
    args, kwargs = RIGHT[name]
    parameters = inspect.signature(getattr(signal, name)).parameters
    return dict(zip(parameters, args, strict=False)) | kwargs


def call(name, arguments):
    """By position where it has to be."""
    function = getattr(signal, name)
    bound = inspect.signature(function).bind(**arguments)
    return function(*bound.args, **bound.kwargs)


@pytest.mark.parametrize("name", signal.__all__)
@pytest.mark.usefixtures("unchecked_types")
def test_nonsense_is_a_value_error_that_names_the_argument(name):
    right = arguments_of(name)
    for parameter in inspect.signature(getattr(signal, name)).parameters:
        for value in NONSENSE:
            number = isinstance(value, float | np.generic)
            if number and (parameter in NO_NUMBER_IS_TOO_LOW or is_array(right.get(parameter))):
                continue
            with pytest.raises(ValueError, match=CALLED.get(parameter, parameter)) as raised:
                call(name, right | {parameter: value})
            assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", signal.__all__)
@pytest.mark.usefixtures("unchecked_types")
def test_whole_numbers_of_any_type_are_the_same_number(name):
    right = arguments_of(name)
    numbers = {key for key, value in right.items() if isinstance(value, int)}
    if numbers:
        expected = jax.eval_shape(lambda: call(name, right))
        for kind in (float, np.int32, np.float64, np.array, jnp.asarray):
            same = right | {key: kind(right[key]) for key in numbers}
            assert jax.eval_shape(lambda arguments=same: call(name, arguments)) == expected


def test_settings_that_are_traced_are_refused_by_name():
    with pytest.raises(ValueError, match="n_fft must be a whole number that is known"):
        jax.jit(lambda n: signal.stft(X, n_fft=n))(64)
