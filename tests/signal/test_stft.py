import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from aejax import signal

RNG = np.random.default_rng(0)
SHAPES = [(1024, 256, 1024), (512, 128, 400), (400, 160, 400), (255, 100, 255), (64, 7, 33)]


def relative_error(x, y):
    return np.linalg.norm(np.asarray(x) - y) / np.linalg.norm(y)


@pytest.mark.parametrize(("n_fft", "hop", "win"), SHAPES)
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("pad_mode", ["reflect", "constant", "edge"])
def test_stft_agrees_with_librosa(n_fft, hop, win, center, pad_mode):
    x = RNG.standard_normal((2, 5000)).astype(np.float32)
    ours = signal.stft(
        jnp.asarray(x),
        n_fft=n_fft,
        hop_length=hop,
        win_length=win,
        center=center,
        pad_mode=pad_mode,
    )
    theirs = librosa.stft(
        x, n_fft=n_fft, hop_length=hop, win_length=win, center=center, pad_mode=pad_mode
    )
    assert ours.dtype == jnp.complex64
    assert relative_error(ours, theirs.swapaxes(-1, -2)) < 2e-6


def test_stft_agrees_with_its_definition():
    n_fft, hop = 32, 8
    x = RNG.standard_normal(100)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    expected = [
        [
            sum(x[t + n] * window[n] * np.exp(-2j * np.pi * k * n / n_fft) for n in range(n_fft))
            for k in range(n_fft // 2 + 1)
        ]
        for t in range(0, 100 - n_fft + 1, hop)
    ]
    ours = signal.stft(jnp.asarray(x, jnp.float32), n_fft=n_fft, hop_length=hop, center=False)
    assert relative_error(ours, np.asarray(expected)) < 2e-6


@pytest.mark.parametrize(("n_fft", "hop", "win"), SHAPES)
def test_istft_inverts(n_fft, hop, win):
    x = RNG.standard_normal((2, 5000)).astype(np.float32)
    sizes = {"n_fft": n_fft, "hop_length": hop, "win_length": win}
    s = signal.stft(jnp.asarray(x), **sizes)
    back = signal.istft(s, **sizes, length=5000)
    covered = (s.shape[-2] - 1) * hop
    assert back.shape == x.shape
    assert relative_error(back[:, :covered], x[:, :covered]) < 1e-6


def test_istft_refuses_gaps_and_wrong_bins():
    s = jnp.zeros((5, 33), jnp.complex64)
    with pytest.raises(ValueError, match="uncovered; hop_length must be below 64"):
        signal.istft(s, n_fft=64, hop_length=80)
    with pytest.raises(ValueError, match="makes 65 bins"):
        signal.istft(s, n_fft=128)


def test_any_leading_dimensions_and_transformations():
    x = jnp.asarray(RNG.standard_normal((3, 2, 600)), jnp.float32)

    def f(x):
        return signal.stft(x, n_fft=64, hop_length=16)

    together = f(x)
    assert together.shape == (3, 2, 38, 33)
    np.testing.assert_allclose(jax.vmap(jax.vmap(jax.jit(f)))(x), together, atol=1e-5)


def test_power_has_a_gradient_at_silence():
    def loudness(x):
        return signal.power(signal.stft(x, n_fft=64)).sum()

    assert np.isfinite(jax.grad(loudness)(jnp.zeros(256))).all()
