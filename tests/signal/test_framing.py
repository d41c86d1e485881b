import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aejax.signal import framing

RNG = np.random.default_rng(0)


@settings(deadline=None, max_examples=12)
@given(frame_length=st.integers(1, 40), hop=st.integers(1, 50), extra=st.integers(0, 100))
def test_frames_are_slices(frame_length, hop, extra):
    x = np.arange(frame_length + extra, dtype=np.float32)
    frames = framing.frame(jnp.asarray(x)[None], frame_length=frame_length, hop_length=hop)
    expected = np.lib.stride_tricks.sliding_window_view(x, frame_length)[::hop]
    np.testing.assert_array_equal(frames[0], expected)


@settings(deadline=None, max_examples=12)
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


@settings(deadline=None, max_examples=5)
@given(hop=st.integers(1, 9), count=st.integers(1, 60), data=st.data())
def test_chunks_make_the_same_numbers(hop, count, data):
    """A chunk of any size, also one that does not divide the frames."""
    frame_length = data.draw(st.integers(hop, 30))
    size = data.draw(st.integers(1, count))
    x = RNG.standard_normal((2, (count - 1) * hop + frame_length + 1)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(framing.CHUNK, "cpu", 2 * frame_length * size)
        sizes = {"frame_length": frame_length, "hop_length": hop}
        mapped = framing.map_frames(jnp.fft.rfft, jnp.asarray(x), **sizes)
        back = framing.map_overlap_add(lambda s: jnp.fft.irfft(s, n=frame_length), mapped, **sizes)
    frames = framing.frame(jnp.asarray(x), **sizes)
    np.testing.assert_array_equal(mapped, jnp.fft.rfft(frames))
    expected = framing.overlap_add(frames, hop_length=hop)
    np.testing.assert_allclose(back, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("keep", [0, 2**21])
def test_chunks_have_the_same_derivatives(monkeypatch, keep):
    monkeypatch.setitem(framing.KEEP, "cpu", keep)
    x = jnp.asarray(RNG.standard_normal((2, 1000)), jnp.float32)

    def loudness(x):
        mapped = framing.map_frames(jnp.tanh, x, frame_length=8, hop_length=4)
        back = framing.map_overlap_add(jnp.square, mapped, frame_length=8, hop_length=4)
        return jnp.square(back).sum()

    whole = jax.value_and_grad(loudness)(x)
    monkeypatch.setitem(framing.CHUNK, "cpu", 100)
    assert "while" in jax.jit(loudness).lower(x).as_text()
    np.testing.assert_allclose(jax.grad(loudness)(x), whole[1], rtol=1e-5, atol=1e-5)
    second = jax.grad(lambda x: jnp.sin(jax.grad(loudness)(x)).sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(framing.CHUNK, "cpu", 2**19)
        expected = second(x)
    np.testing.assert_allclose(second(x), expected, rtol=1e-4, atol=1e-4 * expected.max())
    np.testing.assert_allclose(jax.vmap(jax.grad(loudness))(x), whole[1], rtol=1e-5, atol=1e-5)
    # And one signal at a time: of those there is no chunk in common.
    one_by_one = jax.vmap(loudness)(x)
    np.testing.assert_allclose(one_by_one.sum(), whole[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: framing.frame(jnp.zeros(9), frame_length=0, hop_length=1), "frame_length"),
        (lambda: framing.frame(jnp.zeros(9), frame_length=3, hop_length=0), "hop_length .* got 0"),
        (lambda: framing.frame(jnp.zeros(9), frame_length=3, hop_length=1.5), "whole number"),
        (lambda: framing.overlap_add(jnp.zeros((2, 3)), hop_length=-1), "got -1"),
        (lambda: framing.overlap_add(jnp.zeros((0, 3)), hop_length=1), "frames must be"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_bad_sizes_are_refused(call, rule):
    with pytest.raises(ValueError, match=rule):
        call()
