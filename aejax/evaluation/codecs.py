"""The codecs of an evaluation: the representation alone, PCA, and the trained model."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from aejax import parts
from aejax.corpora import denoises
from aejax.evaluation.evaluate import LatentCodec, bound, decode, encode
from aejax.evaluation.latent_refinement import refined
from aejax.models import autoencoder
from aejax.models.pca import PCA, ContextPCA
from aejax.prepare import Experiment
from aejax.reporting import curve

PCA_ROW, PCA_CONTEXT_ROW = "pca", "pca_context"


def nothing_row(config: ConfigDict) -> str:
    """The name of the row without a model."""
    return curve.NOISY if denoises(config) else curve.CEILING


def linear_codecs(
    experiment: Experiment, pca: PCA, context: ContextPCA | None
) -> list[LatentCodec]:
    """PCA, PCA with a linear decoder in context, and PCA of fewer latents.

    The second where the model's decoder has more than one latent frame in its receptive field; the
    last at the cuts of an ordered model.
    """
    model, cuts = experiment.config.model, tuple(experiment.config.evaluate.cuts)
    copy, rate = experiment.devices.copy, experiment.latent_rate
    codecs = [LatentCodec(PCA_ROW, encode, decode, copy(pca), rate(model.latent_dim))]
    if context is not None:
        in_context = LatentCodec(
            PCA_CONTEXT_ROW, encode, decode, copy(context), rate(model.latent_dim)
        )
        codecs += [in_context, *_refined(experiment, in_context)]
    if parts.bottlenecks[model.bottleneck].sizes == "latents":
        codecs += [
            LatentCodec(cut_pca(size), encode, decode, copy(pca.first(size)), rate(size))
            for size in cuts
        ]
    return codecs


def trained_codecs(
    experiment: Experiment, model: autoencoder.Autoencoder, best: Mapping[str, Any]
) -> list[LatentCodec]:
    """The model and its variants: averaged weights, refined latents, fewer latents or codebooks.

    The model may be larger than the experiment's own (in a population); its latents beyond
    those of the experiment are 0.
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
    for size in config.evaluate.cuts:
        ordered = unit == "latents"
        cut = dataclasses.replace(
            plain,
            name=f"{config.name}, {size} {unit}",
            encode=bound(autoencoder.encode_first, model, size),
        )
        if ordered:
            cut = dataclasses.replace(cut, latent_floats_per_second=experiment.latent_rate(size))
        else:
            first = bound(autoencoder.first_codes, model, size)
            cut = dataclasses.replace(cut, codes=first, codebook_sizes=sizes[:size])
        codecs.append(cut)
    return codecs


def model_codec(
    config: ConfigDict, model: autoencoder.Autoencoder, variables: Any, latent_rate: float | None
) -> LatentCodec:
    """The codec of a model."""
    sizes = model.bottleneck.codebook_sizes
    return LatentCodec(
        config.name,
        bound(autoencoder.encode, model),
        bound(autoencoder.decode, model),
        variables,
        latent_rate,
        bound(autoencoder.codes, model) if sizes else None,
        sizes,
        config.model.latent_dim,
        bound(autoencoder.decode_as, model) if config.model.speaker_label else None,
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


def cut_pca(latents: int) -> str:
    """The name of the row of PCA with so many latents."""
    return f"{PCA_ROW}, {latents} latents"
