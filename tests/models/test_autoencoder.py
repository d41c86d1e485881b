import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import forward, most_slow, set_model

from aejax import config as config_module
from aejax.models import autoencoder
from aejax.models.blocks import Conv1D, from_blocks, to_blocks
from aejax.models.pca import BlockMoments, PairMoments

BINS = 10


def build(**changes):
    config = config_module.default().model
    own = {} if changes.get("encoder") == "linear" else {"width": 16}
    set_model(config, **{"downsampling": 4, "latent_dim": 6, **own, **changes})
    model = autoencoder.from_config(config, BINS)
    return model, autoencoder.init(model, jax.random.key(0), 4)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return jnp.asarray(-30 + 10 * rng.standard_normal((50, 8, BINS)), jnp.float32)


@pytest.fixture
def moments(features):
    return BlockMoments(4 * BINS).update(np.asarray(to_blocks(features, 4)).reshape(-1, 4 * BINS))


def at_pca(model, variables, moments):
    variables = autoencoder.with_statistics(variables, *moments.standardisation(4))
    return autoencoder.start_at_pca(model, variables, moments.pca(6, 4))


def reconstruct(model, variables, features, key=None):
    return forward(model, variables, features, key).features


def test_blocks_go_back_and_forth(features):
    blocks = to_blocks(features, 4)
    assert blocks.shape == (50, 2, 40)
    np.testing.assert_array_equal(blocks[3, 1, :BINS], features[3, 4])
    np.testing.assert_array_equal(from_blocks(blocks, 4), features)


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 5])
def test_the_one_convolution_agrees_with_numpy(kernel_size):
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 7, 3)), jnp.float32)
    layer = Conv1D(4, kernel_size)
    variables = layer.init(jax.random.key(0), x)
    kernel = variables["params"]["kernel"].reshape(kernel_size, 3, 4)
    full = [
        [sum(np.convolve(x[b, :, i], kernel[::-1, i, o]) for i in range(3)) for o in range(4)]
        for b in range(2)
    ]
    first = kernel_size - 1 - kernel_size // 2
    expected = np.asarray(full).transpose(0, 2, 1)[:, first : first + 7]
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize("encoder", ["conv", "linear"])
def test_step_0_equals_pca(encoder, features, moments):
    model, variables = build(encoder=encoder)
    variables = at_pca(model, variables, moments)
    pca = moments.pca(6, 4)
    ours = reconstruct(model, variables, features)
    np.testing.assert_allclose(ours, pca.decode(pca.encode(features)), atol=1e-4)
    latents = model.apply(variables, features, method="encode")
    np.testing.assert_allclose(latents, pca.encode(features), atol=1e-5)


@pytest.mark.parametrize("bottleneck", ["none", "rvq"])
def test_step_0_equals_the_best_map_from_noisy_to_clean(bottleneck, features):
    """Whose encoder is not its decoder turned over; also where latents have one scale for all."""
    noisy = features + jnp.cumsum(features + 31.0, axis=-1)
    pairs = PairMoments(4 * BINS)
    pairs.update(*(np.asarray(to_blocks(x, 4)).reshape(-1, 4 * BINS) for x in (noisy, features)))
    pca = pairs.pca(6, 4, 1e-6, pairs.regression(1e-6))
    model, variables = build(encoder="linear", bottleneck=bottleneck)
    variables = autoencoder.with_statistics(variables, *pairs.standardisation(4))
    variables = autoencoder.start_at_pca(model, variables, pca)
    z = autoencoder.before_bottleneck(model, variables, noisy)
    back = model.apply(variables, z, method="decode")
    np.testing.assert_allclose(back, pca.decode(pca.encode(noisy)), atol=2e-3)
    if bottleneck == "none":
        np.testing.assert_allclose(z, pca.encode(noisy), atol=1e-4)


def test_without_pca_start_the_model_is_not_pca(features, moments):
    model, variables = build(pca_start=False)
    variables = autoencoder.with_statistics(variables, *moments.standardisation(4))
    error = reconstruct(model, variables, features) - features
    pca = moments.pca(6, 4)
    best = pca.decode(pca.encode(features)) - features
    assert float(jnp.square(error).mean()) > 1.1 * float(jnp.square(best).mean())


def test_dropout_acts_in_training_alone(features, moments):
    model, variables = build(dropout=0.5, pca_start=False)
    calm = reconstruct(model, variables, features)
    np.testing.assert_array_equal(calm, reconstruct(model, variables, features))
    shaken = [reconstruct(model, variables, features, key=jax.random.key(i)) for i in (0, 1)]
    assert not np.allclose(shaken[0], shaken[1])
    assert not np.allclose(shaken[0], calm)


def test_width_depth_and_rate_come_from_the_config():
    sizes = {
        name: sum(x.size for x in jax.tree.leaves(build(**changes)[1]["params"]))
        for name, changes in {
            "plain": {},
            "wide": {"width": 32},
            "deep": {"depth": 3},
            "long": {"kernel_size": 5},
        }.items()
    }
    assert len(set(sizes.values())) == 4
    model, variables = build(downsampling=2)
    latents = model.apply(variables, jnp.zeros((1, 8, BINS)), method="encode")
    assert latents.shape == (1, 4, 6)


@pytest.mark.parametrize("encoder", most_slow(["mlp", "conv", "lstm", "transformer"], "mlp"))
def test_a_decoder_can_have_a_size_of_its_own(encoder):
    def sizes(**changes):
        params = build(encoder=encoder, **changes)[1]["params"]
        return [sum(x.size for x in jax.tree.leaves(params[of])) for of in ("encoder", "decoder")]

    small, large = sizes(depth=1), sizes(width=32, depth=2)
    assert sizes(depth=1, decoder_width=32, decoder_depth=2) == [small[0], large[1]]
    assert sizes(depth=2, width=32, decoder_width=16, decoder_depth=1) == [large[0], small[1]]


@pytest.mark.slow
def test_a_wave_decoder_can_have_a_width_of_its_own():
    given = {"encoder": "wave_conv", "strides": (4, BINS), "width": 2}
    plain, wide = build(**given)[1]["params"], build(**given, decoder_width=4)[1]["params"]
    shapes = jax.tree.map(jnp.shape, (plain, wide))
    assert shapes[0]["encoder"] == shapes[1]["encoder"]
    assert shapes[0]["decoder"] != shapes[1]["decoder"]


def test_what_comes_back_lies_within_limits_but_in_training(features, moments):
    model, variables = build()
    variables = at_pca(model, variables, moments)
    lowest, highest = np.full(BINS, -35.0), np.linspace(-30.0, -20.0, BINS)
    limited = autoencoder.with_limits(variables, lowest, highest)
    free = reconstruct(model, variables, features)
    assert float(free.max()) > -20
    expected = np.clip(free, lowest.astype(np.float32), highest.astype(np.float32))
    np.testing.assert_allclose(reconstruct(model, limited, features), expected, rtol=1e-6)
    latents = autoencoder.encode(model, variables, features)
    decoded = autoencoder.decode(model, limited, latents)
    assert (decoded <= highest.astype(np.float32)[None, None]).all()
    np.testing.assert_allclose(decoded, expected, rtol=1e-6)
    key = jax.random.key(0)
    np.testing.assert_array_equal(
        reconstruct(model, limited, features, key), reconstruct(model, variables, features, key)
    )


def test_pca_gives_back_no_more_than_its_training_features_and_a_tenth(features, moments):
    pca = moments.pca(6, 4)
    lowest, highest = np.asarray(features.min((0, 1))), np.asarray(features.max((0, 1)))
    np.testing.assert_allclose(pca.lowest, lowest - 0.1 * (highest - lowest), rtol=1e-5)
    np.testing.assert_allclose(pca.highest, highest + 0.1 * (highest - lowest), rtol=1e-5)
    loud = pca.decode(1000 * pca.encode(features))
    np.testing.assert_array_equal(loud.max((0, 1)), pca.highest)
    np.testing.assert_array_equal(loud.min((0, 1)), pca.lowest)
    narrower = pca.within(np.full(BINS, -40.0), np.full(BINS, 1000.0))
    assert (np.asarray(narrower.lowest) == -40).all()
    np.testing.assert_array_equal(narrower.highest, pca.highest)
