"""One key, one use: of all that is drawn at random in training and in measuring."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aejax import augmentations
from aejax import config as config_module
from aejax.losses.features import L2
from aejax.models import autoencoder
from aejax.objective import Objective
from aejax.representations import Waveform
from aejax.training import state as states
from aejax.training.step import make_train_step
from aejax.training.validation import make_eval_step

RATE, HOP, DOWNSAMPLING, SAMPLES, ROWS = 8000, 4, 2, 64, 3
DRAWS = ("bernoulli", "bits", "categorical", "choice", "gumbel", "normal", "permutation")
DRAWS += ("randint", "truncated_normal", "uniform")


def chain(noise):
    """Everything that there is, on."""
    config = config_module.default()
    keys = {
        "speed.range": (0.9, 1.1),
        "mix.probability": 0.5,
        "noise.kind": noise,
        "eq.db": 3.0,
        "gain.db": 3.0,
        "polarity.probability": 0.5,
        "cut.probability": 0.5,
        "vtlp.range": (0.9, 1.1),
        "input_eq.db": 3.0,
        "time_masks.count": 1,
        "frequency_masks.count": 1,
    }
    keys = {f"augment.{key}": value for key, value in keys.items()} | {"task": "denoise"}
    found = augmentations.from_config(config_module.override(config, keys), SAMPLES)
    assert len(found.parts) == len(config.augment.chain)
    return found


EVERYTHING, FOLDER = chain("pink"), chain("folder")


@pytest.fixture
def uses(monkeypatch):
    """What keys are used for, ``[(use, key), ...]``, as compiled programs run."""
    found = []

    def watch(name, function):
        def watched(key, *args, **kwargs):
            number = args[0] if name == "fold_in" else 0
            number = np.uint32(number) if isinstance(number, int) else number

            def note(key, number):
                use = f"fold_in {int(number)}" if name == "fold_in" else name
                found.append((use, tuple(np.asarray(key).tolist())))

            data = key if jnp.issubdtype(key.dtype, jnp.uint32) else jax.random.key_data(key)
            jax.debug.callback(note, data, number)
            return function(key, *args, **kwargs)

        monkeypatch.setattr(jax.random, name, watched)

    for name in (*DRAWS, "split", "fold_in"):
        watch(name, getattr(jax.random, name))
    return found


def batch_of(windows, noise):
    rng = np.random.default_rng(0)
    audio = jnp.asarray(rng.standard_normal((ROWS, EVERYTHING.span(SAMPLES))), jnp.float32)
    batch = {
        "audio": audio,
        "length": jnp.full(ROWS, SAMPLES, jnp.int32),
        "position": jnp.zeros(ROWS),
        "speaker": jnp.ones(ROWS, jnp.int32),
        "clip": jnp.asarray([clip for clip, _ in windows], jnp.int32),
        "start": jnp.asarray([start for _, start in windows], jnp.uint32),
    }
    return batch | ({"noise": audio} if noise else {})


def parts(bottleneck, amount):
    config = config_module.default()
    config.model.update(encoder="mlp", downsampling=DOWNSAMPLING, latent_dim=2)
    config.model.mlp.update(depth=1, width=4, dropout=0.1)
    config.model.bottleneck = bottleneck
    config.model.rvq.update(codebook_size=4, num_quantizers=2, quantizer_dropout=0.5)
    model = autoencoder.from_config(config.model, HOP, speakers=1)
    tx = states.make_optimizer(config.train, pca_start=True)
    representation = Waveform(RATE, HOP)
    objective = Objective({"l2": L2()}, representation, RATE)
    train = make_train_step(
        representation,
        model,
        tx,
        objective,
        samples=SAMPLES,
        downsampling=DOWNSAMPLING,
        augmentation=amount,
    )
    noise = dict(amount.parts)["noise"]
    evaluate = make_eval_step(
        representation, model, objective, downsampling=DOWNSAMPLING, noise=noise
    )
    variables = autoencoder.init(model, jax.random.key(0), DOWNSAMPLING)
    state = states.create(variables, tx, jax.random.key(1), {"l2": 1.0})
    return state, jax.jit(train), jax.jit(evaluate)


def check(uses):
    """No key is used twice, but to be folded with different numbers."""
    jax.effects_barrier()
    by_key = collections.defaultdict(list)
    for use, key in uses:
        by_key[key].append(use)
    for key, names in by_key.items():
        folds = [name for name in names if name.startswith("fold_in")]
        assert len(set(folds)) == len(folds), (key, names)
        assert len(names) == 1 or len(folds) == len(names), (key, names)


@pytest.mark.parametrize(("bottleneck", "amount"), [("rvq", EVERYTHING), ("noise", FOLDER)])
def test_no_key_is_used_twice_in_steps_of_training(uses, bottleneck, amount):
    state, step, _ = parts(bottleneck, amount)
    batch = batch_of([(0, 0)] * ROWS, amount is FOLDER)
    jax.effects_barrier()
    uses.clear()
    for _ in range(2):
        state, _ = step(state, batch)
    check([use for use in uses if use[1] != tuple(np.asarray(state.key).tolist())])
    assert {"bernoulli", "normal", "randint", "uniform"} <= {use for use, _ in uses}


def test_no_two_windows_share_a_key_and_nothing_else_has_theirs(uses):
    state, step, evaluate = parts("noise", EVERYTHING)
    step(state, batch_of([(0, 0)] * ROWS, False))
    jax.effects_barrier()
    in_training = {key for use, key in uses if not use.startswith("fold_in")}
    uses.clear()
    for windows in ([(0, 0), (0, 64), (1, 0)], [(1, 64), (2, 0), (7, 2**31)]):
        batch = batch_of(windows, False)
        evaluate(state.variables, batch | {"audio": batch["audio"][:, :SAMPLES]})
    jax.effects_barrier()
    drawn = [key for use, key in uses if not use.startswith("fold_in")]
    assert len(drawn) == len(set(drawn)) > 6
    assert not in_training & set(drawn)
