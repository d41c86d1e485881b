import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aejax.signal import framing


@settings(deadline=None, max_examples=40)
@given(frame_length=st.integers(1, 40), hop=st.integers(1, 50), extra=st.integers(0, 100))
def test_frames_are_slices(frame_length, hop, extra):
    x = np.arange(frame_length + extra, dtype=np.float32)
    frames = framing.frame(jnp.asarray(x)[None], frame_length=frame_length, hop_length=hop)
    expected = np.lib.stride_tricks.sliding_window_view(x, frame_length)[::hop]
    np.testing.assert_array_equal(frames[0], expected)


@settings(deadline=None, max_examples=40)
@given(frame_length=st.integers(1, 40), hop=st.integers(1, 50), count=st.integers(1, 7))
def test_overlap_add_is_a_loop(frame_length, hop, count):
    frames = np.random.default_rng(0).standard_normal((2, count, frame_length)).astype(np.float32)
    expected = np.zeros((2, (count - 1) * hop + frame_length))
    for i in range(count):
        expected[:, i * hop : i * hop + frame_length] += frames[:, i]
    result = framing.overlap_add(jnp.asarray(frames), hop_length=hop)
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_too_short_a_signal_is_refused():
    with pytest.raises(ValueError, match="shorter than a frame of 5"):
        framing.frame(jnp.zeros(4), frame_length=5, hop_length=1)


def test_window_is_centred_and_periodic():
    import scipy.signal

    padded = framing.window("hann", 10, 16)
    np.testing.assert_allclose(padded[3:13], scipy.signal.get_window("hann", 10), atol=1e-7)
    assert padded[:3].sum() + padded[13:].sum() == 0


@pytest.mark.parametrize(("name", "length"), [("han", 4), ("hann", 0), ("hann", 17)])
def test_bad_windows_are_refused(name, length):
    with pytest.raises(ValueError, match=r"unknown window|win_length must be"):
        framing.window(name, length, 16)
