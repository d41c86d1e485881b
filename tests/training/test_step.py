import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import most_slow

from aejax import representations, signal
from aejax.augmentations import EQ, Chain, Example, Gain, Noise
from aejax.losses import masked_mean
from aejax.losses.audio import SISDR
from aejax.losses.features import L2
from aejax.models import autoencoder
from aejax.objective import Objective
from aejax.training import state as states
from aejax.training.step import make_train_step, speaker_dropout

# Without mixing, so that rows do not depend on each other.
AUGMENTATION = Chain((("eq", EQ(db=3.0)), ("gain", Gain(db=6.0))))


@pytest.fixture
def parts(small_config):
    small_config.model.downsampling = 8
    representation = representations.from_config(small_config)
    model = autoencoder.from_config(small_config.model, representation.bins)
    tx = states.make_optimizer(small_config.train, pca_start=True)
    variables = autoencoder.init(model, jax.random.key(0), 8)
    variables = autoencoder.standardise(variables, np.full(80, -40.0), np.asarray(15.0))
    state = states.create(variables, tx, jax.random.key(1), {"l2": 1.0})
    step = make_train_step(
        representation,
        model,
        tx,
        Objective({"l2": L2()}, representation, 16000),
        samples=3840,
        downsampling=8,
        augmentation=AUGMENTATION,
    )
    return representation, state, step


@pytest.fixture
def batch():
    t = np.arange(15 * 256) / 16000
    audio = [0.1 * np.sin(2 * np.pi * 220 * 2 ** (k / 4) * t) for k in range(4)]
    return {
        "audio": jnp.asarray(np.stack(audio), jnp.float32),
        "length": jnp.asarray([3840, 3840, 2000, 100], jnp.int32),
        "position": jnp.zeros(4),
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
        "gradient_norm": 26.4642,
        "loss/l2": 3.59215,
        "loss/total": 3.59215,
        "parameter_norm": 30.8864,
    },
    {
        "gradient_norm": 25.5816,
        "loss/l2": 3.54176,
        "loss/total": 3.54176,
        "parameter_norm": 30.8813,
    },
)


SPOKEN = [1, 2, 1, 2] * 4  # sixteen rows, of which some are not told


@pytest.mark.parametrize(
    ("task", "speakers"),
    most_slow(
        [("denoise", 0), ("denoise", 2), ("reconstruct", 0), ("reconstruct", 2)], ("denoise", 2)
    ),
)
def test_what_is_heard_what_is_given_back_and_who_speaks(small_config, batch, task, speakers):
    """The terms of the first step, put together by hand from the parts."""
    config = small_config
    config.representation.name = "complex_spectrogram"
    config.representation.complex_spectrogram.update(n_fft=512, hop_length=256)
    config.model.update(downsampling=8, pca_start=False)
    config.model.conv.update(width=16, depth=1, dropout=0.0)
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins, speakers=speakers)
    variables = autoencoder.init(model, jax.random.key(0), 8)
    variables = autoencoder.standardise(
        variables, np.zeros(representation.bins), np.asarray(0.1, np.float32)
    )
    tx = states.make_optimizer(config.train, pca_start=False)
    weights = {"l2": 1.0, "si_sdr": 0.1}
    noise = Noise(task, (), kind="white", probability=1.0, snr_db=(0.0, 0.0))
    chain = Chain((("noise", noise),), task)
    batch = {name: jnp.concatenate([value] * 4) for name, value in batch.items()}
    batch["length"] = jnp.full(16, 3840, jnp.int32)
    if speakers:
        batch["speaker"] = jnp.asarray(SPOKEN, jnp.int32)
    step = make_train_step(
        representation,
        model,
        tx,
        Objective({"l2": L2(1.0), "si_sdr": SISDR(0.1)}, representation, 16000),
        samples=3840,
        downsampling=8,
        augmentation=chain,
    )
    state = states.create(variables, tx, jax.random.key(1), weights)
    found = jax.jit(step)(state, batch)[1]

    augment_key, _, _, speaker_key = jax.random.split(jax.random.fold_in(jax.random.key(1), 0), 4)
    given = Example(batch["audio"], batch["audio"], batch["length"], batch["position"])
    heard, audio, *_ = chain(augment_key, given, 3840)
    who = None
    if speakers:
        who = speaker_dropout(speaker_key, batch["speaker"])
        assert 0 < int((who == 0).sum()) < 8
    back, _ = model.apply(variables, representation.analyse(heard), None, who)
    features = representation.analyse(audio)
    wanted = float(jnp.square((back - features) / 0.1).mean())
    assert float(found["loss/l2"]) == pytest.approx(wanted, rel=1e-4)
    if task == "denoise":
        sound = representation.masked(heard, back)
    else:
        sound = representation.synthesise(back)
    wanted = -float(signal.si_sdr(sound, audio[:, : sound.shape[1]]).mean())
    assert float(found["loss/si_sdr"]) == pytest.approx(wanted, rel=1e-3)


def test_rows_that_only_fill_the_batch_do_not_count(parts, batch):
    _, state, step = parts
    length = jnp.asarray([3840, 100, 0, 0], jnp.int32)
    noise = batch["audio"].at[2:].set(0.3)
    step = jax.jit(step)
    one = step(state, {**batch, "length": length})
    other = step(state, {**batch, "audio": noise, "length": length})
    for name in one[1]:
        assert float(one[1][name]) == pytest.approx(float(other[1][name]), rel=1e-5)


def test_the_blocks_that_a_clip_reaches_into_count(parts):
    length = jnp.asarray([0, 100, 7 * 256 - 1, 7 * 256, 8 * 256, 3840], jnp.int32)
    mask = representations.valid_frames(parts[0], length, 16, 8)
    assert mask.sum(axis=1).tolist() == [0, 8, 8, 8, 16, 16]
    assert mask[1].tolist() == [True] * 8 + [False] * 8


def test_masked_mean_in_closed_form():
    values = jnp.asarray([[[1.0, 3.0], [5.0, 7.0]]])
    assert float(masked_mean(values, jnp.asarray([[True, False]]))) == 2.0
    assert float(masked_mean(values, jnp.asarray([[False, False]]))) == 0.0


def test_the_learning_rate_warms_up_and_comes_down(small_config):
    small_config.train.update(steps=100, warmup_steps=10, learning_rate=0.5)
    rate = states.learning_rate(small_config.train)
    assert [float(rate(k)) for k in (0, 10, 100)] == pytest.approx([0.0, 0.5, 0.0])
    assert float(rate(5)) == pytest.approx(0.25)
