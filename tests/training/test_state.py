import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aejax import config as config_module
from aejax import parts
from aejax.augmentations import Chain
from aejax.losses.features import L2
from aejax.models import autoencoder
from aejax.objective import Objective
from aejax.optimizers import SCHEDULES
from aejax.representations import Waveform
from aejax.training import state as states
from aejax.training.step import make_train_step

TARGET = {"kernel": jnp.asarray([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.asarray([-1.0, 2.0])}
OPTIMIZERS = list(parts.optimizers)
START = jax.tree.map(jnp.ones_like, TARGET)


def options(**changes):
    config = config_module.default().train
    config.update({"warmup_steps": 0, "weight_decay": 0.0})
    config.update_from_flattened_dict(changes)
    return config


def descend(config, gradients, params=START):
    """Parameters after each of these gradients, ``[steps, ...]``."""
    tx = states.make_optimizer(config, pca_start=True)

    def one(carry, gradient):
        params, opt_state = carry
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(gradient, opt_state, params)
        params = optax.apply_updates(params, updates)
        return (params, opt_state), params

    return jax.jit(lambda: jax.lax.scan(one, (params, tx.init(params)), gradients)[1])()


def random_gradients(count):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal((count, *x.shape)), jnp.float32), START
    )


def last(params):
    return jax.tree.map(lambda x: x[-1], params)


def assert_close(ours, theirs, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), ours, theirs)


def test_the_names_are_those_of_the_config():
    rules = {full: about.rule for full, _, about in config_module.keys()}  # noqa: SIM118
    for key, names in (("train.optimizer", OPTIMIZERS), ("train.schedule", SCHEDULES)):
        assert names
        assert not any(rules[key](name) for name in names)
        assert rules[key]("another")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimiser_finds_the_bottom_of_a_bowl(optimizer):
    config = options(optimizer=optimizer, steps=300, learning_rate=0.05)
    tx = states.make_optimizer(config, pca_start=True)

    def loss(params):
        return optax.tree.norm(optax.tree.sub(params, TARGET), squared=True)

    def one(carry, _):
        params, opt_state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, opt_state = tx.update(gradient, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), value

    begin = (START, tx.init(START))
    losses = jax.jit(lambda: jax.lax.scan(one, begin, length=config.steps)[1])()
    assert float(losses[-1]) < 1e-2 * float(losses[0])


@pytest.mark.parametrize("key", ["adamw.b2", "sgd.momentum"])
def test_the_decay_of_a_moment_reaches_the_optimiser_that_it_is_of(key):
    for optimizer in OPTIMIZERS:
        slow, fast = (
            descend(options(**{"optimizer": optimizer, key: decay}), random_gradients(6))
            for decay in (0.99, 0.5)
        )
        same = np.allclose(slow["kernel"], fast["kernel"], atol=1e-6)
        assert same == (not key.startswith(optimizer))


def test_adamw_is_that_of_optax():
    config = options(schedule="constant", weight_decay=0.2, clip_norm=1e9, **{"adamw.b2": 0.9})
    gradients = random_gradients(4)
    tx = optax.adamw(1e-3, b2=0.9, weight_decay=0.2, mask={"kernel": True, "bias": False})
    params, state = START, tx.init(START)
    for k in range(4):
        gradient = jax.tree.map(lambda x, k=k: x[k], gradients)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    assert_close(last(descend(config, gradients)), params, rtol=1e-5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_matrices_alone_decay(optimizer):
    config = options(optimizer=optimizer, schedule="constant", learning_rate=0.1, weight_decay=0.2)
    nothing = jax.tree.map(lambda x: jnp.zeros((1, *x.shape)), START)
    after = last(descend(config, nothing))
    np.testing.assert_allclose(after["kernel"], 1 - 0.1 * 0.2, rtol=1e-6)
    np.testing.assert_array_equal(after["bias"], 1)


def test_what_begins_at_pca_does_not_decay():
    params = {
        module: {
            "linear": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)},
            "network": {"Dense_0": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
        }
        for module in ("encoder", "decoder")
    }
    begun_anywhere = states.decays(params, pca_start=False)
    found = states.decays(params, pca_start=True)
    for module in ("encoder", "decoder"):
        assert found[module]["linear"] == {"kernel": False, "bias": False}
        assert begun_anywhere[module]["linear"] == {"kernel": True, "bias": False}
        assert found[module]["network"]["Dense_0"] == {"kernel": True, "bias": False}


@pytest.mark.parametrize("norm", [0.5, 100.0])
def test_gradients_longer_than_the_clip_norm_are_shortened(norm):
    gradients = random_gradients(1)
    gradients = optax.tree.scale(norm / optax.tree.norm(gradients), gradients)
    config = options(optimizer="sgd", schedule="constant", learning_rate=1.0, clip_norm=2.0)
    moved = optax.tree.sub(START, last(descend(config, gradients)))
    # Nesterov's momentum of 0.9 on the first step.
    expected = 1.9 * min(norm, 2.0)
    assert float(optax.tree.norm(moved)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("schedule", "middle", "end"),
    [
        ("cosine", 0.25, 0.0),
        ("linear", 0.25, 0.0),
        ("exponential", 0.05, 0.005),
        ("constant", 0.5, 0.5),
    ],
)
def test_schedules_rise_and_then_go_their_way(schedule, middle, end):
    rate = states.learning_rate(
        options(schedule=schedule, steps=100, warmup_steps=20, learning_rate=0.5)
    )
    expected = [0.0, 0.25, 0.5, middle, end]
    assert [float(rate(k)) for k in (0, 10, 20, 60, 100)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_never_turn_up_after_the_warm_up(schedule):
    rate = states.learning_rate(options(schedule=schedule, steps=40, warmup_steps=10))
    rates = np.asarray([float(rate(k)) for k in range(60)])
    assert (np.diff(rates[:11]) > 0).all()
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates.max() == pytest.approx(1e-3)


def test_without_a_warm_up_the_highest_rate_comes_first():
    rate = states.learning_rate(options(steps=10, learning_rate=0.5))
    assert [float(rate(k)) for k in (0, 10)] == pytest.approx([0.5, 0.0])


def test_a_warm_up_takes_half_of_the_updates_at_most():
    rate = states.learning_rate(options(steps=10, warmup_steps=1000, learning_rate=0.5))
    assert [float(rate(k)) for k in (0, 5, 10)] == pytest.approx([0.0, 0.5, 0.0])


@pytest.mark.parametrize("steps", [0, 1])
def test_runs_of_hardly_any_steps_have_a_rate(steps):
    assert float(states.learning_rate(options(steps=steps, warmup_steps=9))(0)) == pytest.approx(
        1e-3
    )


def test_the_schedule_counts_updates_and_not_batches():
    one = states.learning_rate(options(steps=30, warmup_steps=4))
    other = states.learning_rate(options(steps=120, warmup_steps=4, accumulate=4))
    rates = [[float(rate(k)) for k in range(31)] for rate in (one, other)]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_batches_that_accumulate_are_one_update_by_their_mean(optimizer):
    gradients = random_gradients(6)
    means = jax.tree.map(lambda x: x.reshape(2, 3, *x.shape[1:]).mean(1), gradients)
    common = {"optimizer": optimizer, "weight_decay": 0.1, "learning_rate": 0.1}
    slow = descend(options(steps=6, accumulate=3, **common), gradients)
    fast = descend(options(steps=2, **common), means)
    assert_close(jax.tree.map(lambda x: x[2::3], slow), fast, rtol=1e-5)
    for between in (0, 1):
        assert_close(jax.tree.map(lambda x, k=between: x[k], slow), START)
    assert not np.allclose(fast["kernel"][0], START["kernel"])


def test_a_new_state_holds_what_the_model_is_applied_with():
    constants = {"mean": jnp.zeros(3)}
    variables = {"params": START, "constants": constants, "codebooks": {"share": jnp.ones(2)}}
    state = states.create(
        variables, states.make_optimizer(options(), pca_start=True), jax.random.key(3), {"l2": 0.5}
    )
    assert int(state.step) == 0
    assert set(state.collections) == {"constants", "codebooks"}
    assert_close(state.variables, variables)
    assert jax.random.wrap_key_data(state.key) == jax.random.key(3)


def test_the_average_is_a_candidate_where_there_is_one():
    variables = {"params": START, "constants": {"mean": jnp.zeros(3)}}
    tx, key = states.make_optimizer(options(), pca_start=True), jax.random.key(0)
    assert set(states.create(variables, tx, key, {}).candidates) == {"raw"}
    state = states.create(variables, tx, key, {}, ema=True)
    state = state.replace(params=TARGET)
    assert set(state.candidates) == {"raw", "ema"}
    assert_close(state.candidates["raw"]["params"], TARGET)
    assert_close(state.candidates["ema"]["params"], START)
    for candidate in state.candidates.values():
        assert candidate["constants"] is state.collections["constants"]


@pytest.mark.parametrize(("decay", "accumulate"), [(0.3, 1), (0.999, 1), (0.99, 3)])
def test_the_average_is_short_at_first_and_then_as_long_as_it_says(decay, accumulate):
    """Over updates, however many batches make one."""
    config = config_module.default()
    config.model.update(encoder="linear", downsampling=2, latent_dim=2)
    representation = Waveform(8000, 4)
    model = autoencoder.from_config(config.model, representation.bins)
    tx = states.make_optimizer(
        options(schedule="constant", learning_rate=0.1, accumulate=accumulate), pca_start=True
    )
    variables = autoencoder.init(model, jax.random.key(0), 2)
    state = states.create(variables, tx, jax.random.key(1), {"l2": 1.0}, ema=decay > 0)
    step = jax.jit(
        make_train_step(
            representation,
            model,
            tx,
            Objective({"l2": L2()}, representation, 8000),
            samples=64,
            downsampling=2,
            augmentation=Chain(()),
            ema_decay=decay,
        )
    )
    audio = np.random.default_rng(0).standard_normal((3, 64))
    batch = {
        "audio": jnp.asarray(audio, jnp.float32),
        "length": jnp.full(3, 64, jnp.int32),
        "position": jnp.zeros(3),
    }
    expected = jax.tree.map(lambda x: np.asarray(x, np.float64), state.params)
    for k in range(8):
        for _ in range(accumulate):
            state, _ = step(state, batch)
        kept = min(decay, (1 + k) / (10 + k))
        expected = jax.tree.map(
            lambda mean, new, kept=kept: kept * mean + (1 - kept) * np.asarray(new),
            expected,
            state.params,
        )
    assert_close(state.ema, expected, atol=1e-5)
    gap = optax.tree.norm(optax.tree.sub(state.ema, state.params))
    assert float(gap) > 1e-3
