"""PCA at the bits of a quantised model."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from aejax.data.corpus import Settings
from aejax.data.loader import Batches
from aejax.data.synthetic import SyntheticCorpus
from aejax.evaluation import coded_pca, entropy_coding
from aejax.evaluation.evaluate import Evaluator, LatentCodec, decode, encode
from aejax.models.pca import BlockMoments
from aejax.representations import Waveform, eval_mel
from aejax.runtime.devices import Devices

RATE, EXCERPT, DIM = 8000, 2000, 6


@functools.cache
def corpus():
    settings = Settings(sample_rate=RATE, test_fraction=0.5)
    return SyntheticCorpus(clips=12, seconds=0.6, seed=0, settings=settings)


def batches(**changes):
    options = {"excerpt": EXCERPT, "batch_size": 4} | changes
    return Batches(corpus(), "test", **options)


@functools.cache
def parts():
    """The evaluator, PCA of the corpus, and the statistics of its latents."""
    waveform = Waveform(RATE, 50)
    devices = Devices(4)
    evaluator = Evaluator(waveform, eval_mel(RATE), 1, jnp.zeros(50), devices.device_put)
    moments = BlockMoments(50)
    for batch in Batches(corpus(), "train", excerpt=EXCERPT, batch_size=4):
        moments.update(batch["audio"].reshape(-1, 50))
    fitted = devices.copy(moments.pca(DIM, 1))
    pca = LatentCodec("pca", encode, decode, fitted, DIM * 160.0)
    rows = [evaluator.latents(pca, batch) for batch in batches()]
    sequences = [x[mask] for latents, masks in rows for x, mask in zip(latents, masks, strict=True)]
    steps = entropy_coding.steps_of(np.asarray(fitted.deviations))
    return evaluator, pca, entropy_coding.fit([x for x in sequences if len(x)], steps)


def model(bits):
    """A codec of one codebook with so many bits a latent frame, of which there are 160 a second."""
    return LatentCodec("model", encode, decode, None, None, codes=encode, codebook_sizes=(2**bits,))


@pytest.mark.parametrize("bits", [3, 12, 24])
def test_its_bits_are_the_models_or_a_little_less(bits):
    evaluator, pca, statistics = parts()
    (coded,) = coded_pca.coded_pca(evaluator, pca, model(bits), statistics, batches())
    assert coded.name == "pca, coded"
    assert 0.97 * 160 * bits <= coded.bits_per_second <= 160 * bits
    row, _ = evaluator.row(coded, batches(), len(corpus().clips))
    assert row.bits_per_second == coded.bits_per_second
    assert row.latent_floats_per_second == pca.latent_floats_per_second


def test_its_latents_take_these_bits_in_the_coder_of_compress():
    evaluator, pca, statistics = parts()
    (coded,) = coded_pca.coded_pca(evaluator, pca, model(12), statistics, batches())
    steps = np.asarray(coded.variables.steps, np.float64)
    scale = float((steps / statistics.steps).mean())
    size = frames = 0
    for clip in corpus().clips.of_split("test").tolist():
        audio = corpus().read(clip, 0, int(corpus().clips.samples[clip]))
        padded = np.zeros(-(-len(audio) // 50) * 50, np.float32)
        padded[: len(audio)] = audio
        latents = np.asarray(coded.encode(coded.variables, jnp.asarray(padded.reshape(1, -1, 50))))
        integers = entropy_coding.quantise(latents, steps)
        np.testing.assert_allclose(integers * steps, latents, atol=1e-5)
        payload = entropy_coding.encode(
            integers, lambda: entropy_coding.Predictor(statistics, scale)
        )
        size += 8 * len(payload) - 8 * -(-integers.shape[1] // entropy_coding.CHECKED)
        frames += integers.shape[1]
    assert 160 * size / frames == pytest.approx(coded.bits_per_second, rel=0.05)


def test_more_bits_have_less_error_and_in_the_end_that_of_pca():
    evaluator, pca, statistics = parts()
    errors = []
    for bits in (3, 12, 60):
        (coded,) = coded_pca.coded_pca(evaluator, pca, model(bits), statistics, batches())
        errors.append(evaluator.feature_rmse(coded, batches()))
    unquantised = evaluator.feature_rmse(pca, batches())
    assert errors[0] > errors[1] > errors[2] > unquantised
    assert errors[2] == pytest.approx(unquantised, rel=0.01)


def test_a_rate_below_the_lowest_has_no_row():
    evaluator, pca, statistics = parts()
    tiny = LatentCodec("model", encode, decode, None, None, codes=encode, codebook_sizes=(1,))
    assert coded_pca.coded_pca(evaluator, pca, tiny, statistics, batches()) == []
