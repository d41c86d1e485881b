import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA as FullSVD

from aejax.models.pca import BlockMoments, PairMoments


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((24, 24)) * np.geomspace(30, 0.1, 24)
    return (rng.standard_normal((500, 24)) @ mixing - 40 * rng.uniform(0, 1, 24)).astype(np.float32)


def moments_of(vectors, batch):
    moments = BlockMoments(vectors.shape[1])
    for start in range(0, len(vectors), batch):
        moments.update(vectors[start : start + batch])
    return moments


@pytest.mark.parametrize("batch", [1, 37, 500])
def test_streaming_agrees_with_a_full_svd(vectors, batch):
    svd = FullSVD(svd_solver="full").fit(vectors.astype(np.float64))
    variances, components = moments_of(vectors, batch).variances()
    np.testing.assert_allclose(variances, svd.explained_variance_, rtol=1e-5)
    for size in (1, 8, 20):
        ours, theirs = components[:size], svd.components_[:size]
        np.testing.assert_allclose(ours.T @ ours, theirs.T @ theirs, atol=1e-5)


def test_encode_and_decode_are_the_best_projection(vectors):
    pca = moments_of(vectors, 100).pca(5, downsampling=4)
    features = jnp.asarray(vectors).reshape(10, 200, 6)
    latents = pca.encode(features)
    assert latents.shape == (10, 50, 5)
    np.testing.assert_allclose(latents.reshape(-1, 5).std(axis=0), 1, rtol=0.01)
    svd = FullSVD(5, svd_solver="full").fit(vectors)
    expected = svd.inverse_transform(svd.transform(vectors))
    np.testing.assert_allclose(pca.decode(latents).reshape(500, 24), expected, atol=2e-3)


def test_standardisation_is_one_mean_a_bin_and_one_scale(vectors):
    mean, scale = moments_of(vectors, 100).standardisation(downsampling=4)
    frames = vectors.astype(np.float64).reshape(-1, 6)
    np.testing.assert_allclose(mean, frames.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(scale, np.sqrt(np.mean((frames - mean) ** 2)), rtol=1e-6)


def test_constant_features_do_no_harm():
    pca = BlockMoments(4).update(np.ones((10, 4), np.float32)).pca(2, downsampling=2)
    features = jnp.ones((1, 2, 2))
    np.testing.assert_allclose(pca.decode(pca.encode(features)), features, atol=1e-6)


def test_directions_without_variance_do_not_set_the_scale_of_the_others():
    rng = np.random.default_rng(0)
    plane = 1e-3 * rng.standard_normal((200, 2)) @ rng.standard_normal((2, 8))
    moments = BlockMoments(8)
    moments.update(plane)
    deviations = np.asarray(moments.pca(4, 2).deviations)
    assert deviations[:2] == pytest.approx(np.sqrt(moments.variances()[0][:2]), rel=1e-4)
    assert deviations[2:] == pytest.approx(deviations[0])


RIDGES = [1e-9, 1e-3, 1.0]


@pytest.fixture
def pairs(vectors):
    """What is heard, and what is to be given back: one direction is drowned."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(vectors.shape)
    noise += 100 * rng.standard_normal((len(vectors), 1)) * rng.standard_normal(vectors.shape[1])
    return (vectors + noise + 7.0).astype(np.float32), vectors


def pairs_of(pairs, batch=500):
    moments = PairMoments(pairs[0].shape[1])
    for start in range(0, len(pairs[0]), batch):
        moments.update(*(x[start : start + batch] for x in pairs))
    return moments


def through(pca, x):
    features = jnp.asarray(x).reshape(10, -1, 6)
    return np.asarray(pca.decode(pca.encode(features))).reshape(x.shape)


def of_rank(pairs, rank, ridge=1e-9):
    moments = pairs_of(pairs)
    return moments.pca(rank, 4, ridge, moments.regression(ridge))


@pytest.mark.parametrize("rank", [2, 8])
def test_the_best_map_of_a_rank_is_least_squares_and_then_a_full_svd(pairs, rank):
    x, y = (z.astype(np.float64) for z in pairs)
    whole = np.linalg.lstsq(x - x.mean(0), y - y.mean(0))[0]
    fitted = (x - x.mean(0)) @ whole
    keep = np.linalg.svd(fitted, full_matrices=False)[2][:rank]
    expected = fitted @ keep.T @ keep + y.mean(0)
    pca = of_rank(pairs, rank)
    np.testing.assert_allclose(through(pca, pairs[0]), expected, atol=0.02)
    # Nothing linear that knows less of what is asked comes near.
    blind = BlockMoments(24).update(y).pca(rank, 4)
    errors = [np.square(through(one, pairs[0]) - y).mean() for one in (pca, blind)]
    assert errors[0] < 0.8 * errors[1]


def test_latents_of_what_is_heard_have_unit_variance_and_come_in_order(pairs):
    pca = of_rank(pairs, 6)
    latents = np.asarray(pca.encode(jnp.asarray(pairs[0]).reshape(10, 200, 6))).reshape(-1, 6)
    np.testing.assert_allclose(latents.std(axis=0), 1, rtol=0.01)
    assert (np.diff(pca.deviations) < 0).all()
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(6), atol=1e-5)


def test_the_first_latents_of_the_best_map_are_the_best_map_of_fewer(pairs):
    more, fewer = of_rank(pairs, 8).first(3), of_rank(pairs, 3)
    np.testing.assert_allclose(through(more, pairs[0]), through(fewer, pairs[0]), atol=1e-3)


@pytest.mark.parametrize("batch", [1, 37])
def test_pairs_in_batches_are_pairs_at_once(pairs, batch):
    ours, theirs = pairs_of(pairs, batch), pairs_of(pairs)
    np.testing.assert_allclose(ours.cross, theirs.cross, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(ours.input.scatter, theirs.input.scatter, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12)
    of_outputs = BlockMoments(24).update(pairs[1])
    for found, expected in zip(ours.standardisation(4), of_outputs.standardisation(4), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("ridge", RIDGES)
def test_of_pairs_of_equals_the_best_map_is_pca(vectors, ridge):
    ours = of_rank((vectors, vectors), 5, ridge)
    theirs = BlockMoments(24).update(vectors).pca(5, 4)
    np.testing.assert_allclose(through(ours, vectors), through(theirs, vectors), atol=1e-3)
    np.testing.assert_allclose(ours.deviations, theirs.deviations, rtol=1e-4)


@pytest.mark.parametrize("ridge", RIDGES)
def test_what_a_map_leaves_of_other_pairs(pairs, ridge):
    here, others = pairs_of([z[:300] for z in pairs]), pairs_of([z[300:] for z in pairs])
    regression = here.regression(ridge)
    x, y = (z[300:].astype(np.float64) for z in pairs)
    rest = y - here.mean - (x - here.input.mean) @ regression
    expected = np.square(rest).sum()
    assert others.squared_error(here, regression) == pytest.approx(expected, rel=1e-6)


def test_of_too_few_pairs_a_pull_makes_a_map_that_is_good_for_others():
    rng = np.random.default_rng(2)
    clean = rng.standard_normal((400, 24))
    pairs = clean + 0.5 * rng.standard_normal(clean.shape), clean
    few, others = pairs_of([z[:30] for z in pairs]), pairs_of([z[30:] for z in pairs])
    errors = [others.squared_error(few, few.regression(ridge)) for ridge in (1e-9, 1.0)]
    assert errors[1] < 0.7 * errors[0]


def test_a_map_of_silence_does_no_harm():
    x = np.ones((10, 4), np.float32)
    moments = PairMoments(4).update(x, 2 * x)
    pca = moments.pca(2, 2, 1e-6, moments.regression(1e-6))
    features = jnp.ones((1, 2, 2))
    np.testing.assert_allclose(pca.decode(pca.encode(features)), 2, atol=1e-6)
