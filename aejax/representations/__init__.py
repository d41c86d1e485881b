"""Representations: features of audio, and audio of features."""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from aejax import parts
from aejax.representations.base import (
    LevelRepresentation,
    Limits,
    Representation,
    STFTRepresentation,
    analyse_blocks,
    valid_frames,
)
from aejax.representations.complex_spectrogram import ComplexSpectrogram
from aejax.representations.mdct import MDCT
from aejax.representations.mel import EVAL_MEL_FLOOR_DB, MelSpectrogram, eval_mel
from aejax.representations.multichannel import Multichannel
from aejax.representations.spectrogram import Spectrogram
from aejax.representations.waveform import Waveform
from aejax.runtime.errors import UserError

__all__ = [
    "MDCT",
    "EVAL_MEL_FLOOR_DB",
    "ComplexSpectrogram",
    "LevelRepresentation",
    "Limits",
    "MelSpectrogram",
    "Multichannel",
    "Representation",
    "STFTRepresentation",
    "Spectrogram",
    "Waveform",
    "analyse_blocks",
    "build",
    "from_config",
    "valid_frames",
    "eval_mel",
]

register = parts.representations.register


def build(config: ConfigDict) -> Representation:
    """The representation of a config, unchecked."""
    inner = parts.representations.build(
        config.representation.name, config.representation, sample_rate=config.data.sample_rate
    )
    return Multichannel(inner, 2) if config.data.channels == "stereo" else inner


def from_config(config: ConfigDict) -> Representation:
    """The representation of a config, checked by tracing.

    Raises:
      UserError: its sizes are incompatible.
    """
    representation = build(config)
    samples = representation.samples(representation.fewest_frames)
    channels = (2,) if config.data.channels == "stereo" else ()
    try:
        audio = jax.ShapeDtypeStruct((samples, *channels), jnp.float32)
        jax.eval_shape(representation.analyse, audio)
    except ValueError as error:
        raise UserError(f"config.representation: {error}") from None
    return representation
