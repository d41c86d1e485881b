"""PyTorch twins of aejax's step: same layers, same names, so that weights can be copied by name."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aejax import representations, signal


class Conv(nn.Conv1d):
    """`aejax.models.blocks.Conv1D`, on ``[batch, time, channels]``."""

    def __init__(self, inputs, outputs, kernel_size, dilation=1):
        padding = kernel_size // 2 * dilation
        super().__init__(inputs, outputs, kernel_size, padding=padding, dilation=dilation)

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def norm(channels):
    return nn.LayerNorm(channels, eps=1e-6)


class Residual(nn.Module):
    def __init__(self, channels, kernel_size, dropout):
        super().__init__()
        self.LayerNorm_0 = norm(channels)
        self.Conv1D_0 = Conv(channels, channels, kernel_size)
        self.dropout = nn.Dropout(dropout)
        self.Dense_0 = nn.Linear(channels, channels)

    def forward(self, x):
        y = F.gelu(self.Conv1D_0(self.LayerNorm_0(x)), approximate="tanh")
        return x + self.Dense_0(self.dropout(y))


def blocks(x, factor):
    return x.reshape(len(x), x.shape[1] // factor, -1)


def unblock(x, factor):
    return x.reshape(len(x), x.shape[1] * factor, -1)


class Sequence(nn.Module):
    """Layers one after the other; they are called as Flax calls them, by kind and number."""

    KINDS = {"Linear": "Dense", "Conv": "Conv1D", "Residual": "ResidualBlock"}

    def __init__(self):
        super().__init__()
        self.order = []

    def add(self, layer):
        kind = type(layer).__name__
        kind = self.KINDS.get(kind, kind)
        number = sum(name.startswith(f"{kind}_") for name in self._modules)
        setattr(self, f"{kind}_{number}", layer)
        self.order.append(layer)

    def forward(self, x):
        for layer in self.order:
            x = layer(x)
        return x


class Reshape:
    """A step without weights."""

    def __init__(self, function, factor):
        self.function, self.factor = function, factor

    def __call__(self, x):
        return self.function(x, self.factor)


class ConvStack(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        self.add(nn.Linear(inputs, network.width))
        for _ in range(network.depth):
            self.add(Residual(network.width, network.kernel_size, network.dropout))
        self.add(norm(network.width))
        self.add(nn.Linear(network.width, outputs))


class Recurrent(nn.Module):
    def __init__(self, inputs, width):
        super().__init__()
        self.lstm = nn.LSTM(inputs, width, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


class RecurrentEncoder(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        self.downsampling = config.downsampling
        for index in range(network.depth):
            layer = Recurrent(network.width if index else inputs, network.width)
            setattr(self, f"RecurrentLayer_{index}", layer)
            self.order += [layer, nn.Dropout(network.dropout)]
        self.Dense_0 = nn.Linear(network.width, outputs)

    def forward(self, x):
        return self.Dense_0(super().forward(x)[:, self.downsampling - 1 :: self.downsampling])


class RecurrentDecoder(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        self.register_buffer("places", torch.eye(config.downsampling))
        for index in range(network.depth):
            # Each latent frame with its place in the block, as one of so many.
            given = network.width if index else inputs + config.downsampling
            layer = Recurrent(given, network.width)
            setattr(self, f"RecurrentLayer_{index}", layer)
            self.order += [layer, nn.Dropout(network.dropout)]
        self.Dense_0 = nn.Linear(network.width, outputs)

    def forward(self, z):
        batch, blocks, _ = z.shape
        held = z.repeat_interleave(len(self.places), dim=1)
        places = self.places.repeat(blocks, 1).expand(batch, -1, -1)
        return self.Dense_0(super().forward(torch.cat([held, places], dim=-1)))


def rotary(x):
    steps, half = x.shape[1], x.shape[-1] // 2
    rate = 10_000.0 ** (-torch.arange(half, device=x.device) / half)
    angle = (torch.arange(steps, device=x.device)[:, None] * rate)[None, :, None]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


class TransformerBlock(nn.Module):
    def __init__(self, width, heads, dropout):
        super().__init__()
        self.heads = heads
        self.LayerNorm_0, self.LayerNorm_1 = norm(width), norm(width)
        self.Dense_0, self.Dense_1 = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.Dense_2, self.Dense_3 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        batch, steps, width = x.shape
        y = self.Dense_0(self.LayerNorm_0(x)).reshape(batch, steps, 3 * self.heads, -1)
        query, key, value = y.split(self.heads, 2)
        given = (t.transpose(1, 2) for t in (rotary(query), rotary(key), value))
        y = F.scaled_dot_product_attention(*given).transpose(1, 2).reshape(batch, steps, width)
        x = x + self.dropout(self.Dense_1(y))
        y = F.gelu(self.Dense_2(self.LayerNorm_1(x)), approximate="tanh")
        return x + self.dropout(self.Dense_3(y))


class Transformer(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        self.add(nn.Linear(inputs, network.width))
        for _ in range(network.depth):
            self.add(TransformerBlock(network.width, network.heads, network.dropout))
        self.add(norm(network.width))
        self.add(nn.Linear(network.width, outputs))


class Snake(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return x + (self.alpha * x).sin().square() * self.alpha / (self.alpha.square() + 1e-6)


class ResidualUnits(nn.Module):
    def __init__(self, channels):
        super().__init__()
        for index, dilation in enumerate((1, 3, 9)):
            setattr(self, f"Snake_{2 * index}", Snake(channels))
            setattr(self, f"Conv1D_{index}", Conv(channels, channels, 7, dilation))
            setattr(self, f"Snake_{2 * index + 1}", Snake(channels))
            setattr(self, f"Dense_{index}", nn.Linear(channels, channels))

    def forward(self, x):
        for i in range(3):
            layers = (f"Snake_{2 * i}", f"Conv1D_{i}", f"Snake_{2 * i + 1}", f"Dense_{i}")
            y = x
            for name in layers:
                y = getattr(self, name)(y)
            x = x + y
        return x


class WaveEncoder(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        self.order.append(Reshape(lambda x, _: x.reshape(len(x), -1, 1), 1))
        self.add(Conv(1, network.width, 7))
        for stage, stride in enumerate(network.strides):
            channels = network.width * 2**stage
            self.add(ResidualUnits(channels))
            self.add(Snake(channels))
            self.order.append(Reshape(blocks, stride))
            self.add(Conv(stride * channels, 2 * channels, 3))
        self.add(Snake(2 * channels))
        self.order.append(nn.Dropout(network.dropout))
        self.add(nn.Linear(2 * channels, outputs))


class WaveDecoder(Sequence):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        network = config[config.encoder]
        channels = network.width * 2 ** len(network.strides)
        self.add(Conv(inputs, channels, 7))
        self.order.append(nn.Dropout(network.dropout))
        for stride in reversed(network.strides):
            self.add(Snake(channels))
            channels //= 2
            self.add(Conv(2 * channels, stride * channels, 3))
            self.order.append(Reshape(unblock, stride))
            self.add(ResidualUnits(channels))
        self.add(Snake(channels))
        self.add(nn.Linear(channels, 1))
        self.order.append(Reshape(lambda x, bins: x.reshape(len(x), -1, bins), outputs))


BLOCKWISE = {"conv": ConvStack, "transformer": Transformer}
FRAMEWISE = {
    "lstm": (RecurrentEncoder, RecurrentDecoder),
    "wave_conv": (WaveEncoder, WaveDecoder),
}


class Encoder(nn.Module):
    def __init__(self, config, bins):
        super().__init__()
        self.downsampling, self.blockwise = config.downsampling, config.encoder not in FRAMEWISE
        block = config.downsampling * bins
        self.linear = nn.Linear(block, config.latent_dim)
        if self.blockwise:
            self.network = BLOCKWISE[config.encoder](config, block, config.latent_dim)
        else:
            self.network = FRAMEWISE[config.encoder][0](config, bins, config.latent_dim)

    def forward(self, x):
        block = blocks(x, self.downsampling)
        return self.linear(block) + self.network(block if self.blockwise else x)


class Decoder(nn.Module):
    def __init__(self, config, bins):
        super().__init__()
        self.downsampling, self.blockwise = config.downsampling, config.encoder not in FRAMEWISE
        block = config.downsampling * bins
        self.linear = nn.Linear(config.latent_dim, block)
        if self.blockwise:
            self.network = BLOCKWISE[config.encoder](config, config.latent_dim, block)
        else:
            self.network = FRAMEWISE[config.encoder][1](config, config.latent_dim, bins)

    def forward(self, z):
        y, linear = self.network(z), unblock(self.linear(z), self.downsampling)
        return linear + (unblock(y, self.downsampling) if self.blockwise else y)


class Twin(nn.Module):
    """What aejax's step does before the optimiser, but for the change of speed: augmentation,
    analysis, the network, and the mean square of the error in features. With ``train.dtype`` of
    bfloat16 the network is under `torch.autocast`."""

    def __init__(self, config, bins, mean, scale):
        super().__init__()
        m, a = config.model, config.augment
        r = representations.from_config(config)
        self.waveform = config.representation.name == "waveform"
        self.sizes = (None if self.waveform else r.n_fft, r.hop_length, m.downsampling)
        self.gain_db, self.eq_db, self.mix = a.gain.db, a.eq.db, a.mix.probability
        if not self.waveform:
            self.floor = 10 ** (r.floor_db / 10)
            filters = signal.mel_filterbank(
                sample_rate=config.data.sample_rate, n_fft=r.n_fft, n_mels=r.n_mels
            )
            self.register_buffer("filters", torch.tensor(filters))
            self.register_buffer("window", torch.hann_window(r.n_fft))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.scale, self.half = float(scale), config.train.dtype == "bfloat16"
        self.encoder, self.decoder = Encoder(m, bins), Decoder(m, bins)

    def augment(self, audio):
        rows, samples = audio.shape
        device = audio.device
        level = 10 ** (-2 * torch.rand(rows, 1, device=device))
        chosen = torch.rand(rows, 1, device=device) < self.mix
        audio = audio + torch.where(chosen, level, 0.0) * torch.roll(audio, 1, 0)
        place = torch.log1p(64 * torch.fft.rfftfreq(samples, device=device)) / math.log1p(32)
        order = torch.arange(1, 7, device=device)
        cosines = torch.cos(torch.pi * order[:, None] * place)
        response = (self.eq_db * (2 / 6) ** 0.5 * torch.randn(rows, 6, device=device)) @ cosines
        spectrum = torch.fft.rfft(audio) * 10 ** (response / 20)
        gain = self.gain_db * (2 * torch.rand(rows, 1, device=device) - 1)
        return torch.fft.irfft(spectrum, samples) * 10 ** (gain / 20)

    def analyse(self, audio):
        n_fft, hop, _ = self.sizes
        if self.waveform:
            return audio.reshape(len(audio), -1, hop)
        s = torch.stft(audio, n_fft, hop, window=self.window, return_complex=True)
        power = s.real.square() + s.imag.square()
        return 10 * torch.log10(torch.clamp(power.transpose(1, 2) @ self.filters, min=self.floor))

    def reconstruct(self, features):
        x = (features - self.mean) / self.scale
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.half):
            y = self.decoder(self.encoder(x))
        return y.float() * self.scale + self.mean

    def forward(self, audio, length):
        features = self.analyse(self.augment(audio))
        _, hop, downsampling = self.sizes
        counted = -(-length // hop) if self.waveform else 1 + length // hop
        counted = -(-counted // downsampling) * downsampling
        frames = torch.arange(features.shape[1], device=audio.device)
        mask = (frames < counted[:, None])[..., None].float()
        error = (self.reconstruct(features) - features) / self.scale
        return (error.square() * mask).sum() / (mask.sum() * features.shape[-1])


def copy_weights(params, module):
    """aejax's parameters into the module of the same name, and those below it."""
    for name, source in params.items():
        if name == "network" and not hasattr(module, name):
            copy_weights(source, module)  # aejax cuts blocks in a module of its own
            continue
        layer = getattr(module, name)
        if isinstance(layer, nn.Parameter):
            layer.data = _tensor(source)
        elif isinstance(layer, Recurrent):
            _copy_lstm(source, layer.lstm)
        elif isinstance(layer, Conv):
            size, inputs = layer.kernel_size[0], layer.in_channels
            layer.weight.data = _tensor(source["kernel"]).reshape(size, inputs, -1).permute(2, 1, 0)
            layer.weight.data = layer.weight.data.contiguous()
            layer.bias.data = _tensor(source["bias"])
        elif isinstance(layer, nn.Linear):
            layer.weight.data = _tensor(source["kernel"]).T.contiguous()
            layer.bias.data = _tensor(source["bias"])
        elif isinstance(layer, nn.LayerNorm):
            layer.weight.data, layer.bias.data = _tensor(source["scale"]), _tensor(source["bias"])
        else:
            copy_weights(source, layer)


def _copy_lstm(source, lstm):
    width = lstm.hidden_size
    rows = [_tensor(source["input"]["kernel"])]
    if "position" in source:
        rows.append(_tensor(source["position"]))
    lstm.weight_ih_l0.data = torch.cat(rows).T.contiguous()
    lstm.weight_hh_l0.data = _tensor(source["state_kernel"]).T.contiguous()
    lstm.bias_ih_l0.data = _tensor(source["input"]["bias"])
    lstm.bias_hh_l0.data = _tensor(source["state_bias"])
    lstm.bias_hh_l0.data[width : 2 * width] += 1  # where aejax's forget gate begins


def _tensor(array):
    return torch.tensor(np.asarray(array))
