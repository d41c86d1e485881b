"""What each latent explains by itself, and what is learnt of latents to code them."""

import types

import jax.numpy as jnp
import numpy as np
import pytest

from aejax.data.loader import spread
from aejax.evaluation import latent_map
from aejax.evaluation.evaluate import LatentCodec, identity
from aejax.evaluation.latent_map import Explained
from aejax.representations import Waveform

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


@pytest.mark.usefixtures("unchecked_types")
def test_coding_statistics_are_of_the_whole_split(monkeypatch):
    """Of a split that is soft in its first tenth."""
    monkeypatch.setattr(latent_map, "_MOST_FITTED", 40)
    levels = np.where(np.arange(4000) < 400, 0.01, 1.0)

    def batches(split, most):
        assert split == "train"
        for rows in np.split(np.asarray(spread(levels, most)), most // 4):
            audio = rows[:, None] * RNG.laplace(size=(4, 64))
            yield {"audio": jnp.asarray(audio, jnp.float32), "length": jnp.full(4, 64, jnp.int32)}

    experiment = types.SimpleNamespace(
        batches=batches,
        devices=types.SimpleNamespace(place=lambda batch: batch),
        representation=Waveform(8000, 8),
        downsampling=1,
    )
    codec = LatentCodec("identity", identity, identity, None, None)
    found = latent_map.coding_statistics(experiment, codec)
    assert 0.6 < found.spread.mean() < 1.2
