import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import config as config_module
from aejax import parts
from aejax.models import autoencoder
from aejax.models.bottlenecks import FSQ, VAE, Identity, Noise, Ordered, Tanh
from aejax.models.bottlenecks.base import masked_mean

LATENT_DIM = 6
# Latents that begin at PCA carry noise of e^-2: the logarithm of their variance begins here.
FIRST_LOG_VARIANCE = -4


def normal(*shape, scale=1.0):
    return jnp.asarray(scale * np.random.default_rng(0).standard_normal(shape), jnp.float32)


def run(bottleneck, z, key=None, mask=None, train=False):
    rngs = {} if key is None else {"latents": key}
    return bottleneck.apply({}, z, mask, train=train, rngs=rngs, mutable=["losses"])


def latents_of(bottleneck, z, key=None, train=False):
    return run(bottleneck, z, key, train=train)[0]


def kl_of(bottleneck, z, mask=None):
    return run(bottleneck, z, mask=mask)[1]["losses"]["kl"]


def closed_form_kl(mean, log_variance):
    """Of each Gaussian from the standard one, in nats."""
    mean, log_variance = np.asarray(mean, np.float64), np.asarray(log_variance, np.float64)
    return (mean**2 + np.exp(log_variance) - 1 - log_variance) / 2


@pytest.mark.parametrize("name", sorted(parts.bottlenecks))
def test_latents_are_random_with_a_key_alone_and_only_where_it_says_so(name):
    config = config_module.default().model
    config.update({"encoder": "linear", "bottleneck": name, "latent_dim": LATENT_DIM})
    bottleneck = autoencoder.from_config(config, 4).bottleneck
    z = normal(8, 5, bottleneck.channels)
    start = jax.jit(lambda key: bottleneck.init(key, z, None, train=False))
    variables = start(jax.random.key(0))

    def latents(**rngs):
        return bottleneck.apply(variables, z, None, train=False, rngs=rngs)

    calm = latents()
    assert calm.shape == (8, 5, LATENT_DIM)
    np.testing.assert_array_equal(latents(dropout=jax.random.key(1)), calm)
    first, second = (latents(latents=jax.random.key(i)) for i in (1, 2))
    assert bottleneck.random == (not np.array_equal(first, calm))
    assert bottleneck.random == (not np.array_equal(first, second))


def test_masked_mean_agrees_with_numpy():
    values = normal(3, 5, 2)
    mask = np.random.default_rng(1).uniform(size=(3, 5)) < 0.5
    expected = np.asarray(values)[mask].mean(axis=0)
    np.testing.assert_allclose(masked_mean(values, jnp.asarray(mask)), expected, rtol=1e-5)
    everything = masked_mean(values, None)
    np.testing.assert_allclose(everything, np.mean(values, axis=(0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(masked_mean(values, jnp.zeros((3, 5), bool)), np.zeros(2))


@pytest.mark.parametrize("train", [False, True])
def test_none_is_the_identity(train):
    z = normal(2, 3, LATENT_DIM)
    latents, changed = run(Identity(LATENT_DIM), z, jax.random.key(0), train=train)
    np.testing.assert_array_equal(latents, z)
    assert not changed


def test_tanh_stays_within_its_bound_and_keeps_small_latents():
    z = normal(2, 30, LATENT_DIM, scale=20.0)
    latents = latents_of(Tanh(LATENT_DIM, bound=2.5), z)
    np.testing.assert_allclose(latents, 2.5 * np.tanh(np.asarray(z) / 2.5), rtol=1e-5)
    assert float(jnp.abs(latents).max()) <= 2.5
    small = 1e-2 * normal(2, 3, LATENT_DIM)
    np.testing.assert_allclose(latents_of(Tanh(LATENT_DIM, bound=2.5), small), small, rtol=1e-3)


@pytest.mark.parametrize("level", [0.1, 0.7])
def test_noise_has_the_level_it_is_given(level):
    bottleneck, z = Noise(LATENT_DIM, bound=2.0, level=level), normal(20, 200, LATENT_DIM)
    bounded = latents_of(Tanh(LATENT_DIM, bound=2.0), z)
    np.testing.assert_array_equal(latents_of(bottleneck, z, train=True), bounded)
    noise = np.asarray(latents_of(bottleneck, z, jax.random.key(0)) - bounded)
    assert abs(noise.mean()) < 4 * level / np.sqrt(noise.size)
    np.testing.assert_allclose(noise.std(axis=(0, 1)), level, rtol=0.05)
    correlations = np.corrcoef(noise.reshape(-1, LATENT_DIM).T) - np.eye(LATENT_DIM)
    assert np.abs(correlations).max() < 0.08


@pytest.mark.parametrize("masked", [False, True])
def test_kl_equals_the_closed_form(masked):
    z = normal(3, 5, 2 * LATENT_DIM)
    counts = np.random.default_rng(1).uniform(size=(3, 5)) < (0.5 if masked else 2)
    mean, log_variance = np.split(np.asarray(z), 2, axis=-1)
    expected = closed_form_kl(mean, log_variance + FIRST_LOG_VARIANCE)[counts].mean()
    bottleneck = VAE(LATENT_DIM, kl_weight=1.0, warmup_steps=0, free_bits=0.0)
    kl = kl_of(bottleneck, z, jnp.asarray(counts) if masked else None)
    np.testing.assert_allclose(kl, expected, rtol=1e-5)


@pytest.mark.parametrize(("given", "clipped"), [(-100.0, -20.0), (100.0, 10.0)])
def test_kl_of_extreme_variances_is_finite(given, clipped):
    z = jnp.full((1, 1, 2), given).at[..., 0].set(0.0)
    kl = kl_of(VAE(1, kl_weight=1.0, warmup_steps=0, free_bits=0.0), z)
    np.testing.assert_allclose(kl, closed_form_kl(0, clipped), rtol=1e-5)


def test_free_bits_are_a_floor_under_the_mean_of_each_latent():
    # Of variance 1, and means of no, of little and of much divergence.
    mean = normal(4, 7, 3) * jnp.asarray([0.0, 0.5, 3.0])[None, None]
    z = jnp.concatenate([mean, jnp.full((4, 7, 3), -1.0 * FIRST_LOG_VARIANCE)], axis=-1)
    nats = closed_form_kl(mean, 0).mean(axis=(0, 1))
    assert nats[0] < nats[1] < np.log(2) < nats[2]
    floor = VAE(3, kl_weight=1.0, warmup_steps=0, free_bits=1.0)
    expected = (2 * np.log(2) + nats[2]) / 3
    np.testing.assert_allclose(kl_of(floor, z), expected, rtol=1e-5)
    gradient = jax.grad(lambda z: kl_of(floor, z))(z)
    assert not gradient[..., :2].any()
    assert gradient[..., 2].all()


@pytest.mark.parametrize(
    ("warmup_steps", "expected"), [(4, [0.0, 0.5, 1.5, 2.0, 2.0]), (0, [2.0] * 5)]
)
def test_the_weight_of_the_kl_rises_over_the_warm_up(warmup_steps, expected):
    bottleneck = VAE(LATENT_DIM, kl_weight=2.0, warmup_steps=warmup_steps, free_bits=0.0)
    weights = [float(bottleneck.weights(jnp.asarray(i))["kl"]) for i in (0, 1, 3, 4, 100)]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)


def test_vae_latents_are_the_mean_in_use():
    bottleneck = VAE(LATENT_DIM, kl_weight=1.0, warmup_steps=0, free_bits=0.0)
    z = normal(2, 3, 2 * LATENT_DIM)
    for train in (False, True):
        np.testing.assert_array_equal(latents_of(bottleneck, z, train=train), z[..., :LATENT_DIM])


def test_vae_samples_have_the_stated_mean_and_variance():
    bottleneck = VAE(LATENT_DIM, kl_weight=1.0, warmup_steps=0, free_bits=0.0)
    mean, log_variance = jnp.linspace(-2, 2, LATENT_DIM), jnp.linspace(0, 5, LATENT_DIM)
    z = jnp.tile(jnp.concatenate([mean, log_variance])[None, None], (20, 500, 1))
    samples = np.asarray(latents_of(bottleneck, z, jax.random.key(0)))
    deviation = np.exp((np.asarray(log_variance) + FIRST_LOG_VARIANCE) / 2)
    np.testing.assert_allclose(samples.std(axis=(0, 1)), deviation, rtol=0.05)
    assert (np.abs(samples.mean(axis=(0, 1)) - mean) < 4 * deviation / 100).all()


def test_ordered_keeps_the_first_latents_of_each_excerpt_log_uniformly():
    excerpts = 20_000
    z = jnp.ones((excerpts, 3, LATENT_DIM))
    latents = np.asarray(latents_of(Ordered(LATENT_DIM), z, jax.random.key(0)))
    kept = latents[:, 0].sum(axis=-1).astype(int)
    prefixes = np.arange(LATENT_DIM) < kept[:, None]
    np.testing.assert_array_equal(latents, np.repeat(prefixes[:, None], 3, axis=1))
    share = np.bincount(kept, minlength=LATENT_DIM + 1) / excerpts
    sizes = np.arange(1, LATENT_DIM + 1)
    expected = np.log((sizes + 1) / sizes) / np.log(LATENT_DIM + 1)
    assert len(share) == LATENT_DIM + 1
    np.testing.assert_allclose(share, [0, *expected], atol=4 * 0.5 / np.sqrt(excerpts))


def test_ordered_keeps_all_latents_without_a_key_and_as_many_as_asked():
    bottleneck, z = Ordered(LATENT_DIM), normal(2, 3, LATENT_DIM)
    np.testing.assert_array_equal(latents_of(bottleneck, z, train=True), z)
    for kept in (0, 1, 4, LATENT_DIM):
        first = bottleneck.apply({}, z, kept, method="first")
        np.testing.assert_array_equal(first[..., :kept], z[..., :kept])
        assert not first[..., kept:].any()


LEVELS = (8, 5, 2, 3)


def sweep(latent_dim=LATENT_DIM):
    """All latents alike, from far below to far above the bound."""
    return jnp.tile(jnp.linspace(-30, 30, 2001)[None, :, None], (1, 1, latent_dim))


def test_fsq_reaches_each_of_its_levels_evenly_from_bound_to_bound():
    bottleneck = FSQ(LATENT_DIM, bound=3.0, levels=LEVELS)
    assert bottleneck.codebook_sizes == (8, 5, 2, 3, 8, 5)
    latents = latents_of(bottleneck, sweep())
    for i, levels in enumerate(bottleneck.codebook_sizes):
        grid = np.linspace(-3, 3, levels)
        np.testing.assert_allclose(np.unique(latents[..., i]), grid, atol=1e-6)
        assert latents[..., i].min() == -3
        assert latents[..., i].max() == 3


def test_fsq_rounds_to_the_nearest_level():
    z = normal(3, 40, LATENT_DIM, scale=3.0)
    latents = np.asarray(latents_of(FSQ(LATENT_DIM, bound=3.0, levels=LEVELS), z))
    for i in range(LATENT_DIM):
        grid = np.linspace(-3, 3, LEVELS[i % len(LEVELS)])
        bounded = 3 * np.tanh(np.asarray(z[..., i]) / 3)
        nearest = np.abs(bounded[..., None] - grid).argmin(-1)
        np.testing.assert_allclose(latents[..., i], grid[nearest], atol=1e-6)


def test_fsq_codes_say_which_level():
    bottleneck = FSQ(LATENT_DIM, bound=3.0, levels=LEVELS)
    codes = np.asarray(bottleneck.apply({}, sweep(), method="codes"))
    sizes = np.asarray(bottleneck.codebook_sizes)
    for i, levels in enumerate(sizes):
        np.testing.assert_array_equal(np.unique(codes[..., i]), np.arange(levels))
    latents = latents_of(bottleneck, sweep())
    np.testing.assert_allclose(latents, 3 * (2 * codes / (sizes - 1) - 1), atol=1e-6)


def test_fsq_gradients_pass_as_through_tanh_alone():
    z, weight = normal(3, 7, LATENT_DIM, scale=2.0), normal(3, 7, LATENT_DIM) + 2.0

    def gradient(bottleneck):
        return jax.grad(lambda z: (weight * latents_of(bottleneck, z)).sum())(z)

    ours = gradient(FSQ(LATENT_DIM, bound=3.0, levels=LEVELS))
    np.testing.assert_allclose(ours, gradient(Tanh(LATENT_DIM, bound=3.0)), rtol=1e-4)
    slope = 1 - np.tanh(np.asarray(z) / 3) ** 2
    np.testing.assert_allclose(ours, np.asarray(weight) * slope, rtol=1e-4)
