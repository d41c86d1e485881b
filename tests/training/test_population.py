"""Members of a population are what they would be alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import most_slow

from aejax import config as config_module
from aejax import representation as representations
from aejax.models import autoencoder
from aejax.training import loop, population
from aejax.training import state as states
from aejax.training.augmentation import Augmentation
from aejax.training.losses import Objective
from aejax.training.step import make_train_step

# What members may differ in, all of it at once.
MEMBERS = (
    {"model.latent_dim": 5, "seed": 3, "train.learning_rate": 3e-3, "model.dropout": 0.3},
    {"model.latent_dim": 8, "train.weight_decay": 1.0, "loss.l1.weight": 0.5},
    {"model.latent_dim": 2, "train.weight_decay": 0.0, "loss.l2.weight": 0.2},
)


def prepared(small_config, **keys):
    """A step of the config, its first state, and the model."""
    config = config_module.override(small_config, {"loss.l1.weight": 0.1, **keys})
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins)
    tx = states.optimiser(config.train, pca_start=config.model.pca_start)
    variables = autoencoder.init(model, jax.random.key(config.seed), config.model.downsampling)
    variables = autoencoder.standardise(variables, np.full(80, -40.0), np.asarray(15.0))
    weights = {name: loss.weight for name, loss in config.loss.items() if loss.weight}
    state = states.create(variables, tx, jax.random.key(config.seed), weights, ema=True)
    step = make_train_step(
        representation,
        model,
        tx,
        Objective(weights, representation, 16000),
        samples=representation.samples(4 * config.model.downsampling),
        downsampling=config.model.downsampling,
        augmentation=Augmentation(gain_db=6.0, eq_db=3.0, mix_probability=0.5),
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
            "place": jnp.zeros(rows),
        }


@pytest.mark.parametrize(
    ("encoder", "together"),
    most_slow([(x, y) for x in ("conv", "linear", "gru") for y in (False, True)], ("linear", True)),
)
def test_a_member_becomes_what_it_is_alone(small_config, encoder, together):
    keys = config_module.ENCODERS[encoder]
    usual = config_module.default().model
    small_config.model.update(encoder=encoder, downsampling=4)
    for key in ("width", "depth", "dropout"):
        if key not in keys:
            small_config.model[key] = usual[key]
    members = [
        {key: value for key, value in member.items() if "dropout" not in key or "dropout" in keys}
        for member in MEMBERS
    ]
    alone, grown, shapes = [], [], []
    wide_config, _, wide, wide_step = prepared(small_config, **members[1])
    for member in members:
        config, _, state, step = prepared(small_config, **member)
        assert population.shared(config) == population.shared(wide_config)
        grown.append(population.grown(state, wide))
        shapes.append(jax.eval_shape(lambda x=state: x))
        step = jax.jit(step)
        for batch in batches(config, 3):
            state, metrics = step(state, batch)
        alone.append((state, metrics))
    if together:
        taker = population.AtOnce(jax.jit(population.at_once(wide_step)))
    else:
        taker = population.InTurns(jax.jit(wide_step))
    joined = taker.join(grown)
    for batch in batches(wide_config, 3):
        joined, metrics = taker.step(joined, batch)
    taken = [taker.state(joined, index) for index in range(len(members))]
    found = zip(taken, taker.metrics(metrics), alone, shapes, strict=True)
    for state, scalars, (expected, expected_scalars), like in found:
        for name, value in expected_scalars.items():
            assert float(scalars[name]) == pytest.approx(float(value), rel=1e-4), name
        own = population.cut(state, like)
        # Adam makes whole steps of gradients that are all rounding, so a few may differ.
        for ours, theirs in zip(jax.tree.leaves(own), jax.tree.leaves(expected), strict=True):
            assert ours.shape == theirs.shape
            apart = np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64))
            assert np.quantile(apart, 0.9) < 1e-4
        # What was added is as it was: nothing.
        again = population.grown(own, wide)
        for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_of_joined_states_there_is_one_copy():
    given = [counter(jnp.full(3, float(place)), jnp.int32(0)) for place in range(2)]
    joined = population.AtOnce(lambda *_: None).join(given)
    assert all(state.params["w"].is_deleted() for state in given)
    np.testing.assert_array_equal(joined.params["w"], [[0, 0, 0], [1, 1, 1]])


def counter(value, step):
    return states.TrainState(
        step=step, params={"w": value}, collections={}, opt_state=(),
        weights={}, ema=None, key=None,
    )  # fmt: skip


@pytest.mark.parametrize("encoder", most_slow(config_module.ENCODERS, "conv", "gru"))
def test_a_grown_model_is_the_same_model(encoder):
    """Also where latents go into a convolution, a recurrent cell or a token."""
    config = config_module.default().model
    config.update(encoder=encoder, downsampling=4, width=8, depth=1, heads=2, strides=(4, 8))
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
    large = population.grown(variables, wide)
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
        ("model.dropout", 0.3, True),
        ("model.dropout", 0.0, False),
        ("evaluate.listen_clips", 1, True),
        ("model.width", 16, False),
        ("data.seed", 1, False),
        ("train.steps", 7, False),
    ],
)
def test_what_members_may_differ_in(small_config, key, value, same):
    changed = config_module.override(small_config, {key: value})
    assert (population.shared(changed) == population.shared(small_config)) == same


@pytest.mark.parametrize("bottleneck", ["none", "tanh", "noise", "vae", "ordered", "fsq", "rvq"])
def test_latents_vary_where_each_is_treated_by_itself(small_config, bottleneck):
    small_config.model.bottleneck = bottleneck
    changed = config_module.override(small_config, {"model.latent_dim": 3})
    same = population.shared(changed) == population.shared(small_config)
    assert same == (bottleneck in ("none", "tanh"))


@dataclasses.dataclass
class Watched:
    """A population of counters; the member of that place fails at that step."""

    fails: int
    at: int

    def join(self, joined):
        return list(joined)

    def step(self, joined, batch):
        new = [None if one is None else one.replace(step=one.step + 1) for one in joined]
        losses = [
            float("nan") if place == self.fails and one is not None and int(one.step) == self.at
            else 1.0
            for place, one in enumerate(new)
        ]  # fmt: skip
        return new, [{"loss/total": np.float32(loss)} for loss in losses]

    def state(self, joined, index):
        return joined[index]

    def metrics(self, fetched):
        return fetched

    def stop(self, joined, index):
        return [None if place == index else one for place, one in enumerate(joined)]


def test_a_member_that_fails_does_not_stop_the_others():
    saved, logged = [], []

    def member(place):
        return loop.Member(
            validate=lambda state: ({"validation/loss": 1.0}, {"raw": 1.0}),
            save=lambda snapshot: saved.append((place, int(snapshot.state.step))),
            log=lambda step, scalars: logged.append((place, step)),
        )

    with jax.transfer_guard("allow"):
        ended = loop.train(
            [member(0), member(1), member(2)],
            [loop.first_snapshot(counter(jnp.zeros(1), np.int32(0))) for _ in range(3)],
            Watched(fails=1, at=3),
            ({"clip": np.asarray([0])} for _ in range(6)),
            schedule=loop.Schedule(steps=6, validate_every=2, log_every=1),
            place=lambda batch: {},
            progress=lambda step, scalars: None,
            name_clips=lambda clips: "clip",
        )
    assert [type(one).__name__ for one in ended] == ["Snapshot", "UserError", "Snapshot"]
    assert "step 3: loss/total is nan" in str(ended[1])
    assert [step for place, step in saved if place == 1] == [0, 2]
    assert [step for place, step in saved if place == 2] == [0, 2, 4, 6]
    assert max(step for place, step in logged if place == 1) == 2
