import functools
import math

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import most_slow, set_model

from aejax import config as config_module
from aejax import parts
from aejax.models import autoencoder, blocks
from aejax.models.blocks import Conv1D, ResidualBlock, to_blocks
from aejax.models.encoders import GRU, LSTM, MLP, ConvStack, Transformer, wave_conv
from aejax.models.encoders.recurrent import (
    _GRU,
    _LSTM,
    GRUDecoder,
    RecurrentDecoder,
    RecurrentLayer,
)
from aejax.models.encoders.transformer import TransformerBlock, rotary
from aejax.models.encoders.wave_conv import Snake, WaveDecoder, WaveEncoder
from aejax.models.pca import BlockMoments

BINS, DOWNSAMPLING, LATENT_DIM = 16, 4, 6
BLOCK = BINS * DOWNSAMPLING


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def variables_of(module, x, **given):
    """Random everywhere, also where parameters begin as zeros or ones; a rate of dropout is 0.5."""
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, **given), x)
    rates = jax.tree.map(lambda leaf: jnp.float32(0.5), shapes.pop("dropout", {}))
    rng = np.random.default_rng(0)

    def draw(leaf):
        scale = 1 / np.sqrt(leaf.shape[0]) if len(leaf.shape) > 1 else 0.5
        return jnp.asarray(scale * rng.standard_normal(leaf.shape), jnp.float32)

    return jax.tree.map(draw, shapes) | ({"dropout": rates} if rates else {})


def dependence(f, x):
    """Which step of ``f(x)`` depends on which step of ``x``, ``[steps out, steps in]``."""
    jacobian = jax.jit(jax.jacobian(f))(x)
    return np.asarray(jnp.abs(jacobian).max((0, 2, 3, 5))) > 1e-9


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


# The convolution.


def slow_convolution(x, kernel, bias, dilation):
    """ "Same" length, the middle tap, or the one right of it, on the step itself."""
    taps, _, out = kernel.shape
    steps = x.shape[1]
    y = np.zeros((x.shape[0], steps, out)) + bias
    for tap in range(taps):
        offset = (tap - taps // 2) * dilation
        for step in range(max(0, -offset), min(steps, steps - offset)):
            y[:, step] += x[:, step + offset] @ kernel[tap]
    return y


@pytest.mark.parametrize("steps", [5, 511, 512])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (2, 3), (3, 1), (3, 9), (7, 3)])
def test_convolution_agrees_with_a_slow_one_on_the_short_and_the_long_path(
    steps, kernel_size, dilation
):
    x = normal(2, steps, 3)
    layer = Conv1D(4, kernel_size, dilation)
    variables = variables_of(layer, x)
    kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
    expected = slow_convolution(np.asarray(x), kernel.reshape(-1, 3, 4), bias, dilation)
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


def test_long_signals_take_the_other_path():
    def text(steps):
        layer, x = Conv1D(4, 3), jnp.zeros((1, steps, 3))
        return str(jax.make_jaxpr(lambda x: layer.init(jax.random.key(0), x))(x))

    assert "conv_general_dilated" not in text(blocks._LONG - 1)
    assert "conv_general_dilated" in text(blocks._LONG)


# Networks over blocks.

SMALL = {"out": 3, "width": 8, "dropout": 0.0, "zero_start": False}


@pytest.mark.parametrize(
    ("network", "receptive_field"),
    [
        (MLP(**SMALL, depth=2), 0),
        (ResidualBlock(1, 0.0), 0),
        (ResidualBlock(3, 0.0), 1),
        (ResidualBlock(5, 0.0), 2),
        (Transformer(**SMALL, depth=1, heads=2), 9),
    ],
)
def test_a_network_sees_as_far_as_it_says_on_both_sides(network, receptive_field):
    x = normal(1, 9, 5)
    variables = variables_of(network, x, train=False)
    seen = dependence(lambda x: network.apply(variables, x, train=False), x)
    place = np.arange(9)
    np.testing.assert_array_equal(seen, np.abs(place[:, None] - place) <= receptive_field)


@pytest.mark.parametrize(
    ("depth", "kernel_size", "receptive_field"),
    [(1, 3, (1, 1)), (2, 3, (2, 2)), (1, 5, (2, 2)), (2, 2, (2, 0))],
)
def test_a_stack_of_convolutions_reaches_as_far_as_pca_in_context_is_given(
    depth, kernel_size, receptive_field
):
    x, network = normal(1, 9, 2), ConvStack(**SMALL, depth=depth, kernel_size=kernel_size)
    variables = variables_of(network, x, train=False)
    seen = dependence(lambda x: network.apply(variables, x, train=False), x)
    place = np.arange(9)
    ahead = place - place[:, None]
    np.testing.assert_array_equal(
        seen, (-receptive_field[0] <= ahead) & (ahead <= receptive_field[1])
    )
    assert network.receptive_field == receptive_field


@pytest.mark.parametrize("before", [(), (7,), (2, 5)])
def test_a_product_has_the_gradients_of_a_product(before):
    x, kernel, toward = normal(*before, 3), normal(3, 4, seed=1), normal(*before, 4, seed=2)
    out, transpose = jax.vjp(blocks.product, x, kernel)
    expected, by_jax = jax.vjp(jnp.matmul, x, kernel)
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    for found, wanted in zip(transpose(toward), by_jax(toward), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# Recurrent networks.


def slow_lstm(x, params):
    width = params["state_kernel"].shape[0]
    cell = state = np.zeros((x.shape[0], width))
    states = []
    for step in range(x.shape[1]):
        gates = x[:, step] @ params["input"]["kernel"] + params["input"]["bias"]
        gates = gates + state @ params["state_kernel"] + params["state_bias"]
        i, f, g, o = (gates[:, n * width : (n + 1) * width] for n in range(4))
        cell = sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.stack(states, axis=1)


def slow_gru(x, params):
    width = params["state_kernel"].shape[0]
    state = np.zeros((x.shape[0], width))
    states = []
    for step in range(x.shape[1]):
        by_input = x[:, step] @ params["input"]["kernel"] + params["input"]["bias"]
        by_state = state @ params["state_kernel"] + params["state_bias"]
        reset = sigmoid(by_input[:, :width] + by_state[:, :width])
        update = sigmoid((by_input + by_state)[:, width : 2 * width])
        new = np.tanh(by_input[:, 2 * width :] + reset * by_state[:, 2 * width :])
        state = (1 - update) * new + update * state
        states.append(state)
    return np.stack(states, axis=1)


CELLS = {"lstm": (_LSTM, slow_lstm), "gru": (_GRU, slow_gru)}


@pytest.mark.parametrize("steps", [1, 3, 21])
@pytest.mark.parametrize(("cell", "slow"), CELLS.values(), ids=CELLS)
def test_a_recurrent_layer_agrees_with_a_slow_one(cell, slow, steps):
    x = normal(2, steps, 3)
    layer = RecurrentLayer(cell, 5, 0)
    variables = variables_of(layer, x)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    expected = slow(np.asarray(x, np.float64), params)
    np.testing.assert_allclose(layer.apply(variables, x), expected, atol=1e-5)


@pytest.mark.parametrize(("cell", "slow"), CELLS.values(), ids=CELLS)
def test_gradients_of_a_recurrent_layer_agree_with_differences(cell, slow):
    x, toward = normal(2, 7, 3), np.asarray(normal(2, 7, 5, seed=1), np.float64)
    layer = RecurrentLayer(cell, 5, 0)
    given = (variables_of(layer, x)["params"], x)

    def exact(params, x):
        return (layer.apply({"params": params}, x) * toward.astype(np.float32)).sum()

    gradient = jax.grad(exact, argnums=(0, 1))(*given)
    wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), given)
    leaves, tree = jax.tree.flatten(wide)
    for which, found in enumerate(jax.tree.leaves(gradient)):
        direction = np.random.default_rng(which).standard_normal(found.shape)

        def there(amount, which=which, direction=direction):
            moved = list(leaves)
            moved[which] = leaves[which] + amount * direction
            params, x = tree.unflatten(moved)
            return (slow(x, params) * toward).sum()

        expected = (there(1e-5) - there(-1e-5)) / 2e-5
        np.testing.assert_allclose((found * direction).sum(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cell", [_LSTM, _GRU], ids=["lstm", "gru"])
def test_a_cut_stops_gradients_and_leaves_outputs(cell):
    x = normal(2, 11, 3)
    whole, cut = RecurrentLayer(cell, 5, 0), RecurrentLayer(cell, 5, 4)
    variables = variables_of(whole, x)
    np.testing.assert_array_equal(cut.apply(variables, x), whole.apply(variables, x))
    step = np.arange(11)
    before = step[:, None] >= step
    seen = dependence(lambda x: whole.apply(variables, x), x)
    np.testing.assert_array_equal(seen, before)
    seen = dependence(lambda x: cut.apply(variables, x), x)
    np.testing.assert_array_equal(seen, before & (step[:, None] // 4 == step // 4))


def test_a_layer_can_hold_its_inputs():
    x = normal(2, 3, 4)
    layer, plain = RecurrentLayer(_GRU, 5, 0, hold=4), RecurrentLayer(_GRU, 5, 0)
    params = variables_of(layer, x)["params"]
    kernel = jnp.concatenate([params["input"]["kernel"], params["position"]])
    told = jnp.tile(jnp.eye(4), (2, 3, 1))
    held = jnp.concatenate([jnp.repeat(x, 4, axis=1), told], axis=-1)
    same = {"input": {**params["input"], "kernel": kernel}}
    same |= {key: params[key] for key in ("state_kernel", "state_bias")}
    np.testing.assert_allclose(
        layer.apply({"params": params}, x), plain.apply({"params": same}, held), atol=1e-5
    )


def network_of(kind, **changes):
    keys = {"out": 3, "downsampling": 4, "width": 5, "truncated_bptt_steps": 0, "depth": 2}
    return kind(**keys | {"dropout": 0.0, "zero_start": False} | changes)


@pytest.mark.parametrize("kind", [GRU, LSTM])
@pytest.mark.parametrize("cut", [0, 4])
def test_a_recurrent_encoder_reads_each_block_to_its_end(kind, cut):
    x, network = normal(1, 12, 2), network_of(kind, truncated_bptt_steps=cut)
    variables = variables_of(network, x, train=False)
    seen = dependence(lambda x: network.apply(variables, x, train=False), x)
    block, frame = np.arange(3)[:, None], np.arange(12)
    read = (frame < 4 * (block + 1)) & (frame >= (4 * block if cut else 0))
    np.testing.assert_array_equal(seen, read)


@pytest.mark.parametrize("kind", [GRUDecoder, RecurrentDecoder])
def test_a_recurrent_decoder_hears_the_latents_so_far(kind):
    z, network = normal(1, 3, 2), network_of(kind)
    variables = variables_of(network, z, train=False)
    seen = dependence(lambda z: network.apply(variables, z, train=False), z)
    frame = np.arange(12)[:, None]
    np.testing.assert_array_equal(seen, np.arange(3) <= frame // 4)
    assert network.receptive_field == (math.inf, 0)


def test_a_recurrent_decoder_tells_the_places_in_a_block_apart():
    z, network = jnp.zeros((1, 50, 2)), network_of(GRUDecoder)
    frames = network.apply(variables_of(network, z, train=False), z, train=False)
    late = frames.reshape(50, 4, 3)[40:]
    np.testing.assert_allclose(late, jnp.tile(late[:1], (10, 1, 1)), atol=1e-4)
    assert float(late[0].std(axis=0).min()) > 1e-3


# The transformer.


def test_rotated_tokens_meet_by_how_far_apart_they_are():
    query, key = (jnp.tile(normal(1, 1, 2, 8, seed=seed), (1, 12, 1, 1)) for seed in (0, 1))
    products = np.einsum("bqhs,bkhs->bhqk", rotary(query), rotary(key))
    for head in products[0]:
        for apart in range(-11, 12):
            diagonal = np.diagonal(head, apart)
            np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
        assert np.abs(np.diff(head[0])).min() > 1e-3


def turned(x):
    """`rotary` as products of complex numbers."""
    steps, half = x.shape[1], x.shape[-1] // 2
    wavelengths = 2 * np.pi * 10_000 ** (np.arange(half) / half)
    turns = np.exp(2j * np.pi * np.arange(steps)[:, None] / wavelengths)[None, :, None]
    z = (x[..., :half] + 1j * x[..., half:]) * turns
    return np.concatenate([z.real, z.imag], axis=-1)


def slow_attention(x, params, heads):
    """One transformer block."""

    def dense(name, x):
        return x @ params[name]["kernel"] + params[name]["bias"]

    def norm(name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)
        return x * params[name]["scale"] + params[name]["bias"]

    steps, width = x.shape[1:]
    y = dense("Dense_0", norm("LayerNorm_0", x)).reshape(-1, steps, 3, heads, width // heads)
    query, key, value = turned(y[:, :, 0]), turned(y[:, :, 1]), y[:, :, 2]
    attended = np.zeros_like(value)
    for head in range(heads):
        logits = query[:, :, head] @ key[:, :, head].swapaxes(1, 2) / np.sqrt(width // heads)
        weights = np.exp(logits)
        weights = weights / weights.sum(-1, keepdims=True)
        attended[:, :, head] = weights @ value[:, :, head]
    x = x + dense("Dense_1", attended.reshape(x.shape))
    y = dense("Dense_2", norm("LayerNorm_1", x))
    gelu = y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3))) / 2
    return x + dense("Dense_3", gelu)


def test_a_transformer_block_agrees_with_a_slow_one():
    x, block = normal(2, 7, 12), TransformerBlock(3, 0.0)
    variables = variables_of(block, x, train=False)
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    expected = slow_attention(np.asarray(x, np.float64), params, 3)
    np.testing.assert_allclose(block.apply(variables, x, train=False), expected, atol=2e-5)


# Convolutions on samples.


def test_snake_is_what_it_says():
    x, snake = normal(2, 9, 4), Snake()
    alpha = jnp.asarray([0.3, 1.0, 4.0, -2.0])
    y = snake.apply({"params": {"alpha": alpha}}, x)
    expected = x + np.square(np.sin(alpha[None, None] * x)) / alpha[None, None]
    np.testing.assert_allclose(y, expected, atol=2e-5)
    through_zero = snake.apply({"params": {"alpha": jnp.zeros(4)}}, x)
    np.testing.assert_array_equal(through_zero, x)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_snake_has_the_gradients_of_what_it_says(scale):
    x, toward = scale * normal(2, 9, 4), normal(2, 9, 4, seed=1)
    alpha = jnp.asarray([0.3, 1.0, 4.0, -2.0])[None, None]

    def plain(x, alpha):
        return x + jnp.square(jnp.sin(alpha * x)) * alpha / (jnp.square(alpha) + 1e-6)

    y, backwards = jax.vjp(wave_conv.snake, x, alpha)
    expected, by_jax = jax.vjp(plain, x, alpha)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    for found, wanted in zip(backwards(toward), by_jax(toward), strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5 * scale)


def wave(kind, out, strides):
    return kind(out=out, strides=strides, width=2, dropout=0.0, zero_start=False)


@pytest.mark.parametrize(
    ("strides", "bins", "frames"),
    [((5,), 5, 7), ((2, 3), 3, 8), ((4, 2), 2, 12), ((2, 2, 2), 16, 3)],
)
def test_samples_of_a_latent_frame_are_the_product_of_the_strides(strides, bins, frames):
    features = jnp.zeros((2, frames, bins))
    encoder = wave(WaveEncoder, 3, strides)
    given, variables = jax.eval_shape(
        lambda x: encoder.init_with_output(jax.random.key(0), x, train=False), features
    )
    assert given.shape == (2, frames * bins // np.prod(strides), 3)
    widths = {x.shape[-1] for x in jax.tree.leaves(variables)}
    assert widths == {3, *(2 * 2**stage for stage in range(len(strides) + 1))}
    decoder = wave(WaveDecoder, bins, strides)
    back, _ = jax.eval_shape(
        lambda z: decoder.init_with_output(jax.random.key(0), z, train=False),
        jnp.zeros(given.shape),
    )
    assert back.shape == features.shape


SLOW_STRIDES = [(5,), (2, 2, 2), (4, 8, 8)]


@pytest.mark.parametrize(
    "strides", [(2, 3), (4, 2), *(pytest.param(x, marks=pytest.mark.slow) for x in SLOW_STRIDES)]
)
def test_waves_reach_as_far_as_they_say(strides):
    block = int(np.prod(strides))
    for network, size in (
        (wave(WaveEncoder, 3, strides), block),
        (wave(WaveDecoder, block, strides), 3),
    ):
        before, after = network.receptive_field
        latent_frames = before + after + 9
        x = jnp.zeros((1, latent_frames, size))
        variables = variables_of(network, x, train=False)
        missing = x.at[0, after + 4].set(jnp.nan)
        out = jax.jit(lambda x: network.apply(variables, x, train=False))(missing)  # noqa: B023
        heard = np.flatnonzero(np.isnan(out).any(axis=(0, 2)))
        np.testing.assert_array_equal(heard, np.arange(4, latent_frames - 4))


def pulse(steps, place, channels):
    return jnp.zeros((1, steps, channels)).at[0, place].set(1.0)


def test_frames_of_samples_make_no_difference_to_a_wave_encoder():
    encoder, x = wave(WaveEncoder, 3, (2, 3)), normal(1, 8, 6)
    variables = variables_of(encoder, x, train=False)
    apply = jax.jit(lambda x: encoder.apply(variables, x, train=False))
    np.testing.assert_array_equal(apply(x), apply(x.reshape(1, 24, 2)))


def begun_wave(network, x):
    """Where silence stays silence, as biases are zero."""
    variables = jax.jit(lambda x: network.init(jax.random.key(0), x, train=False))(x)
    return jax.jit(lambda x: network.apply(variables, x, train=False))


def test_samples_a_latent_frame_later_are_latents_a_frame_later():
    apply = begun_wave(wave(WaveEncoder, 3, (2, 3)), pulse(600, 0, 1))
    early, late, between = (apply(pulse(600, place, 1)) for place in (300, 306, 303))
    np.testing.assert_allclose(late[:, 1:], early[:, :-1], atol=1e-6)
    np.testing.assert_array_equal(early[:, [0, -1]], jnp.zeros((1, 2, 3)))
    assert float(jnp.abs(between[:, 1:] - early[:, :-1]).max()) > 1e-3


def test_latents_a_frame_later_are_samples_a_latent_frame_later():
    apply = begun_wave(wave(WaveDecoder, 1, (2, 3)), pulse(100, 0, 3))
    early, late = (apply(pulse(100, place, 3)) for place in (50, 51))
    assert early.shape == (1, 600, 1)
    np.testing.assert_allclose(late[:, 6:], early[:, :-6], atol=1e-6)
    heard = np.flatnonzero(early)
    before, after = 50 * 6 - heard[0], heard[-1] - (51 * 6 - 1)
    assert before == after > 0


# Every encoder as config.model names it.

USUAL = {"width": 16, "depth": 1, "heads": 2, "strides": (64,)}


def build(encoder, dtype=jnp.float32, **changes):
    keys = parts.keys_of(parts.encoders[encoder])
    own = USUAL | ({"width": 4} if encoder == "wave_conv" else {})
    own = {name: value for name, value in own.items() if name in keys}
    config = config_module.default().model
    sizes = {"encoder": encoder, "downsampling": DOWNSAMPLING, "latent_dim": LATENT_DIM}
    set_model(config, **sizes, **own | changes)
    return autoencoder.from_config(config, BINS, dtype)


def begun(encoder, **changes):
    model = build(encoder, **changes)
    return model, autoencoder.init(model, jax.random.key(0), DOWNSAMPLING)


forward = jax.jit(conftest.forward, static_argnums=0)


@pytest.fixture
def features():
    return -30 + 10 * normal(20, 8, BINS)


@pytest.fixture
def moments(features):
    vectors = np.asarray(to_blocks(features, DOWNSAMPLING)).reshape(-1, BLOCK)
    return BlockMoments(BLOCK).update(vectors)


@pytest.fixture
def at_pca(moments):
    """``at_pca(model, variables)`` begins as PCA."""
    pca = moments.pca(LATENT_DIM, DOWNSAMPLING)

    def start(model, variables):
        variables = autoencoder.with_statistics(variables, *moments.standardisation(DOWNSAMPLING))
        return autoencoder.start_at_pca(model, variables, pca)

    return start


@pytest.mark.parametrize("encoder", most_slow(list(parts.encoders), "conv", "linear", "gru"))
def test_step_0_equals_pca_and_learns_beyond_it(encoder, features, moments, at_pca):
    model, variables = begun(encoder)
    variables = at_pca(model, variables)
    pca = moments.pca(LATENT_DIM, DOWNSAMPLING)

    def error(params):
        output = forward(model, {**variables, "params": params}, features)
        return jnp.square(output.features - features).mean(), output

    gradients, output = jax.grad(error, has_aux=True)(variables["params"])
    np.testing.assert_allclose(output.latents, pca.encode(features), atol=1e-5)
    np.testing.assert_allclose(output.features, pca.decode(pca.encode(features)), atol=1e-4)
    networks = [gradients[part].get("network", {}) for part in ("encoder", "decoder")]
    moving = [any(x.any() for x in jax.tree.leaves(network)) for network in networks]
    assert moving == [encoder != "linear"] * 2


@pytest.mark.parametrize("bottleneck", ["vae", "ordered", "rvq"])
def test_the_encoder_begins_as_pca_of_any_bottleneck(bottleneck, features, moments, at_pca):
    model, variables = begun("linear", bottleneck=bottleneck)
    variables = at_pca(model, variables)
    pca = moments.pca(LATENT_DIM, DOWNSAMPLING)
    given = autoencoder.before_bottleneck(model, variables, features)
    expected = pca.encode(features)
    if bottleneck == "rvq":
        assert not model.bottleneck.whitened
        one_scale = np.sqrt(np.square(pca.deviations).mean())
        expected = expected * (pca.deviations / one_scale)[None, None]
        back = autoencoder.decode(model, variables, given)
        np.testing.assert_allclose(back, pca.decode(pca.encode(features)), atol=1e-4)
    np.testing.assert_allclose(given[..., :LATENT_DIM], expected, atol=1e-5)
    assert not given[..., LATENT_DIM:].any()


@pytest.fixture
def without_constants():
    """``without_constants(model, features)``: variables of a model that does not standardise."""

    def draw(model, features):
        variables = variables_of(model, features)
        return autoencoder.with_statistics(variables, np.zeros(BINS), np.ones(()))

    return draw


@pytest.mark.parametrize("encoder", most_slow(list(parts.encoders), "conv", "gru"))
def test_bfloat16_is_inside_alone(encoder, without_constants):
    features, outputs = normal(4, 8, BINS), {}
    # Flax's layer norm promotes on its own.
    promotion = "standard" if encoder in ("conv", "transformer") else "strict"
    with jax.numpy_dtype_promotion(promotion):
        for dtype in (jnp.float32, jnp.bfloat16):
            model = build(encoder, dtype, pca_start=False)
            parameters = jax.eval_shape(model.init, jax.random.key(0), features)
            assert {x.dtype for x in jax.tree.leaves(parameters)} == {jnp.dtype("float32")}
            variables = without_constants(model, features)
            outputs[dtype] = forward(model, variables, features)
    exact, rough = outputs[jnp.float32], outputs[jnp.bfloat16]
    for ours, theirs in ((exact.features, rough.features), (exact.latents, rough.latents)):
        assert theirs.dtype == jnp.float32
        apart = float(jnp.linalg.norm(ours - theirs) / jnp.linalg.norm(ours))
        if encoder == "linear":
            assert apart == 0
        else:
            # What is not fused is rounded after every operation.
            assert 1e-4 < apart < 0.2


@functools.partial(jax.jit, static_argnums=(0, 4))
def sides(model, variables, features, key, train):
    """Outputs of the encoder and of the decoder alone."""
    apply = functools.partial(model.apply, variables, rngs={"dropout": key})
    latents = jnp.ones((len(features), 2, LATENT_DIM))
    return (
        apply(features, method=lambda model, x: model.encoder(x, train=train)),
        apply(latents, method=lambda model, z: model.decoder(z, train=train)),
    )


@pytest.mark.parametrize("encoder", [name for name in parts.encoders if name != "linear"])
def test_dropout_acts_in_training_alone_wherever_a_network_is(encoder, without_constants):
    features = normal(4, 8, BINS)
    model = build(encoder, dropout=0.5, pca_start=False)
    variables = without_constants(model, features)
    run = functools.partial(sides, model, variables, features)
    calm, again = run(jax.random.key(0), False), run(jax.random.key(1), False)
    shaken, otherwise = run(jax.random.key(0), True), run(jax.random.key(1), True)
    for side in range(2):
        np.testing.assert_array_equal(calm[side], again[side])
        assert not np.allclose(shaken[side], calm[side], atol=1e-3)
        assert not np.allclose(shaken[side], otherwise[side], atol=1e-3)
