"""aejax.signal against librosa, PyTorch and scipy, in pairs within one run.

    pip install -e '.[test,bench]' && python benchmarks/transforms.py

--only=forward,gradient runs a part of it; the parts are forward, gradient, inverse and hour.
--sizes=1 takes the first of the sizes alone.

Each task runs in turns, aejax and its peers after one another, and the median of the ratios of
each turn is printed: above 1 aejax is faster. Before anything is timed the results are compared.
PyTorch and scipy run as a user would write it: `torch.stft` and a matrix product, `ShortTimeFFT`.
With a CUDA device JAX and PyTorch run on it, in float32 and not TF32; librosa and scipy know only
the CPU.
"""

import argparse
import dataclasses
import functools
import os
import resource
import statistics
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.signal
import torch

from aejax import signal

DEVICE = "cuda" if jax.default_backend() == "gpu" else "cpu"


@dataclasses.dataclass(frozen=True)
class Size:
    batch: int
    seconds: float
    sample_rate: int
    n_fft: int
    hop_length: int
    n_mels: int

    def __str__(self):
        return (
            f"{self.batch} x {self.seconds:g} s at {self.sample_rate / 1000:g} kHz"
            f" ({self.n_fft}/{self.hop_length}/{self.n_mels})"
        )

    @property
    def stft(self):
        return {"n_fft": self.n_fft, "hop_length": self.hop_length}

    @property
    def mel(self):
        return {"sample_rate": self.sample_rate, "n_mels": self.n_mels}

    def audio(self):
        """Noise with the slope of speech, so that what is quiet is quiet."""
        rng = np.random.default_rng(0)
        samples = int(self.seconds * self.sample_rate)
        x = rng.standard_normal((self.batch, samples)).astype(np.float32)
        return scipy.signal.lfilter([0.1], [1, -0.9], x).astype(np.float32)


SIZES = [
    Size(32, 1, 16000, 1024, 256, 80),
    Size(16, 2, 44100, 2048, 512, 128),
    Size(1, 60, 44100, 2048, 512, 128),
    Size(64, 1, 16000, 512, 128, 64),
]
HOUR = Size(1, 3600, 16000, 1024, 256, 80)


# ---- the same task for each of the four


def aejax_magnitude(size):
    return jax.jit(functools.partial(signal.spectrogram, **size.stft, power=1.0))


def aejax_log_mel(size):
    return jax.jit(lambda x: signal.power_to_db(signal.mel_spectrogram(x, **size.stft, **size.mel)))


def torch_magnitude(size):
    window = torch.hann_window(size.n_fft, device=DEVICE)

    def magnitude(x):
        s = torch.stft(x, size.n_fft, size.hop_length, window=window, return_complex=True)
        return s.abs().mT

    return magnitude


def torch_log_mel(size):
    window = torch.hann_window(size.n_fft, device=DEVICE)
    filters = signal.mel_filterbank(n_fft=size.n_fft, **size.mel)
    filters = torch.tensor(filters.T.copy(), device=DEVICE)

    def log_mel(x):
        s = torch.stft(x, size.n_fft, size.hop_length, window=window, return_complex=True)
        power = s.real.square() + s.imag.square()
        return (10 * torch.log10(torch.clamp(filters @ power, min=1e-10))).mT

    return log_mel


def librosa_magnitude(size):
    return lambda x: np.abs(librosa.stft(x, **size.stft, pad_mode="reflect")).swapaxes(-1, -2)


def librosa_log_mel(size):
    def log_mel(x):
        mel = librosa.feature.melspectrogram(
            y=x, sr=size.sample_rate, n_mels=size.n_mels, **size.stft, pad_mode="reflect"
        )
        return librosa.power_to_db(mel, top_db=None).swapaxes(-1, -2)

    return log_mel


def scipy_stft(size):
    window = scipy.signal.get_window("hann", size.n_fft).astype(np.float32)
    transform = scipy.signal.ShortTimeFFT(window, size.hop_length, fs=1.0, phase_shift=None)
    middle = size.n_fft // 2

    def stft(x):
        x = np.pad(x, [(0, 0), (middle, middle)], mode="reflect")
        frames = 1 + (x.shape[-1] - size.n_fft) // size.hop_length
        return transform.stft(x, p0=0, p1=frames, k_offset=middle).swapaxes(-1, -2)

    return stft


def scipy_magnitude(size):
    stft = scipy_stft(size)
    return lambda x: np.abs(stft(x))


def scipy_log_mel(size):
    stft = scipy_stft(size)
    filters = signal.mel_filterbank(n_fft=size.n_fft, **size.mel)
    return lambda x: 10 * np.log10(np.maximum(np.square(np.abs(stft(x))) @ filters, 1e-10))


FORWARD = {
    "magnitude": {
        "torch": torch_magnitude,
        "librosa": librosa_magnitude,
        "scipy": scipy_magnitude,
    },
    "log-mel": {"torch": torch_log_mel, "librosa": librosa_log_mel, "scipy": scipy_log_mel},
}
AEJAX = {"magnitude": aejax_magnitude, "log-mel": aejax_log_mel}


# ---- running them


def for_torch(x):
    return torch.tensor(x, device=DEVICE)


def finish(result):
    """Waits for what is still being computed."""
    if isinstance(result, jax.Array | tuple):
        jax.block_until_ready(result)
    elif DEVICE == "cuda" and isinstance(result, torch.Tensor):
        torch.cuda.synchronize()


def seconds_per_call(run, calls):
    begin = time.perf_counter()
    for _ in range(calls):
        finish(run())
    return (time.perf_counter() - begin) / calls


def in_turns(runs, rounds):
    """Seconds per call of each, ``{name: [rounds]}``, one after the other in every round.

    A turn is as many calls as take a tenth of a second: some libraries' threads go on spinning
    for a while, which is a burden to the first call of whoever is next.
    """
    times = {name: [] for name in runs}
    calls = {}
    for name, run in runs.items():
        seconds_per_call(run, 1)
        calls[name] = max(1, round(0.1 / seconds_per_call(run, 2)))
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds_per_call(run, calls[name]))
    return times


def report(task, times):
    ours = times["aejax"]
    print(f"  {task:<12} aejax {1e3 * statistics.median(ours):9.2f} ms", end="")
    for name in list(times)[1:]:
        ratios = [theirs / mine for mine, theirs in zip(ours, times[name], strict=True)]
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        print(f" | {name} / aejax {middle:6.2f} ({low:.2f} to {high:.2f})", end="")
    print(flush=True)


def relative_error(x, y):
    x, y = np.asarray(x), np.asarray(y)
    return float(np.linalg.norm(x - y) / np.linalg.norm(y))


def compare(task, runs):
    """The largest difference from aejax's result; the benchmark stops where it is no rounding."""
    ours = np.asarray(runs["aejax"]())
    for name, run in runs.items():
        theirs = run()
        theirs = theirs.detach().cpu().numpy() if isinstance(theirs, torch.Tensor) else theirs
        error = relative_error(ours, theirs)
        if error > 1e-5:
            raise SystemExit(f"{task}: {name} differs from aejax by {error:.1e}")


def forward(sizes, rounds):
    print("forward: magnitude of the STFT, and log-mel in dB")
    for size in sizes:
        print(f" {size}")
        x = size.audio()
        given = {"aejax": jnp.asarray(x), "torch": for_torch(x), "librosa": x, "scipy": x}
        for task, peers in FORWARD.items():
            makers = {"aejax": AEJAX[task]} | peers
            runs = {
                name: functools.partial(make(size), given[name]) for name, make in makers.items()
            }
            compare(task, runs)
            report(task, in_turns(runs, rounds))


def sum_and_back(transform, x):
    """PyTorch's gradient of the sum."""
    x.grad = None
    transform(x).sum().backward()
    return x.grad


def sum_of(transform):
    return lambda x: transform(x).sum()


def gradient(sizes, rounds):
    print("forward and backward: the sum of what forward gives")
    for size in sizes:
        print(f" {size}")
        x = size.audio()
        for task, peers in FORWARD.items():
            ours = jax.jit(jax.grad(sum_of(AEJAX[task](size))))
            theirs = peers["torch"](size)
            runs = {
                "aejax": functools.partial(ours, jnp.asarray(x)),
                "torch": functools.partial(sum_and_back, theirs, for_torch(x).requires_grad_()),
            }
            error = relative_error(runs["aejax"](), runs["torch"]().cpu())
            if error > 1e-4:
                raise SystemExit(f"{task}: the gradients differ by {error:.1e}")
            report(task, in_turns(runs, rounds))


def spectral_convergence(audio, magnitude, size):
    again = signal.spectrogram(jnp.asarray(audio), **size.stft, power=1.0)
    return relative_error(again, magnitude)


def inverse(sizes, rounds):
    print("inverse: Griffin-Lim, 32 iterations from zero phase; mel to linear by least squares")
    for size in sizes:
        print(f" {size}")
        x = size.audio()
        magnitude = aejax_magnitude(size)(x)
        numpy_magnitude = np.asarray(magnitude).swapaxes(-1, -2)
        ours = functools.partial(signal.griffin_lim, magnitude, **size.stft)
        theirs = functools.partial(
            librosa.griffinlim, numpy_magnitude, **size.stft, init=None, pad_mode="reflect"
        )
        runs = {"aejax": ours, "librosa": theirs}
        errors = [spectral_convergence(run(), magnitude, size) for run in runs.values()]
        print("  spectral convergence: aejax {:.4f}, librosa {:.4f}".format(*errors))
        report("Griffin-Lim", in_turns(runs, max(3, rounds // 5)))

        filters = signal.mel_filterbank(n_fft=size.n_fft, **size.mel)
        mel = signal.mel_spectrogram(jnp.asarray(x), **size.stft, **size.mel)
        numpy_mel = np.asarray(mel).swapaxes(-1, -2)
        ours = functools.partial(
            signal.mel_to_linear, mel, sample_rate=size.sample_rate, n_fft=size.n_fft
        )
        theirs = functools.partial(
            librosa.feature.inverse.mel_to_stft,
            numpy_mel,
            sr=size.sample_rate,
            n_fft=size.n_fft,
            power=1.0,
        )
        runs = {"aejax": ours, "librosa": theirs}
        linear = np.asarray(ours()), theirs().swapaxes(-1, -2)
        print(
            "  mel error left: aejax {:.1e}, librosa {:.1e}".format(
                *(relative_error(y @ filters, mel) for y in linear)
            )
        )
        report("mel inverse", in_turns(runs, 3))


def resident():
    """Kilobytes in memory now."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def memory_of(task):
    """Runs one task on an hour of audio and prints its seconds and peak memory."""
    x = np.random.default_rng(0).standard_normal(HOUR.seconds * HOUR.sample_rate, np.float32)
    peer, task = task.split(":")
    make = AEJAX[task] if peer == "aejax" else FORWARD[task][peer]
    run = make(HOUR)
    given = for_torch(x)[None] if peer == "torch" else x if peer == "aejax" else x[None]
    given = jnp.asarray(given) if peer == "aejax" else given
    before = resident()
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        result = run(given)
        finish(result)
        seconds.append(time.perf_counter() - begin)
        size = result.nbytes
        del result
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"  {peer:<8} {task:<10} {statistics.median(seconds):6.2f} s, peak"
        f" {(peak - before) / 1e6:5.2f} GB more, of which the output is {size / 1e9:.2f} GB",
        flush=True,
    )


def hour(rounds):
    del rounds
    print(f"an hour: {HOUR}, each in a process of its own")
    for task in FORWARD:
        for peer in ("aejax", *FORWARD[task]):
            subprocess.run([sys.executable, __file__, "--memory-of", f"{peer}:{task}"], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--only", default="forward,gradient,inverse,hour")
    parser.add_argument("--sizes", type=int, default=len(SIZES), help="how many of them")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        memory_of(options.memory_of)
        return
    versions = ", ".join(
        f"{module.__name__} {module.__version__}" for module in (jax, torch, librosa, scipy)
    )
    print(f"{versions}; {jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores")
    chosen = options.only.split(",")
    for task in (forward, gradient, inverse):
        if task.__name__ in chosen:
            task(SIZES[: options.sizes], options.rounds)
    if "hour" in chosen:
        hour(options.rounds)


if __name__ == "__main__":
    main()
