"""What each latent explains by itself."""

import numpy as np
import pytest

from aejax.latents import Explained

RNG = np.random.default_rng(0)


def test_of_pca_it_is_the_explained_variance_ratio():
    x = RNG.standard_normal((2000, 6)) @ RNG.standard_normal((6, 6)) + 40
    values, vectors = np.linalg.eigh(np.cov(x.T))
    explained = Explained()
    for part in np.split(x, 4):
        explained.add((part - 1) @ vectors[:, ::-1], part)
    found = explained.fractions()
    np.testing.assert_allclose(found, values[::-1] / values.sum(), rtol=1e-3, atol=1e-6)
    assert found.sum() == pytest.approx(1, abs=1e-4)


def test_what_is_constant_or_unrelated_explains_nothing():
    x = RNG.standard_normal((5000, 3))
    explained = Explained()
    explained.add(np.stack([np.ones(5000), RNG.standard_normal(5000), 3 * x[:, 0]], axis=1), x)
    np.testing.assert_allclose(explained.fractions(), [0, 0, 1 / 3], atol=0.02)
