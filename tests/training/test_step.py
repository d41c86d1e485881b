import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import representation as representations
from aejax.models import autoencoder
from aejax.training import state as states
from aejax.training.augmentation import (
    Augmentation,
    random_filter,
    random_gain,
    random_mix,
)
from aejax.training.losses import masked_mean_square
from aejax.training.step import make_train_step

# Without mixing, so that rows do not depend on each other.
AUGMENTATION = Augmentation(gain_db=6.0, filter_db=3.0, mix_probability=0.0)


@pytest.fixture
def parts(small_config):
    representation = representations.from_config(small_config)
    model = autoencoder.from_config(small_config.model, representation.bins)
    tx = states.optimiser(small_config.train)
    variables = autoencoder.init(model, jax.random.key(0), 8)
    variables = autoencoder.standardise(variables, np.full(80, -40.0), np.asarray(15.0))
    state = states.create(variables, tx, jax.random.key(1))
    step = make_train_step(representation, model, tx, downsampling=8, augmentation=AUGMENTATION)
    return representation, state, step


@pytest.fixture
def batch():
    t = np.arange(15 * 256) / 16000
    audio = [0.1 * np.sin(2 * np.pi * 220 * 2 ** (k / 4) * t) for k in range(4)]
    return {
        "audio": jnp.asarray(np.stack(audio), jnp.float32),
        "length": jnp.asarray([3840, 3840, 2000, 100], jnp.int32),
    }


def test_golden_step(parts, batch):
    """The metrics of two steps. Update them when a change of the mathematics is meant."""
    _, state, step = parts
    step = jax.jit(step)
    state, first = step(state, batch)
    state, second = step(state, batch)
    for metrics, expected in zip((first, second), GOLDEN, strict=True):
        assert {k: float(v) for k, v in metrics.items()} == pytest.approx(expected, rel=2e-4)
    assert int(state.step) == 2


GOLDEN = (
    {
        "gradient_norm": 28.1813,
        "loss/features": 3.84978,
        "loss/total": 3.84978,
        "parameter_norm": 33.9614,
    },
    {
        "gradient_norm": 28.6128,
        "loss/features": 3.91784,
        "loss/total": 3.91784,
        "parameter_norm": 33.9556,
    },
)


def test_rows_that_only_fill_the_batch_do_not_count(parts, batch):
    _, state, step = parts
    length = jnp.asarray([3840, 100, 0, 0], jnp.int32)
    noise = batch["audio"].at[2:].set(0.3)
    step = jax.jit(step)
    one = step(state, {**batch, "length": length})
    other = step(state, {"audio": noise, "length": length})
    for name in one[1]:
        assert float(one[1][name]) == pytest.approx(float(other[1][name]), rel=1e-5)


def test_the_blocks_that_a_clip_reaches_into_count(parts):
    length = jnp.asarray([0, 100, 7 * 256 - 1, 7 * 256, 8 * 256, 3840], jnp.int32)
    mask = representations.valid_frames(parts[0], length, 16, 8)
    assert mask.sum(axis=1).tolist() == [0, 8, 8, 8, 16, 16]
    assert mask[1].tolist() == [True] * 8 + [False] * 8


def test_masked_mean_square_in_closed_form():
    error = jnp.asarray([[[1.0, 3.0], [5.0, 7.0]]])
    assert float(masked_mean_square(error, jnp.asarray([[True, False]]))) == 5.0
    assert float(masked_mean_square(error, jnp.asarray([[False, False]]))) == 0.0


def test_random_gain_is_in_its_range():
    audio = jnp.ones((1000, 1))
    db = 20 * np.log10(random_gain(jax.random.key(0), audio, 6.0))
    assert -6.01 < db.min() < -5.8
    assert 5.8 < db.max() < 6.01
    np.testing.assert_array_equal(random_gain(jax.random.key(0), audio, 0.0), audio)


def test_random_mix_adds_the_neighbour_softer():
    audio = jnp.eye(1000)
    mixed = random_mix(jax.random.key(0), audio, 0.5) - audio
    added = mixed[mixed > 0]
    assert 400 < added.size < 600
    assert -40.1 < 20 * np.log10(added.min()) < -39
    assert -1 < 20 * np.log10(added.max()) <= 0
    np.testing.assert_array_equal(random_mix(jax.random.key(0), audio, 0.0), audio)


def test_random_filter_has_the_spread_it_says():
    impulses = jnp.zeros((500, 256)).at[:, 0].set(1.0)
    response_db = 20 * np.log10(
        np.abs(np.fft.rfft(random_filter(jax.random.key(0), impulses, 3.0)))
    )
    assert np.abs(response_db.mean()) < 0.3
    # Evenly along the logarithmic axis on which the response is drawn.
    places = np.exp(np.linspace(0, np.log(33), 50)) - 1
    rows = [np.interp(places / 64, np.fft.rfftfreq(256), row) for row in response_db]
    assert np.std(rows) == pytest.approx(3.0, rel=0.15)
    same = random_filter(jax.random.key(0), impulses, 0.0)
    np.testing.assert_allclose(same, impulses, atol=1e-6)


def test_the_learning_rate_warms_up_and_comes_down(small_config):
    small_config.train.update(steps=100, warmup_steps=10, learning_rate=0.5)
    rate = states.learning_rate(small_config.train)
    assert [float(rate(k)) for k in (0, 10, 100)] == pytest.approx([0.0, 0.5, 0.0])
    assert float(rate(5)) == pytest.approx(0.25)
