"""Members of a population are what they would be alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import most_slow, set_model

from aejax import config as config_module
from aejax import objective, parts, representations
from aejax.augmentations import EQ, Chain, Gain, Mix
from aejax.models import autoencoder
from aejax.runtime.errors import UserError
from aejax.sweeps import population
from aejax.sweeps.members import compiled_config, pad_to, unpad
from aejax.sweeps.population_steps import Sequential, Vmapped, vmapped
from aejax.training import loop
from aejax.training import state as states
from aejax.training.recorder import Recorder
from aejax.training.step import make_train_step

# What members may differ in, all of it at once.
MEMBERS = (
    {"model.latent_dim": 5, "seed": 3, "train.learning_rate": 3e-3, "model.conv.dropout": 0.3},
    {"model.latent_dim": 8, "train.weight_decay": 1.0, "loss.l1.weight": 0.5},
    {"model.latent_dim": 2, "train.weight_decay": 0.0, "loss.l2.weight": 0.2},
)


def prepared(small_config, **keys):
    """A step of the config, its first state, and the model."""
    config = config_module.override(small_config, {"loss.l1.weight": 0.1, **keys})
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins)
    tx = states.make_optimizer(config.train, pca_start=config.model.pca_start)
    variables = autoencoder.init(model, jax.random.key(config.seed), config.model.downsampling)
    variables = autoencoder.with_statistics(variables, np.full(80, -40.0), np.asarray(15.0))
    learnt_from = objective.from_config(config, representation)
    key = jax.random.key(config.seed)
    state = states.create(variables, tx, key, learnt_from.weights, ema=True)
    chain = (("mix", Mix(probability=0.5)), ("eq", EQ(db=3.0)), ("gain", Gain(db=6.0)))
    step = make_train_step(
        representation,
        model,
        tx,
        learnt_from,
        samples=representation.samples(4 * config.model.downsampling),
        downsampling=config.model.downsampling,
        augmentation=Chain(chain),
        ema_decay=0.9,
    )
    return config, model, state, step


def batches(config, count):
    rng = np.random.default_rng(0)
    rows, samples = config.train.batch_size, 8192
    for _ in range(count):
        yield {
            "audio": jnp.asarray(0.1 * rng.standard_normal((rows, samples)), jnp.float32),
            "length": jnp.full(rows, samples, jnp.int32),
            "position": jnp.zeros(rows),
        }


@pytest.mark.parametrize(
    ("encoder", "together"),
    most_slow([(x, y) for x in ("conv", "linear", "gru") for y in (False, True)], ("linear", True)),
)
def test_a_member_becomes_what_it_is_alone(small_config, encoder, together):
    keys = parts.keys_of(parts.encoders[encoder])
    small_config.model.conv.update(config_module.default().model.conv)
    small_config.model.update(encoder=encoder, downsampling=4)
    if "width" in keys:
        small_config.model[encoder].update(width=32, depth=1)
    members = [
        {
            key.replace("conv", encoder): value
            for key, value in member.items()
            if "dropout" not in key or "dropout" in keys
        }
        for member in MEMBERS
    ]
    alone, grown, shapes = [], [], []
    wide_config, _, wide, wide_step = prepared(small_config, **members[1])
    for member in members:
        config, _, state, step = prepared(small_config, **member)
        assert compiled_config(config) == compiled_config(wide_config)
        grown.append(pad_to(state, wide))
        shapes.append(jax.eval_shape(lambda x=state: x))
        step = jax.jit(step)
        for batch in batches(config, 3):
            state, metrics = step(state, batch)
        alone.append((state, metrics))
    at_once = Vmapped(jax.jit(vmapped(wide_step)))
    taker = at_once if together else Sequential(jax.jit(wide_step))
    joined = taker.join(grown)
    for batch in batches(wide_config, 3):
        joined, metrics = taker(joined, batch)
    taken = [taker.state(joined, index) for index in range(len(members))]
    found = zip(taken, taker.metrics(metrics), alone, shapes, strict=True)
    for state, scalars, (expected, expected_scalars), like in found:
        for name, value in expected_scalars.items():
            assert float(scalars[name]) == pytest.approx(float(value), rel=1e-4), name
        own = unpad(state, like)
        # Adam makes whole steps of gradients that are all rounding, so a few may differ.
        for ours, theirs in zip(jax.tree.leaves(own), jax.tree.leaves(expected), strict=True):
            assert ours.shape == theirs.shape
            apart = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
            assert np.quantile(apart, 0.9) < 1e-4
        # What was added is as it was: nothing.
        again = pad_to(own, wide)
        for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_of_joined_states_there_is_one_copy():
    given = [counter(jnp.full(3, float(place)), jnp.int32(0)) for place in range(2)]
    joined = Vmapped(lambda *_: None).join(given)
    assert all(state.params["w"].is_deleted() for state in given)
    np.testing.assert_array_equal(joined.params["w"], [[0, 0, 0], [1, 1, 1]])


def counter(value, step):
    return states.TrainState(
        step=step, params={"w": value}, collections={}, opt_state=(),
        weights={}, ema=None, key=None,
    )  # fmt: skip


@pytest.mark.parametrize("encoder", most_slow(list(parts.encoders), "conv", "gru"))
def test_a_grown_model_is_the_same_model(encoder):
    """Also where latents go into a convolution, a recurrent cell or a token."""
    config = config_module.default().model
    own = {"width": 8, "depth": 1, "heads": 2, "strides": (4, 8)}
    keys = parts.keys_of(parts.encoders[encoder])
    own = {name: value for name, value in own.items() if name in keys}
    set_model(config, encoder=encoder, downsampling=4, **own)
    bins = 8

    def model_of(latent_dim):
        config.latent_dim = latent_dim
        model = autoencoder.from_config(config, bins)
        return model, autoencoder.init(model, jax.random.key(0), 4)

    rng = np.random.default_rng(0)

    def shaken(leaf):
        return leaf + jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32)

    (model, variables), (wide_model, wide) = model_of(3), model_of(8)
    variables = {**variables, "params": jax.tree.map(shaken, variables["params"])}
    large = pad_to(variables, wide)
    features = jnp.asarray(rng.standard_normal((2, 16, bins)), jnp.float32)
    latents = autoencoder.encode(model, variables, features)
    many = autoencoder.encode(wide_model, large, features)
    np.testing.assert_allclose(many[..., :3], latents, atol=1e-5)
    np.testing.assert_array_equal(many[..., 3:], 0)
    np.testing.assert_allclose(
        autoencoder.decode(wide_model, large, many),
        autoencoder.decode(model, variables, latents),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("key", "value", "same"),
    [
        ("model.latent_dim", 3, True),
        ("seed", 5, True),
        ("name", "other", True),
        ("train.learning_rate", 0.5, True),
        ("train.weight_decay", 0.0, True),
        ("loss.l2.weight", 3.0, True),
        ("loss.l1.weight", 1.0, False),
        ("model.conv.dropout", 0.3, True),
        ("model.conv.dropout", 0.0, False),
        ("evaluate.example_clips", 1, True),
        ("model.conv.width", 16, False),
        ("data.seed", 1, False),
        ("train.steps", 7, False),
    ],
)
def test_what_members_may_differ_in(small_config, key, value, same):
    changed = config_module.override(small_config, {key: value})
    assert (compiled_config(changed) == compiled_config(small_config)) == same


@pytest.mark.parametrize("bottleneck", ["none", "tanh", "noise", "vae", "ordered", "fsq", "rvq"])
def test_latents_vary_where_each_is_treated_by_itself(small_config, bottleneck):
    small_config.model.bottleneck = bottleneck
    changed = config_module.override(small_config, {"model.latent_dim": 3})
    same = compiled_config(changed) == compiled_config(small_config)
    assert same == (bottleneck in ("none", "tanh"))


@dataclasses.dataclass
class Watched:
    """A population of counters; the members of those places fail at that step."""

    fails: list[int]
    at: int
    stopped: list[int] = dataclasses.field(default_factory=list)

    def join(self, joined):
        return list(joined)

    def __call__(self, joined, batch):
        new = [
            None if place in self.stopped else one.replace(step=one.step + 1)
            for place, one in enumerate(joined)
        ]
        losses = [
            float("nan") if place in self.fails and one is not None and int(one.step) == self.at
            else 1.0
            for place, one in enumerate(new)
        ]  # fmt: skip
        return new, [{"loss/total": np.float32(loss)} for loss in losses]

    def state(self, joined, index):
        return joined[index]

    def metrics(self, fetched):
        return fetched

    def stop(self, index):
        self.stopped.append(index)


def counters():
    return [counter(jnp.zeros(1), np.int32(0)) for _ in range(3)]


@dataclasses.dataclass
class Noted(Recorder):
    """Notes what it is told, and no more; a loss that is not finite is an error."""

    place: int
    saved: list
    logged: list

    def metrics(self, step, metrics, clips):
        if not np.isfinite(metrics["loss/total"]):
            raise UserError(f"step {step}: loss/total is {metrics['loss/total']}")
        self.logged.append((self.place, step))

    def validate(self, step, state):
        assert int(state.step) == step
        self.saved.append((self.place, step))

    save = validate


@dataclasses.dataclass
class Bar:
    """Counts steps."""

    steps: int = 0

    def update(self):
        self.steps += 1


def taken(fails):
    """What comes of six steps in which members fail at the third."""
    saved, logged, bar = [], [], Bar()
    watched = Watched(fails=fails, at=3)
    recorders = [Noted(place, saved, logged) for place in range(3)]
    observers = population._Observers(watched, recorders, bar)
    batches = ({"clip": np.asarray([0])} for _ in range(6))
    try:
        with jax.transfer_guard("allow"):
            loop.run_steps(
                watched.join(counters()),
                watched,
                batches,
                observers,
                first=0,
                steps=6,
                validate_every=2,
                device_put=lambda batch: {},
            )
    except population._AllFailed:
        assert len(observers.errors) == 3
    return observers.errors, watched.stopped, saved, logged, bar.steps


def test_a_member_that_fails_does_not_stop_the_others():
    errors, stopped, saved, logged, steps = taken([1])
    assert list(errors) == stopped == [1]
    assert "step 3: loss/total is nan" in str(errors[1])
    assert [step for place, step in saved if place == 1] == [0, 2]
    for place in (0, 2):
        assert [step for other, step in saved if other == place] == [0, 2, 4, 6]
        assert [step for other, step in logged if other == place] == [1, 2, 3, 4, 5, 6]
    assert max(step for place, step in logged if place == 1) == 2
    assert steps == 6


def test_nothing_goes_on_once_all_members_have_failed():
    errors, stopped, saved, _, steps = taken([0, 1, 2])
    assert sorted(errors) == sorted(stopped) == [0, 1, 2]
    assert max(step for _, step in saved) == 2
    assert steps == 2
