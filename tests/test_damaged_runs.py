"""Whatever happens to the files of a run: it is as it was, or one line says what is wrong."""

import io
import json
import os
import shutil
import time
import tracemalloc
import zipfile

import jax
import numpy as np
import pytest
from conftest import shrink

import aejax
from aejax import config as config_module
from aejax import experiment, representations
from aejax.data import scan as scans
from aejax.evaluation import entropy_coding
from aejax.inference import load
from aejax.models import autoencoder
from aejax.reporting import run_files
from aejax.reporting.extras import read_extras
from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError
from aejax.runtime.files import read_object
from aejax.sweeps.population import Job, run_together
from aejax.training import checkpoint, metrics_log, pca_fit
from aejax.workdir import Workdir, read_config

CONFIG = shrink(config_module.default())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    experiment.run(CONFIG, path)
    return path


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def spoil(run, step):
    """Zeroes the arrays of a checkpoint."""
    for path in (run / "checkpoints" / str(step) / "state").rglob("d/*"):
        path.write_bytes(bytes(path.stat().st_size))


def arrays_of(run, step=6):
    """Of a checkpoint, as bytes."""
    representation = representations.from_config(CONFIG)
    model = autoencoder.from_config(CONFIG.model, representation.bins)
    like = load._abstract_snapshot(CONFIG, representation, model)
    copy = Devices(jax.local_device_count()).copy
    snapshot = checkpoint.read(run / "checkpoints", step, like, copy)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(snapshot)]


def curves_of(run):
    lines = metrics_log.read(run / "metrics.jsonl")
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def test_a_run_goes_on_from_the_older_checkpoint(run, finished, capsys):
    (run / "results.json").unlink()
    spoil(run, 6)
    (run / "checkpoints" / "70").mkdir()
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    (run / "metrics.jsonl").write_bytes(b"".join([b"\0\n", *lines]))
    rows = experiment.run(CONFIG, run).rows
    printed = capsys.readouterr()
    assert "resuming from step 3" in printed.out
    warnings = [line for line in printed.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 4  # the first is of the warm-up
    assert ["70 is damaged" in line for line in warnings].count(True) == 1
    assert ["6 is damaged" in line for line in warnings].count(True) == 1
    assert "metrics.jsonl, line 1 is damaged" in warnings[-1]
    assert arrays_of(run) == arrays_of(finished)
    assert curves_of(run) == curves_of(finished)
    assert rows == experiment.run(CONFIG, finished).rows


@pytest.mark.slow
def test_a_damaged_member_of_a_population_ends_alone(run, finished, tmp_path, capsys):
    """With nothing to go on from; and one with an older checkpoint goes on from that."""
    other = shutil.copytree(run, tmp_path / "other")
    for folder, steps in ((run, (3, 6)), (other, (6,))):
        (folder / "results.json").unlink()
        for step in steps:
            spoil(folder, step)
    jobs = [Job(CONFIG, path, "") for path in (run, other)]
    first, second = run_together(jobs)
    assert isinstance(first, UserError)
    assert "no other to resume from" in str(first)
    assert second.rows == experiment.run(CONFIG, finished).rows
    assert arrays_of(other) == arrays_of(finished)
    assert capsys.readouterr().err.count("6 is damaged") == 1


def same_model(ours, theirs):
    leaves = [jax.tree.leaves(model.variables) for model in (ours, theirs)]
    return all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True))


def test_a_damaged_last_checkpoint_is_never_another_model(run, finished, capsys):
    spoil(run, 6)
    # In so few steps nothing is better than PCA, which the older checkpoint has too.
    assert same_model(aejax.load(run), aejax.load(finished))
    (warning,) = capsys.readouterr().err.splitlines()
    assert "6 is damaged" in warning
    assert "step 3 has the same best model" in warning
    results = json.loads((run / "results.json").read_text())
    results["best"]["raw"]["step"] = 6
    (run / "results.json").write_text(json.dumps(results))
    with pytest.raises(UserError, match=r"6 is damaged .*delete .*results\.json") as error:
        aejax.load(run)
    assert "\n" not in str(error.value)
    (run / "results.json").unlink()
    with pytest.raises(UserError, match="start the run again"):
        aejax.load(run)


def test_a_stray_folder_makes_no_difference_to_a_finished_run(run, finished):
    (run / "checkpoints" / "70").mkdir()
    link = run.with_name("link")
    link.symlink_to(run)  # a run may lie behind a link
    assert same_model(aejax.load(link), aejax.load(finished))


def use_pca(run):
    sizes = {"downsampling": CONFIG.model.downsampling, "bins": 80, "latent_dim": 8}
    return pca_fit.load(run / "pca.npz", **sizes).pca


READERS = {
    "config.json": lambda run: (read_config(run), Workdir(run, CONFIG)),
    "pca.npz": use_pca,
    "pca_context.npz": lambda run: pca_fit.load_context(run / "pca_context.npz", use_pca(run)),
    "coding.npz": lambda run: entropy_coding.load(run / "coding.npz", "model", 8),
    "metrics.jsonl": lambda run: metrics_log.read(run / "metrics.jsonl"),
    "results.json": run_files.read_results,
    "clips.jsonl": lambda run: run_files._worst(run / "clips.jsonl", CONFIG.name, 3),
    "corpus.json": lambda run: read_object(run / "corpus.json", 64 << 20),
    "report.npz": lambda run: read_extras(run / "report.npz"),
    "corpus.npz": lambda run: scans.load(run / "corpus.npz"),
    "speakers.json": load._speakers,
}


@pytest.fixture
def files(finished, audio_folder, tmp_path):
    """A run with every small file that a run may have, to be damaged again and again."""
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns("checkpoints", "events*"))
    scans.save(run / "corpus.npz", scans.scan(audio_folder))
    (run / "speakers.json").write_text('["Bo", "Cy"]')
    return run


def refused(name, run):
    """Whether the file is refused: by one line that names it, in bounded time and memory."""
    began = time.monotonic()
    message = None
    tracemalloc.start()
    try:
        READERS[name](run)
    except UserError as error:
        message = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    assert time.monotonic() - began < 20
    if message is not None:
        assert name in message or "holds a run with another config" in message
        assert message.isprintable()
        assert len(message) < 1000 + len(str(run))
    return message is not None


def mutations(data, rng):
    """Of a file's bytes."""
    yield from (b"", data[: len(data) // 2], data[:-1], bytes(len(data)), b"[]", b"{}", b"null")
    yield from (b'{"rows": 3}', b"[" * 100_000, b"\xff\xfe", b"1e999", b"9" * 5000)
    for _ in range(6):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), rng.integers(1, 4)):
            changed[place] = rng.integers(256)
        yield bytes(changed)
        start, end = np.sort(rng.integers(0, len(data), 2))
        yield data[:start] + data[end:]
        yield data[:end] + data[start:]


def npy():
    """An array by itself, as NumPy saves it."""
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def bomb():
    """What unpacks to much more than it is."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as members:
        members.writestr("kernel.npy", bytes(128 << 20))
    return file.getvalue()


@pytest.mark.parametrize("name", READERS)
def test_no_mutation_of_a_small_file_gets_through_as_anything_else(files, name):
    path = files / name
    data = path.read_bytes()
    assert not refused(name, files)
    count = 0
    for changed in [*mutations(data, np.random.default_rng(len(name))), npy(), bomb()]:
        path.write_bytes(changed)
        count += refused(name, files)
    assert count >= 5
    if name.endswith(".npz"):
        path.write_bytes(data.replace(b"'shape': (", b"'shape': (8000000000000, ", 1))
        assert refused(name, files)


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused(files, tmp_path, name):
    path, elsewhere = files / name, tmp_path / "elsewhere"
    path.rename(elsewhere)
    makers = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "link": lambda: path.symlink_to(elsewhere),
        "zero": lambda: path.symlink_to("/dev/zero"),
        "large": lambda: path.open("wb").truncate(1 << 40),
    }
    for kind, make in makers.items():
        make()
        # The report does without that.
        absent = name == "clips.jsonl" and kind in ("pipe", "folder", "zero")
        assert refused(name, files) != absent
        if kind == "folder":
            path.rmdir()
        else:
            path.unlink()


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_lock_that_is_no_file_is_refused(run, tmp_path, kind):
    (run / "run.lock").unlink()
    (tmp_path / "other").write_text("of someone")
    if kind == "pipe":
        os.mkfifo(run / "run.lock")
    else:
        (run / "run.lock").symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match=r"run\.lock"):
        Workdir(run, CONFIG).create()
    assert (tmp_path / "other").read_text() == "of someone"


@pytest.mark.parametrize(
    "key",
    [
        key
        for key, value in config_module.flatten(config_module.default()).items()
        if type(value) in (int, float)
    ],
)
def test_no_number_of_a_config_is_without_a_bound(key):
    """A config may come from anyone, and what it asks for must not take all memory, or for ever."""
    value = config_module.flatten(config_module.default())[key]
    for much in (10**39, -(10**39)):
        config = config_module.override(config_module.default(), {key: type(value)(much)})
        with pytest.raises(UserError, match=rf"config\.{key}="):
            config_module.validate(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"representation.mel.griffin_lim_iterations": 10**9},
        {"data.excerpt_seconds": 3600.0, "data.sample_rate": 192_000},
        {"representation.mel.n_fft": 2**19, "representation.mel.n_mels": 8000},
        {"model.downsampling": 2**16},
        {"model.conv.depth": 1000},
        {"model.bottleneck": "vq", "model.vq.codebook_size": 2**23},
    ],
    ids=str,
)
def test_a_config_that_no_machine_can_hold_is_refused(changes):
    with pytest.raises(UserError, match="at most"):
        config_module.validate(config_module.override(config_module.default(), changes))
