"""Encoders and their mirrored decoders, one file each."""

from aejax.models.encoders.base import (
    BlockDecoder,
    BlockEncoder,
    Linear,
    Network,
    begins_at_zero,
    build_network,
    check_network,
    has_network,
)
from aejax.models.encoders.conv import ConvStack
from aejax.models.encoders.mlp import MLP
from aejax.models.encoders.recurrent import GRU, LSTM
from aejax.models.encoders.transformer import Transformer
from aejax.models.encoders.wave_conv import WaveDecoder, WaveEncoder
from aejax.parts import encoders

register = encoders.register

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "ConvStack",
    "Linear",
    "Network",
    "BlockEncoder",
    "BlockDecoder",
    "Transformer",
    "WaveDecoder",
    "WaveEncoder",
    "begins_at_zero",
    "has_network",
    "build_network",
    "check_network",
]
