import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA as FullSVD

from aejax.models.pca import BlockMoments


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
