"""Config keys outside of parts: the run, its data, training and evaluation."""

import dataclasses
import re

from ml_collections import ConfigDict

from aejax import loggers, optimizers, parts, representations
from aejax.data.keys import Data, Synthetic
from aejax.models.encoders import has_network
from aejax.parts import (
    Rule,
    above,
    anything,
    at_least,
    between,
    integers,
    key,
    one_of,
    registered,
    several,
)
from aejax.runtime.errors import UserError

# Names of rows in the results table, which a run may not have.
ROWS = ("original", "noisy", "pca", "pca_context", "representation_only")


_NAME = "letters, digits, '-', '_' and '.', beginning with a letter or digit"


def _name(value: str) -> str:
    if value in ROWS:
        return "is the name of a row in the results; choose another"
    return "" if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value) else f"must be {_NAME}"


def _sizes(value: tuple[int, ...]) -> str:
    if not len(value):
        return ""
    twice = "" if len(set(value)) == len(value) else "must not repeat a number"
    return integers(1, 2**16)(value) or twice


NAME = Rule(_name, _NAME)
SIZES = Rule(_sizes, "different integers")


@dataclasses.dataclass
class Experiment:
    """The run."""

    name: str = key("experiment", NAME, "name of the run, its directory and its row in the table")
    seed: int = key(
        0,
        between(0, 2**32),
        "seed of weights, dropout, augmentation and codebooks",
        per_member=True,
    )
    task: str = key(
        "reconstruct",
        one_of("reconstruct", "denoise"),
        "denoise: the target is the input without augment.noise",
    )


@dataclasses.dataclass
class RepresentationChoice:
    """The representation."""

    name: str = key("mel", registered(parts.representations), "features of the audio")


@dataclasses.dataclass
class Model:
    """The model."""

    encoder: str = key("conv", registered(parts.encoders), "network of the encoder")
    decoder: str = key(
        "", registered(parts.encoders, ""), "network of the decoder; '' mirrors the encoder"
    )
    bottleneck: str = key(
        "none", registered(parts.bottlenecks), "constraint on latents, between encoder and decoder"
    )
    downsampling: int = key(
        8, at_least(1, 2**16), "frames in a block; each block has one latent frame"
    )
    latent_dim: int = key(32, at_least(1, 2**16), "floats in a latent frame")
    speaker_label: str = key("", anything, "clip label that the decoder is conditioned on")
    adversary: float = key(0.0, at_least(0), "gradient-reversal coefficient; 0 for no adversary")
    pca_start: bool = key(True, anything, "start at PCA, by a linear path parallel to the network")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """At most as many latents as numbers in a block; a network for keys that need one."""
        model = config.model
        representation = representations.build(config)
        bins, words = representation.bins, f"representation's {representation.bins_keys}"
        block = model.downsampling * bins
        parts.at_most(block, 2**20, f"model.downsampling x {words}")
        if model.latent_dim > block:
            raise UserError(
                f"config.model.latent_dim={model.latent_dim} is more than the numbers in a block:"
                f" model.downsampling x {words} = {model.downsampling} x {bins} = {block}"
            )
        parts.needs(
            cls, config, "model.adversary", "model.speaker_label", bool(model.speaker_label)
        )
        if model.decoder == model.encoder:
            raise UserError(
                f"config.model.decoder={model.decoder!r} is the default, which mirrors the encoder;"
                " leave it out"
            )
        decoder = "model.decoder" if model.decoder else "model.encoder"
        takes_speaker = has_network(parts.value(config, decoder))
        parts.needs(cls, config, "model.speaker_label", decoder, takes_speaker)


@dataclasses.dataclass
class Train:
    """Training."""

    batch_size: int = key(16, at_least(1, 2**20), "excerpts in a batch")
    steps: int = key(1000, at_least(0), "batches to train on")
    optimizer: str = key("adamw", registered(parts.optimizers), "the optimizer")
    schedule: str = key("cosine", one_of(*optimizers.SCHEDULES), "learning rate after the warm-up")
    learning_rate: float = key(1e-3, above(0, 1e38), "highest learning rate", per_member=True)
    warmup_steps: int = key(50, at_least(0), "updates over which the learning rate rises from 0")
    weight_decay: float = key(0.1, at_least(0), "decay of matrices per update", per_member=True)
    clip_norm: float = key(1.0, above(0), "largest global norm of the gradients")
    grad_accum_steps: int = key(1, at_least(1), "batches per update: their gradients are averaged")
    shard: str = key(
        "data",
        one_of("data", "fsdp"),
        "on several devices: data, each has a copy of the training state; fsdp, it is sharded",
    )
    ema_decay: float = key(
        0.0, between(0, 1), "decay of a moving average of parameters; 0 for none"
    )
    dtype: str = key("float32", one_of("float32", "bfloat16"), "precision of the networks")
    validate_every: int = key(200, at_least(1), "steps between validations, each with a checkpoint")
    log_every: int = key(20, at_least(1), "steps between log lines")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """A whole number of updates; no keys of networks without a network."""
        model = config.model
        if not (has_network(model.encoder) or has_network(model.decoder or model.encoder)):
            parts.needs(cls, config, "train.dtype", "model.encoder", False)
            default, _ = parts.keys_of(cls)["weight_decay"]
            if config.train.weight_decay not in (default, 0) and model.pca_start:
                raise UserError(
                    f"config.train.weight_decay={config.train.weight_decay:g} has no effect"
                    f" with model.encoder={model.encoder} and model.pca_start=True: linear maps"
                    " initialised from PCA do not decay; leave it out"
                )
        if config.train.steps % config.train.grad_accum_steps:
            raise UserError(
                f"config.train.grad_accum_steps={config.train.grad_accum_steps} must divide"
                f" train.steps={config.train.steps}: the last batches would make no update"
            )


@dataclasses.dataclass
class Chain:
    """The augmentations."""

    chain: tuple = key(
        (),
        several(parts.augmentations),
        "augmentations, in order; each is switched on by its keys",
    )


@dataclasses.dataclass
class Log:
    """Where a run is logged."""

    loggers: tuple = key(
        loggers.DEFAULT, several(parts.loggers), "what shows the log, beside metrics.jsonl"
    )


@dataclasses.dataclass
class Evaluate:
    """Evaluation."""

    example_clips: int = key(4, at_least(1, 10_000), "test clips with audio and spectrograms")
    nested_sizes: tuple = key(
        (), SIZES, "evaluate with so many latents of ordered or codebooks of rvq; a row each"
    )
    refine_steps: int = key(
        0, at_least(0, 10**6), "steps of latent refinement, in an extra row; 0: off"
    )
    probes: bool = key(False, anything, "linear probes of labels; needs scikit-learn")

    @classmethod
    def check(cls, config: ConfigDict) -> None:
        """Nested sizes only where the bottleneck has them; refinement only of unbounded latents."""
        evaluate, model = config.evaluate, config.model
        bottleneck, sizes = parts.bottlenecks[model.bottleneck], tuple(evaluate.nested_sizes)
        if sizes and not bottleneck.sizes:
            raise UserError(
                f"config.evaluate.nested_sizes={sizes} needs model.bottleneck='ordered' or 'rvq',"
                " which can decode their first latents or codebooks alone, not"
                f" {model.bottleneck!r}"
            )
        counted = "model.latent_dim"
        if bottleneck.sizes == "codebooks":
            counted = f"model.{model.bottleneck}.num_quantizers"
        most = parts.value(config, counted)
        if sizes and max(sizes) > most:
            raise UserError(
                f"config.evaluate.nested_sizes={sizes} has sizes above {counted}={most}"
            )
        if not evaluate.refine_steps:
            return
        refine = f"config.evaluate.refine_steps={evaluate.refine_steps}"
        if bottleneck.bounded:
            kind = "quantised" if bottleneck.quantises else "bounded"
            raise UserError(
                f"{refine} needs unbounded real latents; those of"
                f" model.bottleneck={model.bottleneck!r} are {kind}"
            )
        for used, name in (
            (config.task == "denoise", "task='denoise'"),
            (model.speaker_label, f"model.speaker_label={model.speaker_label!r}"),
        ):
            if used:
                raise UserError(
                    f"{refine} minimises the reconstruction error of the input, so it cannot be"
                    f" combined with {name}"
                )


SECTIONS = {
    "": Experiment,
    "data": Data,
    "data.synthetic": Synthetic,
    "representation": RepresentationChoice,
    "model": Model,
    "loss": None,
    "train": Train,
    "augment": Chain,
    "log": Log,
    "evaluate": Evaluate,
}
