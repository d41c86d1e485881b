import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax.models.blocks import to_blocks
from aejax.models.pca import BlockMoments, ContextPCA, LeastSquares, neighbours
from aejax.representations import Waveform
from aejax.training import pca_fit

HOP, DOWNSAMPLING, SAMPLES = 3, 2, 60
BLOCK = HOP * DOWNSAMPLING
WAVEFORM = Waveform(8000, HOP)


@pytest.fixture
def batches():
    """Rows of slow noise with clips that end early; what lies behind them is loud."""
    rng = np.random.default_rng(0)
    found = []
    for lengths in ([60, 60, 31], [60, 12, 0], [1, 60, 60], [60, 60, 60]):
        audio = 0.2 * rng.standard_normal((3, SAMPLES + 8))
        audio = np.stack([np.convolve(row, np.ones(9) / 3, mode="valid") for row in audio])
        length = np.asarray(lengths, np.int32)
        blocks = -(-length // BLOCK)
        audio[np.arange(SAMPLES) >= (blocks * BLOCK)[:, None]] = 50.0
        found.append({"audio": audio.astype(np.float32), "length": length})
    return found


def place(batch):
    return {name: jnp.asarray(value) for name, value in batch.items()}


def fit(batches, latent_dim):
    return pca_fit.fit(
        batches,
        representation=WAVEFORM,
        downsampling=DOWNSAMPLING,
        latent_dim=latent_dim,
        device_put=place,
    )


def fit_context(batches, pca, before, after=None, held_out=None):
    after = before if after is None else after
    return pca_fit.fit_context(
        batches,
        held_out or batches,
        pca,
        representation=WAVEFORM,
        before=before,
        after=after,
        device_put=place,
    )


def blocks_of(batches):
    """All blocks ``[rows, latent_frames, block]`` and which of them count."""
    audio = np.concatenate([batch["audio"] for batch in batches]).astype(np.float64)
    length = np.concatenate([batch["length"] for batch in batches])
    blocks = audio.reshape(len(audio), -1, BLOCK)
    return blocks, np.arange(blocks.shape[1]) < -(-length // BLOCK)[:, None]


def squared_error(pca, features, mask):
    error = jnp.square(pca.decode(pca.encode(features)) - features)
    return float(to_blocks(error, DOWNSAMPLING)[mask].sum())


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_streaming_least_squares_agree_with_numpy_on_all_at_once(batch):
    rng = np.random.default_rng(0)
    x = (3 + rng.standard_normal((100, 5))).astype(np.float32)
    y = (x @ rng.standard_normal((5, 2)) - 7 + rng.standard_normal((100, 2))).astype(np.float32)
    squares = LeastSquares(5, 2)
    for start in range(0, 100, batch):
        squares.update(x[start : start + batch], y[start : start + batch])
    found = squares.solve()
    wide = np.pad(x.astype(np.float64), ((0, 0), (0, 1)), constant_values=1)
    expected = np.linalg.lstsq(wide, y.astype(np.float64))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert squares.count == 100
    for any_map in (found, rng.standard_normal(found.shape)):
        left = np.square(wide @ any_map - y).sum()
        assert squares.squared_error(any_map) == pytest.approx(left, rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-3, 0.5])
def test_a_ridge_pulls_towards_another_map_but_for_what_is_added(ridge):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), 5 + rng.standard_normal((50, 3))
    toward = rng.standard_normal((5, 3))
    found = LeastSquares(4, 3).update(x, y).solve(ridge, toward)
    # The same as pairs of their own, the last column of which is 0.
    root = np.sqrt(ridge * 50)
    wide = np.pad(x, ((0, 0), (0, 1)), constant_values=1)
    wide = np.concatenate([wide, root * np.eye(5)[:4]])
    expected = np.linalg.lstsq(wide, np.concatenate([y, root * toward[:4]]))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_of_many_best_maps_the_smallest():
    x = np.repeat(np.random.default_rng(0).standard_normal((50, 1)), 2, axis=1)
    found = LeastSquares(2, 1).update(x, 4 * x[:, :1] + 1).solve()
    np.testing.assert_allclose(found[:, 0], [2, 2, 1], atol=1e-6)


def test_nothing_taken_in_is_a_map_to_zero():
    squares = LeastSquares(2, 3).update(np.zeros((0, 2)), np.zeros((0, 3)))
    np.testing.assert_array_equal(squares.solve(), 0)
    np.testing.assert_array_equal(squares.solve(1.0), 0)


def test_neighbours_beyond_the_ends_are_zero():
    latents = jnp.arange(1.0, 9.0).reshape(1, 4, 2)
    np.testing.assert_array_equal(
        neighbours(latents, 1, 1)[0],
        [[0, 0, 1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [3, 4, 5, 6, 7, 8], [5, 6, 7, 8, 0, 0]],
    )


def test_no_reach_is_the_latents_themselves():
    latents = jnp.arange(8.0).reshape(1, 4, 2)
    np.testing.assert_array_equal(neighbours(latents, 0, 0), latents)


def test_a_reach_beyond_both_ends():
    latents = jnp.asarray([[[1.0], [2.0]]])
    expected = [[0, 0, 0, 1, 2, 0, 0], [0, 0, 1, 2, 0, 0, 0]]
    np.testing.assert_array_equal(neighbours(latents, 3, 3)[0], expected)


def test_rows_have_no_neighbours_in_other_rows():
    latents = jnp.asarray([[[1.0], [2.0]], [[3.0], [4.0]]])
    np.testing.assert_array_equal(neighbours(latents, 1, 1)[1], [[0, 3, 4], [3, 4, 0]])


def test_the_fit_takes_in_the_blocks_that_count_and_no_others(batches):
    blocks, mask = blocks_of(batches)
    expected = BlockMoments(BLOCK).update(blocks[mask])
    found = fit(batches, 4)
    np.testing.assert_allclose(found.pca.mean, expected.mean, atol=1e-5)
    np.testing.assert_allclose(
        np.square(found.pca.deviations), expected.variances()[0][:4], rtol=1e-4
    )
    mean, scale = expected.standardisation(DOWNSAMPLING)
    np.testing.assert_allclose(found.mean, mean, atol=1e-5)
    assert float(found.scale) == pytest.approx(float(scale), rel=1e-5)


def test_what_is_heard_is_what_the_fit_goes_from(batches):
    """To what is to be given back, over the blocks that count."""
    found = pca_fit.fit(
        batches,
        representation=WAVEFORM,
        downsampling=DOWNSAMPLING,
        latent_dim=2,
        device_put=place,
        add_noise=lambda placed: 3 * placed["audio"] - 1,
        held_out=batches,
    )
    clean = fit(batches, 2)
    np.testing.assert_allclose(found.mean, clean.mean, atol=1e-5)
    assert float(found.scale) == pytest.approx(float(clean.scale), rel=1e-5)
    features = WAVEFORM.analyse(jnp.asarray(batches[3]["audio"]))
    back = found.pca.decode(found.pca.encode(3 * features - 1))
    expected = clean.pca.decode(clean.pca.encode(features))
    np.testing.assert_allclose(back, expected, atol=1e-3)


def test_without_reach_the_best_decoder_is_pcas_own(batches):
    pca = fit(batches, 3).pca
    context = fit_context(batches, pca, 0)
    expected = np.asarray(pca.deviations)[:, None] * np.asarray(pca.components)
    np.testing.assert_allclose(context.kernel, expected, atol=1e-4)
    np.testing.assert_allclose(context.bias, pca.mean, atol=1e-4)
    features = WAVEFORM.analyse(jnp.asarray(batches[3]["audio"]))
    latents = pca.encode(features)
    np.testing.assert_array_equal(context.encode(features), latents)
    np.testing.assert_allclose(context.decode(latents), pca.decode(latents), atol=1e-4)


@pytest.mark.parametrize(("before", "after"), [(1, 1), (2, 2), (2, 0), (0, 1)])
def test_the_decoder_in_context_is_the_least_squares_solution(batches, before, after):
    pca = fit(batches, 2).pca
    context = fit_context(batches, pca, before, after)
    blocks, mask = blocks_of(batches)
    latents = (blocks - np.asarray(pca.mean)) @ np.asarray(pca.components).T
    latents = np.pad(latents / np.asarray(pca.deviations), ((0, 0), (before, after), (0, 0)))
    steps, size = blocks.shape[1], before + 1 + after
    around = np.stack([latents[:, i : i + steps] for i in range(size)], axis=2)
    x = np.pad(around[mask].reshape(mask.sum(), -1), ((0, 0), (0, 1)), constant_values=1)
    expected = np.linalg.lstsq(x, blocks[mask])[0]
    np.testing.assert_allclose(context.kernel, expected[:-1], atol=1e-4)
    np.testing.assert_allclose(context.bias, expected[-1], atol=1e-4)
    decoded = context.decode(pca.encode(WAVEFORM.analyse(jnp.asarray(batches[0]["audio"]))))
    ours = np.asarray(to_blocks(decoded, DOWNSAMPLING))[mask[:3]]
    np.testing.assert_allclose(ours, (x @ expected)[: mask[:3].sum()], atol=1e-3)


def test_what_is_held_out_decides_how_far_it_is_from_pca(batches):
    """Context that means nothing elsewhere is left alone there."""
    pca = fit(batches, 2).pca
    rng = np.random.default_rng(5)
    noise = (0.2 * rng.standard_normal((3, SAMPLES))).astype(np.float32)
    other = [{"audio": noise, "length": np.full(3, SAMPLES, np.int32)}]
    freely = fit_context(batches[:1], pca, 2)
    held = fit_context(batches[:1], pca, 2, held_out=other)
    mask = np.ones((3, SAMPLES // BLOCK), bool)
    features = WAVEFORM.analyse(jnp.asarray(noise))
    own = squared_error(pca, features, mask)
    assert squared_error(freely, features, mask) > 1.05 * own
    assert squared_error(held, features, mask) < 1.01 * own


def test_more_context_never_fits_worse(batches):
    pca = fit(batches, 2).pca
    blocks, mask = blocks_of(batches)
    features = WAVEFORM.analyse(jnp.asarray(blocks.reshape(len(blocks), -1), jnp.float32))
    errors = [
        squared_error(fit_context(batches, pca, receptive_field), features, mask)
        for receptive_field in (0, 1, 2)
    ]
    assert errors[0] == pytest.approx(squared_error(pca, features, mask), rel=1e-4)
    assert errors[0] > errors[1] > errors[2]


def test_the_decoder_in_context_is_jitted_as_it_is(batches):
    pca = fit(batches, 2).pca
    context = fit_context(batches, pca, 1)
    latents = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 2)), jnp.float32)
    decoded = jax.jit(ContextPCA.decode)(context, latents)
    assert decoded.shape == (2, 10, HOP)
    np.testing.assert_allclose(decoded, context.decode(latents), atol=1e-5)
    # Zero latents beyond the ends are as good as none.
    padded = jnp.pad(latents, ((0, 0), (1, 1), (0, 0)))
    np.testing.assert_allclose(context.decode(padded)[:, 2:-2], decoded, atol=1e-5)


def test_a_fit_in_context_survives_its_file(batches, tmp_path):
    pca = fit(batches, 2).pca
    context = fit_context(batches, pca, 1, 0)
    pca_fit.save_context(tmp_path / "context.npz", context)
    again = pca_fit.load_context(tmp_path / "context.npz", pca)
    assert again.pca is pca
    assert (again.before, again.after) == (1, 0)
    np.testing.assert_array_equal(again.kernel, context.kernel)
    np.testing.assert_array_equal(again.bias, context.bias)
