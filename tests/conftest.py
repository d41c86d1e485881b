"""Strict numerics for every test, and small experiments that run in seconds."""

import atexit
import ctypes
import gc
import os
import pathlib
import platform
import resource
import shutil
import sys
import tempfile

import psutil
import threadpoolctl

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run beside each other: threads of NumPy that wait for a core make the eigenvectors of a PCA
# take seconds instead of 0.2 s, in nearly every test that trains.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # of what is imported later, and of processes
threadpoolctl.threadpool_limits(1, "blas")  # a plugin of pytest has imported NumPy by now
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Many tests compile the same small experiment: once for all of them, in this process and in
    # those that it starts. Not more, as tests must not depend on what an earlier run left.
    _compiled = tempfile.mkdtemp(prefix="aejax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled
    atexit.register(shutil.rmtree, _compiled, ignore_errors=True)
# Each process of pytest has Ray clusters of its own: Ray joins what it sees there, which another
# process then ends.
os.environ["RAY_TMPDIR"] = tempfile.mkdtemp(
    prefix="ray-", dir="/tmp" if os.name == "posix" else None
)
atexit.register(shutil.rmtree, os.environ["RAY_TMPDIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
# What a test compiles runs for moments: better compiled quickly than well.
QUICKLY = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{QUICKLY} {os.environ.get('XLA_FLAGS', '')}".strip()

import jax
import jaxtyping
import numpy as np
import pytest
import soundfile

jaxtyping.install_import_hook("aejax", "typechecker.check")

from aejax import config as config_module  # noqa: E402  the hook must come first
from aejax import main as main_module  # noqa: E402
from aejax import parts  # noqa: E402
from aejax.data import folder  # noqa: E402
from aejax.data.corpus import Settings  # noqa: E402
from aejax.models import autoencoder  # noqa: E402


def most_slow(cases, *always):
    """All cases of a test; those not ``always`` run are left to CI, or `pytest -m slow`."""
    marks = {True: (), False: pytest.mark.slow}
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=marks[case in always])
        for case in cases
    ]


REPOSITORY = pathlib.Path(__file__).parents[1]
REAL_AUDIO = REPOSITORY.parent / "shared" / "audio" / "data"

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def shrink(config):
    """The same experiment at a size for tests: same keys, same code."""
    config.data.synthetic.clips = 40
    config.data.synthetic.seconds = 1.0
    config.data.excerpt_seconds = 0.5
    representation = config.representation[config.representation.name]
    if "griffin_lim_iterations" in representation:
        representation.griffin_lim_iterations = 2
    for name in {config.model.encoder, config.model.decoder or config.model.encoder}:
        network = config.model.get(name, {})
        if "width" in network:
            network.width = 4 if name == "wave_conv" else min(network.width, 32)
        if "depth" in network:
            network.depth = 1
    if config.model.bottleneck == "rvq":
        config.model.rvq.update(codebook_size=16, num_quantizers=4)
        config.evaluate.nested_sizes = (2,)
    if config.model.bottleneck == "ordered":
        config.evaluate.nested_sizes = (1, 4)
    config.model.latent_dim = 8
    config.train.batch_size = 8
    config.train.steps = 6
    config.train.validate_every = 3
    config.train.log_every = 1
    config.evaluate.example_clips = 2
    return config


def set_model(model, **changes):
    """Sets keys of ``config.model``; such as there are none of there are its encoder's."""
    own = {name: value for name, value in changes.items() if name not in model}
    model.update({name: value for name, value in changes.items() if name in model})
    for name, value in own.items():
        model[model.encoder][name] = value
    return model


def forward(model, variables, features, key=None):
    """A model's output and latents, the output in the features' unit; in training with a key."""
    constants = variables["constants"]
    x = autoencoder.standardise(features, constants)
    train = key is not None
    output = autoencoder.forward(model, variables, x, None, train=train, key=key)
    return output._replace(features=autoencoder.unstandardise(output.features, constants))


# Of a process of tests; what it starts comes on top.
MOST_MEGABYTES = 1500
# That one test may take beside what those before it have left.
FOR_ONE_TEST = 600


def peak_megabytes():
    """The most memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def resident_megabytes():
    """The memory that this process has now."""
    return psutil.Process().memory_info().rss / 1e6


def free_compiled():
    """Gives the memory of compiled programs back to the system."""
    jax.clear_caches()
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True)
def _room_for_the_next(left=[0]):  # noqa: B006  the megabytes that were left when it last made room
    """No test has to live with what all before it have compiled."""
    yield
    most = max(MOST_MEGABYTES - FOR_ONE_TEST, left[0] + 50)
    if resident_megabytes() > min(left[0] + 400, most):
        free_compiled()
        left[0] = resident_megabytes()


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory(request):
    """A laptop of 8 GB runs the tests."""
    before = peak_megabytes()
    yield
    if before <= MOST_MEGABYTES < peak_megabytes():
        pytest.fail(
            f"{request.node.nodeid} took this process to {peak_megabytes():.0f} MB, more than "
            f"the {MOST_MEGABYTES} that conftest.py allows"
        )


@pytest.fixture(autouse=True)
def _parts_as_before():
    """No test sees the parts that another has registered."""
    before = [(dict(registry._parts), dict(registry.files)) for registry in parts.REGISTRIES]
    yield
    for registry, (known, files) in zip(parts.REGISTRIES, before, strict=True):
        registry._parts, registry.files = known, files


@pytest.fixture
def unchecked_types():
    """Calls as they are outside of the tests, where no annotation is checked."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def same_process(monkeypatch):
    """Commands that run in this process do not change its settings of memory and compilation."""
    monkeypatch.setattr("aejax.runtime.malloc.keep_freed", lambda: None)
    monkeypatch.setattr("aejax.runtime.compilation.use_cache", lambda: None)


def forget_flags():
    """Flags as they are in a new process."""
    for name in list(main_module.FLAGS):
        main_module.FLAGS[name].unparse()
        if name.startswith("config."):
            delattr(main_module.FLAGS, name)


@pytest.fixture
def flags(monkeypatch, same_process):
    """Flags as they are in a new process, before and after."""
    monkeypatch.chdir(REPOSITORY)
    yield
    forget_flags()


@pytest.fixture(scope="session")
def environment():
    """Of processes that tests start from the repository, with one cache of compiled programs."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY)}


@pytest.fixture
def small_config():
    return shrink(config_module.default())


@pytest.fixture
def real_audio():
    if not REAL_AUDIO.is_dir():
        pytest.skip(f"no real audio at {REAL_AUDIO}")
    return REAL_AUDIO


@pytest.fixture
def audio_folder(tmp_path):
    """Nine half-second files in three folders, in several formats, rates and channel counts."""
    rng = np.random.default_rng(0)
    root = tmp_path / "sounds"
    kinds = [("wav", 16000, 1), ("flac", 44100, 2), ("ogg", 22050, 1)]
    for name in "abc":
        (root / name).mkdir(parents=True)
        for suffix, rate, channels in kinds:
            audio = 0.1 * rng.standard_normal((rate, channels))
            soundfile.write(root / name / f"{suffix}.{suffix}", audio, rate)
    return root


@pytest.fixture(autouse=True)
def _fresh_cache(tmp_path_factory, monkeypatch):
    """No test sees what another has scanned."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def open_folder():
    """``open_folder(root, **settings)``: a folder as a corpus."""

    def open_(root, **settings):
        return folder.open_folder(root, Settings(**settings))

    return open_
