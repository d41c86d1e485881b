import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from signal_cases import reference_stft, relative_error, scipy_window, stft_parameters

from aejax import signal

SHAPES = [(1024, 256, 1024), (512, 128, 400), (400, 160, 400), (255, 100, 255), (64, 7, 33)]


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(stft_parameters())
def test_stft_agrees_with_librosa_and_with_its_definition(drawn):
    sizes, shape = drawn
    x = noise(shape)
    ours = signal.stft(jnp.asarray(x), **sizes)
    assert ours.dtype == jnp.complex64
    first = (0,) * (len(shape) - 1)
    assert relative_error(ours[first], reference_stft(x[first], **sizes)) < 1e-6
    # What librosa reflects of a signal hardly longer than the transform is not its reflection.
    if shape[-1] >= 2 * sizes["n_fft"]:
        theirs = librosa.stft(x, **sizes | {"window": scipy_window(sizes["window"])})
        assert relative_error(ours, theirs.swapaxes(-1, -2)) < 2e-6


@settings(deadline=None, max_examples=10)
@given(stft_parameters())
def test_stft_agrees_with_scipy(drawn):
    sizes, shape = drawn
    n_fft, hop = sizes["n_fft"], sizes["hop_length"]
    x = noise((*shape[:-1], shape[-1] + n_fft))
    window = scipy.signal.get_window(scipy_window(sizes["window"]), n_fft)
    theirs = scipy.signal.ShortTimeFFT(window, hop, fs=1.0, phase_shift=None).stft(
        x, p0=0, p1=1 + (x.shape[-1] - n_fft) // hop, k_offset=n_fft // 2
    )
    ours = signal.stft(
        jnp.asarray(x), n_fft=n_fft, hop_length=hop, window=sizes["window"], center=False
    )
    assert relative_error(ours, theirs.swapaxes(-1, -2)) < 2e-6


@settings(deadline=None, max_examples=20)
@given(stft_parameters())
def test_stft_agrees_with_torch(drawn):
    torch = pytest.importorskip("torch", reason="torch is in the extra 'bench'")
    sizes, shape = drawn
    x = noise(shape[-1:])
    window = scipy.signal.get_window(scipy_window(sizes["window"]), sizes["win_length"])
    pad_mode = sizes["pad_mode"].replace("edge", "replicate")
    options = {"window": torch.tensor(window, dtype=torch.float32), "pad_mode": pad_mode}
    theirs = torch.stft(torch.tensor(x)[None], **sizes | options, return_complex=True)[0]
    assert relative_error(signal.stft(jnp.asarray(x), **sizes), theirs.numpy().T) < 2e-6


@pytest.mark.parametrize("n_fft", [64, 255, 400, 1000, 1023, 1024, 2048, 4096, 509, 1009])
def test_stft_is_as_exact_as_torchs(n_fft):
    torch = pytest.importorskip("torch", reason="torch is in the extra 'bench'")
    sizes = {"n_fft": n_fft, "hop_length": n_fft // 4, "win_length": n_fft, "center": True}
    x = noise(20 * n_fft)
    exact = reference_stft(x, **sizes, window="hann", pad_mode="reflect")
    window = torch.hann_window(n_fft)
    theirs = torch.stft(torch.tensor(x)[None], **sizes, window=window, return_complex=True)[0]
    ours = signal.stft(jnp.asarray(x), **sizes)
    assert relative_error(ours, exact) <= relative_error(theirs.numpy().T, exact)


@settings(deadline=None, max_examples=10)
@given(stft_parameters(invertible=True))
def test_istft_inverts(drawn):
    sizes, shape = drawn
    x = noise(shape)
    s = signal.stft(jnp.asarray(x), **sizes)
    del sizes["pad_mode"]
    back = signal.istft(s, **sizes, length=shape[-1])
    assert back.shape == x.shape
    win, hop, n_fft = (sizes[key] for key in ("win_length", "hop_length", "n_fft"))
    # Where every hop of the window has been: not under the flanks of the outermost windows.
    first = 0 if sizes["center"] else win + (n_fft - win) // 2
    last = (s.shape[-2] - 1) * hop + (0 if sizes["center"] else (n_fft - win) // 2)
    if last > first:
        assert relative_error(back[..., first:last], x[..., first:last]) < 1e-6


@pytest.mark.parametrize(("n_fft", "hop", "win"), SHAPES)
def test_istft_gives_the_whole_signal(n_fft, hop, win):
    x = noise((2, 5000))
    sizes = {"n_fft": n_fft, "hop_length": hop, "win_length": win}
    back = signal.istft(signal.stft(jnp.asarray(x), **sizes), **sizes, length=5000)
    assert relative_error(back, x) < 1e-6
    theirs = librosa.istft(librosa.stft(x, **sizes, pad_mode="reflect"), **sizes, length=5000)
    assert relative_error(back, theirs) < 2e-6


def test_istft_is_the_least_squares_inverse_as_librosas_is():
    # Of a spectrum that no signal has, where inverses may differ.
    s = noise((40, 33)) + 1j * noise((40, 33), seed=1)
    theirs = librosa.istft(s.T, n_fft=64, hop_length=16)
    ours = signal.istft(jnp.asarray(s), n_fft=64, hop_length=16)
    assert relative_error(ours, theirs) < 2e-6


def test_length_cuts_and_fills():
    s = signal.stft(jnp.asarray(noise(1000)), n_fft=64, hop_length=16)
    whole = signal.istft(s, n_fft=64, hop_length=16)
    assert whole.shape == (62 * 16,)
    cut = signal.istft(s, n_fft=64, hop_length=16, length=500)
    np.testing.assert_allclose(cut, whole[:500], atol=1e-6)
    filled = signal.istft(s, n_fft=64, hop_length=16, length=2000)
    np.testing.assert_allclose(filled[: len(whole)], whole, atol=1e-6)
    assert not filled[1100:].any()


def test_spectrogram_is_magnitude_and_power():
    x = jnp.asarray(noise(1000))
    s = signal.stft(x, n_fft=64)
    np.testing.assert_allclose(signal.magnitude(s), np.abs(s), rtol=1e-6)
    np.testing.assert_allclose(signal.power(s), np.abs(s) ** 2, rtol=1e-6)
    np.testing.assert_allclose(signal.spectrogram(x, n_fft=64), signal.power(s), rtol=1e-6)
    ours = signal.spectrogram(x, n_fft=64, power=1.0)
    np.testing.assert_allclose(ours, signal.magnitude(s), rtol=1e-6)


def test_nothing_is_gathered():
    stft = jax.jit(lambda x: signal.stft(x, n_fft=1024, hop_length=256))
    program = stft.lower(jnp.zeros((4, 16000))).compile()
    assert " gather(" not in program.as_text()


@pytest.mark.parametrize(
    "transform",
    [
        lambda x: signal.spectrogram(x, n_fft=1024, hop_length=256, power=1.0),
        lambda x: signal.stft(x, n_fft=1024, hop_length=256),
        lambda x: signal.power_to_db(
            signal.mel_spectrogram(x, sample_rate=16000, n_fft=1024, hop_length=256, n_mels=80)
        ),
        lambda x: signal.mdct(x),
        lambda x: signal.resample(x, orig_sr=160, target_sr=441),
    ],
)
def test_an_hour_takes_less_than_a_gigabyte(transform):
    hour = jax.ShapeDtypeStruct((3600 * 16000,), jnp.float32)
    memory = jax.jit(transform).lower(hour).compile().memory_analysis()
    assert memory.argument_size_in_bytes + memory.temp_size_in_bytes < 1e9


def test_an_hour_comes_back_in_less_than_a_gigabyte():
    spectrum = jax.ShapeDtypeStruct((225001, 513), jnp.complex64)
    istft = jax.jit(lambda s: signal.istft(s, n_fft=1024, hop_length=256))
    program = istft.lower(spectrum).compile()
    assert program.memory_analysis().temp_size_in_bytes < 1e9
