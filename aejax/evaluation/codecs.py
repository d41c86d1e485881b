"""The codecs to evaluate: PCA and the trained model, with their variants."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from aejax import parts
from aejax.corpora import denoises
from aejax.evaluation.evaluate import LatentCodec, cached_partial, decode, encode
from aejax.evaluation.latent_refinement import refined
from aejax.models import autoencoder
from aejax.models.pca import PCA, ContextPCA
from aejax.prepare import Experiment
from aejax.reporting import curve

PCA_ROW, PCA_CONTEXT_ROW = "pca", "pca_context"


def no_model_row(config: ConfigDict) -> str:
    """Name of the row without a model."""
    return curve.NOISY if denoises(config) else curve.CEILING


def linear_codecs(
    experiment: Experiment, pca: PCA, context: ContextPCA | None
) -> list[LatentCodec]:
    """PCA; PCA with context, if there is any; and PCA of each nested size of an ordered model."""
    model, sizes = experiment.config.model, tuple(experiment.config.evaluate.nested_sizes)
    copy, rate = experiment.devices.copy, experiment.latent_rate
    codecs = [LatentCodec(PCA_ROW, encode, decode, copy(pca), rate(model.latent_dim))]
    if context is not None:
        in_context = LatentCodec(
            PCA_CONTEXT_ROW, encode, decode, copy(context), rate(model.latent_dim)
        )
        codecs += [in_context, *_refined(experiment, in_context)]
    if parts.bottlenecks[model.bottleneck].sizes == "latents":
        codecs += [
            LatentCodec(pca_row(size), encode, decode, copy(pca.first(size)), rate(size))
            for size in sizes
        ]
    return codecs


def trained_codecs(
    experiment: Experiment, model: autoencoder.Autoencoder, best: Mapping[str, Any]
) -> list[LatentCodec]:
    """The model and its variants: averaged weights, refined latents, fewer latents or codebooks.

    In a population, ``model`` may have more latents than ``experiment.model``; these are 0.
    """
    config = experiment.config
    sizes = model.bottleneck.codebook_sizes
    rate = experiment.latent_rate(config.model.latent_dim)
    plain = model_codec(config, model, best["raw"].variables, rate)
    codecs = [plain]
    if "ema" in best:
        variables = best["ema"].variables
        codecs.append(
            dataclasses.replace(plain, name=f"{config.name}, averaged", variables=variables)
        )
    codecs += _refined(experiment, *codecs)
    unit = parts.bottlenecks[config.model.bottleneck].sizes
    for size in config.evaluate.nested_sizes:
        ordered = unit == "latents"
        nested = dataclasses.replace(
            plain,
            name=f"{config.name}, {size} {unit}",
            encode=cached_partial(autoencoder.encode_first, model, size),
        )
        if ordered:
            nested = dataclasses.replace(
                nested, latent_floats_per_second=experiment.latent_rate(size)
            )
        else:
            first = cached_partial(autoencoder.first_codes, model, size)
            nested = dataclasses.replace(nested, codes=first, codebook_sizes=sizes[:size])
        codecs.append(nested)
    return codecs


def model_codec(
    config: ConfigDict, model: autoencoder.Autoencoder, variables: Any, latent_rate: float | None
) -> LatentCodec:
    """A model as a codec."""
    sizes = model.bottleneck.codebook_sizes
    return LatentCodec(
        config.name,
        cached_partial(autoencoder.encode, model),
        cached_partial(autoencoder.decode, model),
        variables,
        latent_rate,
        cached_partial(autoencoder.codes, model) if sizes else None,
        sizes,
        config.model.latent_dim,
        cached_partial(autoencoder.decode_as, model) if config.model.speaker_label else None,
    )


def _refined(experiment: Experiment, *codecs: LatentCodec) -> list[LatentCodec]:
    """The codecs with refined latents; none without ``refine_steps``."""
    steps = experiment.config.evaluate.refine_steps
    if not steps or not codecs:
        return []
    encode_refined = refined(codecs[0].encode, codecs[0].decode, steps)
    return [
        dataclasses.replace(codec, name=f"{codec.name}, refined", encode=encode_refined)
        for codec in codecs
    ]


def pca_row(latents: int) -> str:
    """Name of the row of PCA with this number of latents."""
    return f"{PCA_ROW}, {latents} latents"
