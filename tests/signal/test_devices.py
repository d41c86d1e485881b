"""Signals that lie on several devices are transformed where they lie."""

import os
import subprocess
import sys

from conftest import REPOSITORY

SCRIPT = """
import jax, numpy as np
from aejax import signal
from aejax.signal import framing

# Chunks of a few frames, so that every transform goes over many.
framing.KEEP["cpu"], framing.CHUNK["cpu"] = 0, 2**13
SIZES = {"n_fft": 256, "hop_length": 64}
MEL = {"sample_rate": 16000, "n_fft": 256}


def mel(x):
    return signal.mel_spectrogram(x, n_mels=20, hop_length=64, **MEL)


TRANSFORMS = [
    lambda x: signal.mel_to_linear(mel(x), num_iterations=3, **MEL),
    jax.grad(lambda x: signal.spectrogram(x, **SIZES).sum()),
    lambda x: signal.istft(signal.stft(x, **SIZES), **SIZES),
    lambda x: signal.griffin_lim(signal.spectrogram(x, **SIZES), num_iterations=2, **SIZES),
    lambda x: signal.imdct(signal.mdct(x, win_length=64)),
]
x = np.random.default_rng(0).standard_normal((4, 4000)).astype(np.float32)
mesh = jax.make_mesh((2,), ("batch",))
spec = jax.P("batch")
with jax.set_mesh(mesh):
    for transform in TRANSFORMS:
        alone = np.asarray(jax.jit(transform)(x))
        assert np.isfinite(alone).all() and alone.any()
        sharded = jax.device_put(x, jax.NamedSharding(mesh, spec))
        mapped = jax.shard_map(transform, in_specs=spec, out_specs=spec)
        for run in (transform, jax.jit(transform), jax.jit(mapped)):
            error = np.abs(np.asarray(run(sharded)) - alone).max()
            assert error < 1e-5 * np.abs(alone).max(), error
print("all agree")
"""


def test_sharded_signals():
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
        # With fewer threads than devices the devices would wait for each other.
        "NPROC": "16",
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-c", SCRIPT]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.stdout == "all agree\n", run.stderr[-2000:]
