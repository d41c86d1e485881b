"""A full disk is one line that names what could not be written, and nothing of it is left."""

import contextlib
import functools
import resource
import subprocess

import jax
import numpy as np
import pytest
import soundfile
from test_writing import WRITERS

from aejax import experiment, results
from aejax.data import packing, streams
from aejax.data.corpus import Settings
from aejax.data.folder import open_folder
from aejax.runtime import files
from aejax.runtime.errors import DiskFull, exit_code
from aejax.training import checkpoint, metrics_log, pca_fit
from aejax.workdir import Workdir


@contextlib.contextmanager
def full_disk_reason(most=0):
    """Files may have so many bytes: what a library meets at a full disk, and needs no rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 200 kB, where this user may mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", tmp_path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_is_written_says_that_there_is_no_room(tmp_path, name):
    path = tmp_path / name
    with full_disk_reason(), pytest.raises(DiskFull, match=name) as caught:
        WRITERS[name](path)
    assert "no room to write" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [x.name for x in tmp_path.iterdir() if files.is_temporary(x.name)] == []
    assert not path.exists() or path.read_bytes() == b""
    WRITERS[name](path)


@pytest.mark.parametrize("suffix", streams.FORMATS)
def test_no_format_of_sound_is_cut_short_without_a_word(tmp_path, suffix):
    """libsndfile goes on writing Ogg and MP3 as if nothing was."""
    sound = streams.Sound(64_000, 16_000, 1, streams.format_of(f"x{suffix}"))
    blocks = [0.1 * np.random.default_rng(0).standard_normal((64_000, 1)).astype(np.float32)]
    path = tmp_path / f"x{suffix}"
    with full_disk_reason(2000), pytest.raises(DiskFull, match=path.name):
        streams.write(path, blocks, sound)
    assert not list(tmp_path.iterdir())
    streams.write(path, blocks, sound)
    assert soundfile.info(path).frames == 64_000


def test_on_a_disk_that_is_full(small_disk):
    sound = streams.Sound(300_000, 16_000, 1, ("WAV", "PCM_16"))
    with pytest.raises(DiskFull, match=r"x.wav \(No space left on device\)"):
        streams.write(small_disk / "x.wav", [np.zeros((300_000, 1), np.float32)], sound)
    assert not list(small_disk.iterdir())


def test_a_pack_goes_on_once_there_is_room(audio_folder, tmp_path):
    source = open_folder(audio_folder, Settings())
    with full_disk_reason(3000), pytest.raises(DiskFull, match="shard-00000-of-00001"):
        packing.pack(source, tmp_path / "pack")
    packing.pack(source, tmp_path / "pack")
    assert not [x for x in (tmp_path / "pack").iterdir() if files.is_temporary(x.name)]


@pytest.mark.slow  # compiles four times
def test_a_run_goes_on_once_there_is_room(request, small_config, tmp_path, monkeypatch, capfd):
    """At six moments: config, PCA, metrics, checkpoint, sounds, results."""
    # JAX would leave half a file in the cache of compiled programs, which all tests share.
    uncached = "jax_persistent_cache_min_compile_time_secs"
    request.addfinalizer(functools.partial(jax.config.update, uncached, 0.0))
    jax.config.update(uncached, 1e9)
    small_config.train.update(steps=2, validate_every=2)
    path = tmp_path / "run"
    moments = [
        (Workdir, "write_config", "config.json"),
        (pca_fit, "save", "pca.npz"),
        (metrics_log.MetricsLog, "_write", "metrics.jsonl"),
        (checkpoint.Checkpoints, "save", "checkpoints"),
        (results, "write_audio_examples", "audio"),
        (Workdir, "write_text", "results.json"),
    ]
    for owner, function, name in moments:
        usual = getattr(owner, function)

        def full(*args, usual=usual, name=name):
            last = name != "results.json" or name in args
            with full_disk_reason() if last else contextlib.nullcontext():
                done = usual(*args)
                if name == "checkpoints":
                    args[0].close()
                return done

        with monkeypatch.context() as patch:
            patch.setattr(owner, function, full)
            with pytest.raises(DiskFull, match=name) as caught:
                experiment.run(small_config, path)
        assert str(path) in str(caught.value)
        assert not (path / "results.json").exists()
    experiment.run(small_config, path)
    assert (path / "report.html").exists()
    assert "Traceback" not in capfd.readouterr().err


def test_a_program_ends_with_that_line(tmp_path, capsys):
    with full_disk_reason():
        code = exit_code(lambda: files.write_text(tmp_path / "x", "y"), interrupted="")
    assert code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: no room to write {tmp_path / 'x'} (File too large); free some")
