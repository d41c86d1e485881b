import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax.evaluation.latent_refinement import refined
from aejax.models import autoencoder

FRAMES, BINS, LATENTS = 8, 6, 3


def encode_badly(kernel, features):
    """Half of what the transpose of the decoder would give."""
    return 0.5 * features @ kernel.T


def decode(kernel, latents):
    return latents @ kernel


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.standard_normal((4, FRAMES, BINS)), jnp.float32)


@pytest.fixture
def kernel():
    """Of a linear decoder, with rows of unit length that are not orthogonal."""
    rows = np.random.default_rng(1).standard_normal((LATENTS, BINS))
    return jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32)


@pytest.fixture(scope="module")
def network():
    """A small autoencoder that has learnt nothing."""
    config = config_module.default().model
    config.update(encoder="mlp", downsampling=2, latent_dim=4, pca_start=False)
    config.mlp.update(width=8, depth=1)
    model = autoencoder.from_config(config, BINS)
    variables = autoencoder.init(model, jax.random.key(0), 2)
    return (
        functools.partial(autoencoder.encode, model),
        functools.partial(autoencoder.decode, model),
        variables,
    )


def squared_errors(decode, variables, latents, features):
    """Of each row."""
    return np.asarray(jnp.square(decode(variables, latents) - features).sum((1, 2)))


def test_every_row_of_a_network_comes_nearer(network, features):
    encode, decode, variables = network
    before = jax.jit(encode)(variables, features)
    after = jax.jit(refined(encode, decode, 50))(variables, features)
    assert after.shape == before.shape
    was = squared_errors(decode, variables, before, features)
    now = squared_errors(decode, variables, after, features)
    assert (now < 0.98 * was).all()


def test_one_step_moves_every_latent_by_the_learning_rate(kernel, features):
    before = encode_badly(kernel, features)
    after = refined(encode_badly, decode, 1)(kernel, features)
    np.testing.assert_allclose(jnp.abs(after - before), 0.05, rtol=1e-3)
    was = squared_errors(decode, kernel, before, features)
    assert (squared_errors(decode, kernel, after, features) < was).all()


def test_a_linear_decoder_is_brought_to_least_squares(kernel, features):
    found = jax.jit(refined(encode_badly, decode, 500))(kernel, features)
    wanted = np.asarray(features, np.float64).reshape(-1, BINS).T
    best = np.linalg.lstsq(np.asarray(kernel, np.float64).T, wanted)[0].T
    np.testing.assert_allclose(found.reshape(-1, LATENTS), best, atol=2e-2)
    least = np.square(best @ np.asarray(kernel, np.float64) - wanted.T).sum()
    assert squared_errors(decode, kernel, found, features).sum() == pytest.approx(least, rel=1e-3)


def test_what_is_best_already_stays(kernel, features):
    def encode(kernel, features):
        return features @ jnp.linalg.pinv(kernel)

    found = jax.jit(refined(encode, decode, 100))(kernel, decode(kernel, features[..., :LATENTS]))
    np.testing.assert_allclose(found, features[..., :LATENTS], atol=2e-2)


def test_rows_do_not_meet(network, features):
    encode, decode, variables = network
    better = jax.jit(refined(encode, decode, 10))
    found = better(variables, features)
    other = better(variables, features.at[1:].multiply(-30.0))
    np.testing.assert_allclose(found[0], other[0], atol=1e-4)
    assert not np.allclose(found[1], other[1], atol=1e-2)


def test_frames_of_a_decoder_that_sees_one_at_a_time_do_not_meet(kernel, features):
    better = jax.jit(refined(encode_badly, decode, 10))
    found = better(kernel, features)
    other = better(kernel, features.at[:, 5:].set(9.0))
    np.testing.assert_allclose(found[:, :5], other[:, :5], atol=1e-6)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="positive decay_steps"):
        refined(encode_badly, decode, 0)


def test_more_steps_come_nearer(kernel, features):
    errors = [
        squared_errors(
            decode, kernel, jax.jit(refined(encode_badly, decode, n))(kernel, features), features
        ).sum()
        for n in (1, 10, 100)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_no_row_is_ever_worse_for_it(features):
    # Rows at right angles: the gradient at the best latents is rounding, which Adam makes large.
    square = np.linalg.qr(np.random.default_rng(2).standard_normal((BINS, BINS)))[0]
    kernel = jnp.asarray(square[:LATENTS], jnp.float32)

    def encode(kernel, features):
        return features @ kernel.T  # the best there is

    best = squared_errors(decode, kernel, encode(kernel, features), features)
    for steps in (1, 5):
        found = refined(encode, decode, steps)(kernel, features)
        assert (squared_errors(decode, kernel, found, features) <= best).all()
