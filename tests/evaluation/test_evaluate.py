"""What is measured of a window does not depend on the batch that it is in."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from aejax.augmentations import Noise, measuring
from aejax.data.corpus import Settings
from aejax.data.loader import Batches
from aejax.data.synthetic import SyntheticCorpus
from aejax.evaluation.evaluate import Evaluator, LatentCodec, identity
from aejax.losses.audio import SISDR
from aejax.objective import Objective, compare
from aejax.representations import Multichannel, Waveform, eval_mel
from aejax.runtime.devices import Devices

RATE, EXCERPT = 8000, 2000
NOISE = Noise("denoise", (), kind="white", snr_db=(0.0, 20.0))


@functools.cache
def corpus():
    settings = Settings(sample_rate=RATE, test_fraction=0.5)
    return SyntheticCorpus(clips=12, seconds=0.6, seed=0, settings=settings)


def evaluator(**changes):
    parts = {
        "representation": Waveform(RATE, 250),
        "eval_mel": eval_mel(RATE),
        "downsampling": 1,
        "centre": jnp.zeros(250),
        "place": Devices(4).place,
        "hear": functools.partial(measuring.evaluation_input, noise=NOISE),
    }
    return Evaluator(**(parts | changes))


NOTHING = LatentCodec("noisy", identity, identity, None, None)


def test_errors_of_clips_are_the_same_for_every_batch_size():
    clips, found = corpus().clips, {}
    for size in (4, 8, 16):
        batches = Batches(corpus(), "test", excerpt=EXCERPT, batch_size=size)
        assert len(batches) > 1 or size == 16
        found[size] = evaluator().row(NOTHING, batches, len(clips))
    row, errors = found[8]
    assert row.feature_rmse > 0.01
    for size in (4, 16):
        for name in ("feature_rmse", "audio_log_mel_rmse_db", "si_sdr_db"):
            assert getattr(found[size][0], name) == pytest.approx(getattr(row, name), rel=1e-4)
        other = found[size][1]
        np.testing.assert_allclose(other.squared_error, errors.squared_error, rtol=1e-4)


def test_the_ratio_in_the_table_is_the_one_that_is_learnt_from():
    """Of stereo too, whose channels are not alike, and of a row that ends."""
    rng = np.random.default_rng(0)
    audio = 0.1 * rng.standard_normal((2, 1000, 2)).astype(np.float32)
    noise = rng.standard_normal(audio.shape).astype(np.float32) * [0.001, 0.1]
    stereo = Multichannel(Waveform(RATE, 250), 2)
    length = jnp.asarray([1000, 600], jnp.int32)
    batch = {"audio": audio, "length": np.asarray(length), "clip": np.asarray([0, 1])}

    def spoil(_, features):
        return features + stereo.analyse(jnp.asarray(noise, jnp.float32))

    measured, _ = evaluator(
        representation=stereo,
        eval_mel=Multichannel(eval_mel(RATE), 2),
        centre=jnp.zeros(500),
        place=lambda batch: {name: jnp.asarray(value) for name, value in batch.items()},
        hear=None,
    ).row(LatentCodec("spoilt", identity, spoil, None, None), [batch], 2)
    features = stereo.analyse(jnp.asarray(audio))
    constants = {"mean": jnp.zeros(500), "scale": jnp.asarray(1.0)}
    mask = jnp.ones(features.shape[:2], bool)
    compared = compare(spoil(None, features), features, mask, jnp.asarray(audio), length, constants)
    learnt = Objective({"si_sdr": SISDR(1.0)}, stereo, RATE).terms(compared, constants)
    assert measured.si_sdr_db == pytest.approx(-float(learnt["si_sdr"]), rel=1e-4)
    assert measured.si_sdr_db == pytest.approx(20, abs=1)
