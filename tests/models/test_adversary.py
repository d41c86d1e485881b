"""Latents that are kept from telling who speaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import set_model

from aejax import config as config_module
from aejax.models import autoencoder
from aejax.models.adversary import Adversary, reversed_gradient


def test_the_gradient_comes_back_turned_over():
    x = jnp.asarray([1.0, -2.0])
    value, gradient = jax.value_and_grad(lambda x: jnp.square(reversed_gradient(x, 0.5)).sum())(x)
    assert value == 5
    np.testing.assert_allclose(gradient, -0.5 * 2 * x)


@pytest.fixture(scope="module")
def told():
    adversary = Adversary(3, 1.0)
    rng = np.random.default_rng(0)
    latents = jnp.asarray(rng.standard_normal((6, 5, 4)), jnp.float32)
    mask, speaker = jnp.ones((6, 5)), jnp.asarray([1, 2, 3, 1, 2, 0])
    return (
        adversary,
        adversary.init(jax.random.key(0), latents, mask, speaker),
        latents,
        mask,
        speaker,
    )


def test_rows_of_nobody_and_frames_that_do_not_count_are_left_out(told):
    adversary, variables, latents, mask, speaker = told
    found = adversary.apply(variables, latents, mask, speaker)
    alone = adversary.apply(variables, latents[:5], mask[:5], speaker[:5])
    np.testing.assert_allclose(found, alone, rtol=1e-5)
    assert adversary.apply(variables, latents, mask, 0 * speaker) == 0
    assert adversary.apply(variables, latents, 0 * mask, speaker) == 0


def test_it_learns_where_there_is_something_to_tell(told):
    adversary, variables, latents, mask, speaker = told
    latents = latents + 3 * jax.nn.one_hot(speaker, 4)[:, None]

    @jax.jit
    def better(variables):
        loss, gradient = jax.value_and_grad(adversary.apply)(variables, latents, mask, speaker)
        return loss, jax.tree.map(lambda x, g: x - 0.1 * g, variables, gradient)

    losses = []
    for _ in range(60):
        loss, variables = better(variables)
        losses.append(float(loss))
    assert losses[-1] < 0.3 * losses[0]


def test_it_is_there_in_training_alone():
    config = config_module.default().model
    set_model(config, speaker_label="folder", adversary=0.5, width=8, depth=1)
    set_model(config, latent_dim=4, downsampling=2)
    model = autoencoder.from_config(config, 6, speakers=2)
    variables = autoencoder.init(model, jax.random.key(0), 2)
    features = jax.random.normal(jax.random.key(1), (2, 8, 6))
    speaker = jnp.asarray([1, 2])

    def forward(train):
        key = jax.random.key(2) if train else None
        return autoencoder.forward(
            model, variables, features, None, train=train, key=key, speaker=speaker
        )

    assert set(forward(True).losses) == {"adversary"}
    assert forward(False).losses == {}
    assert "adversary" in variables["params"]
