"""Evaluation of a trained model on a folder of audio."""

import functools
from pathlib import Path

import jax.numpy as jnp

from aejax.corpora import denoises, open_corpus, open_noise, settings_of
from aejax.data.corpus import Corpus
from aejax.data.loader import Batches, TestNoise, Workers
from aejax.evaluation import coded_pca, entropy_coding
from aejax.evaluation.codecs import PCA_ROW, model_codec, no_model_row
from aejax.evaluation.evaluate import (
    Evaluator,
    LatentCodec,
    decode,
    encode,
    identity,
)
from aejax.evaluation.rows import Row, with_gains
from aejax.inference.model import TrainedModel
from aejax.prepare import eval_mel, excerpt_blocks, noise_adder
from aejax.runtime.devices import Devices
from aejax.runtime.progress import bar, warn
from aejax.training import pca_fit

_ALL = "train"  # the other splits are empty


def evaluate(model: TrainedModel, run: Path, folder: Path) -> tuple[Corpus, list[Row], list[str]]:
    """The metrics of the model and of its run's PCA on every clip of a folder or a pack.

    Args:
      model: the trained model.
      run: directory of its run, with the PCA.
      folder: folder of audio or pack; all of it is used.

    Returns:
      The corpus, the rows of the results table, and a message for each unreadable clip, also
      printed on standard error.

    Raises:
      UserError: there is no audio, or no PCA.
    """
    config = model.config
    corpus = open_corpus(folder, settings_of(config, all_of_it=True))
    noise = open_noise(config) if denoises(config) else None
    fitted = pca_fit.load(
        run / "pca.npz",
        downsampling=config.model.downsampling,
        bins=model.representation.bins,
        latent_dim=config.model.latent_dim,
    )
    devices = Devices(config.train.batch_size)
    evaluator = _evaluator(model, fitted, devices)
    frames = excerpt_blocks(config, model.representation) * config.model.downsampling
    excerpt = model.representation.samples(frames)
    unreadable: list[str] = []

    def report(message: str) -> None:
        if message not in unreadable:
            unreadable.append(message)
            warn(message)

    batches = functools.partial(
        Batches,
        corpus,
        _ALL,
        excerpt=excerpt,
        batch_size=config.train.batch_size,
        noise=None if noise is None else TestNoise(noise, "test", excerpt),
        workers=Workers(report=report),
    )
    pca = LatentCodec(PCA_ROW, encode, decode, devices.copy(fitted.pca), model.latent_rate)
    trained = model_codec(config, model.model, model.variables, model.latent_rate)
    codecs = [LatentCodec(no_model_row(config), identity, identity, None, None), pca, trained]
    # Runs by earlier versions have no statistics of PCA's latents.
    if trained.codes is not None and (run / entropy_coding.FILE).exists():
        statistics = entropy_coding.load(
            run / entropy_coding.FILE, PCA_ROW, len(fitted.pca.deviations)
        )
        sample = batches(most=coded_pca.MOST_WINDOWS)
        codecs[2:2] = coded_pca.coded_pca(evaluator, pca, trained, statistics, sample)
    rows = []
    for codec in codecs:
        measured = bar(batches(), desc=f"measuring {codec.name}", unit="batch")
        rows.append(evaluator.row(codec, measured, len(corpus.clips)))
    return corpus, with_gains(rows, [PCA_ROW], evaluator.capacity(trained)), unreadable


def _evaluator(model: TrainedModel, fitted: pca_fit.Fit, devices: Devices) -> Evaluator:
    """The evaluator of a model, as that of its run."""
    return Evaluator(
        representation=model.representation,
        eval_mel=eval_mel(model.config),
        downsampling=model.config.model.downsampling,
        centre=devices.copy(jnp.asarray(fitted.mean, jnp.float32)),
        device_put=devices.device_put,
        add_noise=noise_adder(model.config),
    )
