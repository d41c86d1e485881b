"""The train step against a PyTorch twin: same layers, weights, batch and transforms.

    pip install -e '.[bench]' && python benchmarks/step.py

Before it times anything it copies aejax's weights into the twin and checks that both give the same
reconstruction. Then it runs both in turns and prints the median of the ratios of each turn, for
PyTorch eager and compiled (`torch.compile`). Above 1 aejax is faster. With a CUDA device both run
on it. The change of speed, which the twin does not have, is off for that; the whole step of the
default config is timed beside them.
"""

import argparse
import statistics
import time

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from aejax import config as config_module
from aejax import representation as representations
from aejax import signal
from aejax.fit import augmentation
from aejax.models import autoencoder
from aejax.training import state as states
from aejax.training.step import make_train_step

FRAMES = 64  # of an excerpt


class Residual(nn.Module):
    def __init__(self, width, kernel_size, dropout):
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.conv = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(width, width)

    def forward(self, x):
        y = self.conv(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.dense(self.dropout(F.gelu(y, approximate="tanh")))


class Side(nn.Module):
    """An encoder (blocks to latents) or a decoder (latents to blocks)."""

    def __init__(self, inputs, outputs, config):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.first = nn.Linear(inputs, config.width)
        self.blocks = nn.ModuleList(
            Residual(config.width, config.kernel_size, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width, eps=1e-6)
        self.last = nn.Linear(config.width, outputs)

    def forward(self, x):
        y = self.first(x)
        for block in self.blocks:
            y = block(y)
        return self.linear(x) + self.last(self.norm(y))


class Twin(nn.Module):
    """What aejax's step does before the optimiser, in PyTorch."""

    def __init__(self, config, mean, scale):
        super().__init__()
        r, m, a = config.representation, config.model, config.augment
        self.sizes = (r.n_fft, r.hop_length, r.n_mels, m.downsampling)
        self.floor = 10 ** (r.floor_db / 10)
        self.gain_db, self.eq_db, self.mix = a.gain_db, a.eq_db, a.mix_probability
        filters = signal.mel_filterbank(
            sample_rate=config.data.sample_rate, n_fft=r.n_fft, n_mels=r.n_mels
        )
        self.register_buffer("filters", torch.tensor(filters))
        self.register_buffer("window", torch.hann_window(r.n_fft))
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.scale = float(scale)
        block = m.downsampling * r.n_mels
        self.encoder, self.decoder = Side(block, m.latent_dim, m), Side(m.latent_dim, block, m)

    def augment(self, audio):
        rows, samples = audio.shape
        device = audio.device
        level = 10 ** (-2 * torch.rand(rows, 1, device=device))
        chosen = torch.rand(rows, 1, device=device) < self.mix
        audio = audio + torch.where(chosen, level, 0.0) * torch.roll(audio, 1, 0)
        place = torch.log1p(64 * torch.fft.rfftfreq(samples, device=device)) / np.log1p(32)
        order = torch.arange(1, 7, device=device)
        cosines = torch.cos(torch.pi * order[:, None] * place)
        response = (self.eq_db * (2 / 6) ** 0.5 * torch.randn(rows, 6, device=device)) @ cosines
        spectrum = torch.fft.rfft(audio) * 10 ** (response / 20)
        gain = self.gain_db * (2 * torch.rand(rows, 1, device=device) - 1)
        return torch.fft.irfft(spectrum, samples) * 10 ** (gain / 20)

    def analyse(self, audio):
        n_fft, hop, _, _ = self.sizes
        s = torch.stft(audio, n_fft, hop, window=self.window, return_complex=True)
        power = s.real.square() + s.imag.square()
        return 10 * torch.log10(torch.clamp(power.transpose(1, 2) @ self.filters, min=self.floor))

    def reconstruct(self, features):
        _, _, bins, downsampling = self.sizes
        x = (features - self.mean) / self.scale
        blocks = x.reshape(len(x), -1, downsampling * bins)
        y = self.decoder(self.encoder(blocks)).reshape(x.shape)
        return y * self.scale + self.mean

    def forward(self, audio, length):
        features = self.analyse(self.augment(audio))
        _, hop, _, downsampling = self.sizes
        blocks = -(-(1 + length // hop) // downsampling)
        frames = torch.arange(features.shape[1], device=audio.device)
        mask = (frames < (blocks * downsampling)[:, None])[..., None].float()
        error = (self.reconstruct(features) - features) / self.scale
        return (error.square() * mask).sum() / (mask.sum() * features.shape[-1])


def copy_weights(params, twin):
    """aejax's parameters into the twin's modules."""

    def dense(layer, source):
        layer.weight.data = torch.tensor(np.asarray(source["kernel"]).T.copy())
        layer.bias.data = torch.tensor(np.asarray(source["bias"]))

    def norm(layer, source):
        layer.weight.data = torch.tensor(np.asarray(source["scale"]))
        layer.bias.data = torch.tensor(np.asarray(source["bias"]))

    for side, source in ((twin.encoder, params["encoder"]), (twin.decoder, params["decoder"])):
        stack = source["nonlinear"]
        dense(side.linear, source["linear"])
        dense(side.first, stack["Dense_0"])
        dense(side.last, stack["Dense_1"])
        norm(side.norm, stack["LayerNorm_0"])
        for index, block in enumerate(side.blocks):
            inside = stack[f"ResidualBlock_{index}"]
            norm(block.norm, inside["LayerNorm_0"])
            dense(block.dense, inside["Dense_0"])
            conv = inside["Conv1D_0"]["Dense_0"]
            kernel = np.asarray(conv["kernel"]).reshape(
                block.conv.kernel_size[0], -1, len(conv["bias"])
            )
            block.conv.weight.data = torch.tensor(kernel.transpose(2, 1, 0).copy())
            block.conv.bias.data = torch.tensor(np.asarray(conv["bias"]))


def build_aejax(config):
    representation = representations.from_config(config)
    model = autoencoder.from_config(config.model, representation.bins)
    tx = states.optimiser(config.train)
    mean, scale = np.full(representation.bins, -40.0), np.asarray(15.0)
    variables = autoencoder.init(model, jax.random.key(0), config.model.downsampling)
    variables = autoencoder.standardise(variables, mean, scale)
    amount = augmentation(config)
    samples = representation.samples(FRAMES)
    step = make_train_step(
        representation,
        model,
        tx,
        samples=samples,
        downsampling=config.model.downsampling,
        augmentation=amount,
    )
    rows = config.train.batch_size
    rng = np.random.default_rng(0)
    batch = {
        "audio": (0.1 * rng.standard_normal((rows, amount.span(samples)))).astype(np.float32),
        "length": np.full(rows, amount.span(samples), np.int32),
        "place": np.zeros(rows, np.float32),
    }
    state = states.create(variables, tx, jax.random.key(1))
    begin = time.perf_counter()
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    print(f"aejax: compiled in {time.perf_counter() - begin:.1f} s")

    def run(steps):
        nonlocal state
        for _ in range(steps):
            state, metrics = compiled(state, jax.device_put(batch))
        jax.block_until_ready((state, metrics))

    def reconstruct(audio):
        features = representation.analyse(audio)
        return autoencoder.reconstruct(model, variables, features)

    return run, reconstruct, variables["params"], mean, scale, batch


def build_torch(config, twin, audio, length, compiled):
    module = torch.compile(twin) if compiled else twin
    decay = [p for p in twin.parameters() if p.ndim > 1]
    plain = [p for p in twin.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decay, "weight_decay": config.train.weight_decay}, {"params": plain}],
        lr=1e-4,
        betas=(0.9, config.train.adam_b2),
        fused=True,
    )

    def run(steps):
        for _ in range(steps):
            optimiser.zero_grad(set_to_none=True)
            module(audio, length).backward()
            torch.nn.utils.clip_grad_norm_(twin.parameters(), config.train.clip_norm)
            optimiser.step()
        if audio.is_cuda:
            torch.cuda.synchronize()

    begin = time.perf_counter()
    run(1)
    if compiled:
        print(f"torch.compile: first step after {time.perf_counter() - begin:.1f} s")
    return run


def seconds_per_step(run, steps):
    begin = time.perf_counter()
    run(steps)
    return (time.perf_counter() - begin) / steps


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=20, help="in a row, in each round")
    options = parser.parse_args()
    config = config_module.default()
    print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; torch {torch.__version__}")
    run_whole = build_aejax(config)[0]
    config.augment.speed = (1.0, 1.0)
    run_aejax, reconstruct, params, mean, scale, batch = build_aejax(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    twin = Twin(config, mean, scale).to(device)
    copy_weights(params, twin)
    twin.to(device)
    audio = torch.tensor(batch["audio"], device=device)
    length = torch.tensor(batch["length"], device=device)
    twin.eval()
    with torch.no_grad():
        theirs = twin.reconstruct(twin.analyse(audio)).cpu().numpy()
    apart = float(np.abs(np.asarray(reconstruct(batch["audio"])) - theirs).max())
    print(f"same weights, same audio: reconstructions differ by at most {apart:.1e} dB")
    if apart > 0.05:
        raise SystemExit("the twin is not the same model")
    twin.train()
    peers = {
        "eager": build_torch(config, twin, audio, length, compiled=False),
        "compiled": build_torch(config, twin, audio, length, compiled=True),
    }
    times = {"aejax": [], **{name: [] for name in peers}, "aejax, all": []}
    for run in (run_aejax, *peers.values(), run_whole):
        run(5)
    for _ in range(options.rounds):
        times["aejax"].append(seconds_per_step(run_aejax, options.steps))
        for name, run in peers.items():
            times[name].append(seconds_per_step(run, options.steps))
        times["aejax, all"].append(seconds_per_step(run_whole, options.steps))
    for name, values in times.items():
        print(f"{name:<10} median {1e3 * statistics.median(values):7.2f} ms a step")
    for name in peers:
        ratios = [b / a for a, b in zip(times["aejax"], times[name], strict=True)]
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        print(f"torch {name} / aejax: median {middle:.2f} (10 to 90 %: {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
