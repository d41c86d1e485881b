"""What a run writes while it trains: the metrics log, the fit of PCA."""

import io
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from ml_collections import ConfigDict

from aejax import representations
from aejax.data import loader
from aejax.data.corpus import Settings
from aejax.data.synthetic import SyntheticCorpus
from aejax.loggers import TensorBoard
from aejax.models.blocks import to_blocks
from aejax.runtime import devices, malloc
from aejax.runtime.devices import Devices
from aejax.runtime.errors import UserError
from aejax.training import metrics_log, pca_fit


def logged(path, steps):
    with metrics_log.MetricsLog(path, after=-1) as log:
        for step in steps:
            log(step, {"loss/total": step / 3})
    return path / "metrics.jsonl"


def test_the_log_drops_what_will_be_logged_again(tmp_path, capsys):
    path = logged(tmp_path, (0, 2, 4, 6))
    with path.open("a") as file:
        file.write('{"step": 8, "loss/to')
    assert [line["step"] for line in metrics_log.read(path)] == [0, 2, 4, 6]
    with metrics_log.MetricsLog(tmp_path, after=4) as log:
        log(6, {"loss/total": 7.0})
    lines = metrics_log.read(path)
    assert lines[:3] == [{"step": step, "loss/total": step / 3} for step in (0, 2, 4)]
    assert lines[3:] == [{"step": 6, "loss/total": 7.0}]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "bad", [b"\0" * 40, b"[]", b"{", b"\xff", b'{"loss/total": 1}', b'{"step": "2"}', b"x" * 70_000]
)
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_damaged_line_of_the_log_is_named_and_no_other_lost(tmp_path, capsys, bad, place):
    path = logged(tmp_path, (0, 2, 4))
    lines = path.read_bytes().splitlines()
    lines.insert(place, bad)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    damaged = path.read_bytes()
    with pytest.raises(UserError, match=f"line {place + 1} is"):
        metrics_log.read(path)
    with metrics_log.MetricsLog(tmp_path, after=4):
        pass
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"metrics.jsonl, line {place + 1} is" in warning
    assert [line["step"] for line in metrics_log.read(path)] == [0, 2, 4]
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == damaged


def test_a_log_that_is_gone_is_named(tmp_path, capsys):
    with metrics_log.MetricsLog(tmp_path, after=4):
        pass
    assert "metrics.jsonl is missing" in capsys.readouterr().err


@pytest.fixture
def fitted(small_config):
    small_config.representation.mel.n_mels = 20
    representation = representations.from_config(small_config)
    corpus = SyntheticCorpus(clips=20, seconds=0.7, seed=0, settings=Settings())
    excerpt = representation.samples(16)
    batches = loader.Batches(corpus, "train", excerpt=excerpt, batch_size=8)

    found = pca_fit.fit(
        batches,
        representation=representation,
        downsampling=8,
        latent_dim=5,
        device_put=Devices(8).device_put,
    )
    return found, batches, representation


def test_pca_sees_every_whole_block_of_the_training_clips_once(fitted):
    found, batches, representation = fitted
    blocks = []
    for batch in batches:
        features = representation.analyse(jnp.asarray(batch["audio"]))
        for row, length in zip(to_blocks(features, 8), batch["length"], strict=True):
            reached = -(-(1 + length // 256) // 8) if length else 0
            blocks.append(np.asarray(row[:reached], np.float64))
    blocks = np.concatenate(blocks)
    np.testing.assert_allclose(found.pca.mean, blocks.mean(axis=0), rtol=1e-5)
    values = np.linalg.eigvalsh(np.cov(blocks.T))[::-1]
    np.testing.assert_allclose(np.square(found.pca.deviations), values[:5], rtol=1e-5)


def test_a_fit_is_saved_and_read_without_executing_anything(fitted, tmp_path):
    found = fitted[0]
    pca_fit.save(tmp_path / "pca.npz", found)
    again = pca_fit.load(tmp_path / "pca.npz", downsampling=8, bins=20, latent_dim=5)
    for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert [path.name for path in tmp_path.iterdir()] == ["pca.npz"]
    for wrong in ({"downsampling": 4}, {"bins": 21}, {"latent_dim": 6}):
        with pytest.raises(UserError, match="delete it to fit PCA again"):
            pca_fit.load(
                tmp_path / "pca.npz", **{"downsampling": 8, "bins": 20, "latent_dim": 5, **wrong}
            )


def test_a_batch_that_the_devices_cannot_share(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: [None] * 3)
    with pytest.raises(UserError, match=r"batch_size=8 must be a multiple of the 3 devices"):
        Devices(8)


def events(path):
    """Of a TensorBoard file: (step, tag, value) of each summary."""
    from tensorboardX.proto.event_pb2 import Event

    data, place = path.read_bytes(), 0
    while place < len(data):
        (length,) = struct.unpack_from("<Q", data, place)
        event = Event.FromString(data[place + 12 : place + 12 + length])
        place += 16 + length
        for value in event.summary.value:
            yield event.step, value.tag, value


def test_tensorboard_has_sounds_and_pictures(tmp_path):
    sound = np.linspace(-1, 1, 800, dtype=np.float32)[:, None]
    log = TensorBoard(tmp_path, ConfigDict(), -1)
    log.sound("heard/1", 7, sound, 8000)
    log.picture("seen/1", 7, np.arange(12, dtype=np.uint8).reshape(3, 4))
    log.close()
    found = {tag: (step, value) for step, tag, value in events(next(tmp_path.glob("events.*")))}
    step, heard = found["heard/1"]
    audio, rate = soundfile.read(io.BytesIO(heard.audio.encoded_audio_string), always_2d=True)
    assert (step, rate) == (7, 8000)
    np.testing.assert_allclose(audio, sound, atol=1e-4)
    assert (found["seen/1"][1].image.height, found["seen/1"][1].image.width) == (3, 4)


def group(path, **files):
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        path.joinpath(name.replace("__", ".")).write_text(f"{value}\n")


@pytest.mark.parametrize(
    ("version", "line", "limit", "used", "kept"),
    [
        (
            1,
            "9:cpu,memory:/slurm/job_7",
            "memory__limit_in_bytes",
            "memory__usage_in_bytes",
            "total_",
        ),
        (2, "0::/slurm/job_7", "memory__max", "memory__current", ""),
    ],
)
def test_the_limits_of_all_groups_around_a_process_count(
    tmp_path, monkeypatch, version, line, limit, used, kept
):
    root, own = tmp_path / "groups", tmp_path / "own"
    own.write_text(f"3:devices:/elsewhere\n{line}\n")
    monkeypatch.setattr(devices, "_OWN_GROUPS", str(own))
    names = devices._CGROUPS[version][1:]
    monkeypatch.setattr(devices, "_CGROUPS", {version: (str(root), *names)})
    stat = {"memory__stat": f"cache 5\n{kept}inactive_file 30"}
    group(root / "slurm" / "job_7", **{limit: 1000, used: 800}, **stat)
    group(root / "slurm", **{limit: "max", used: 800}, **stat)
    group(root, **{limit: 900, used: 850}, **stat)
    assert list(devices._cgroups_left()) == [230, 80]
    assert devices.free_memory() == 80
    monkeypatch.setenv(malloc.SHARE_OF_MEMORY, "0.25")
    assert devices.free_memory() == 20


def test_what_is_not_finite_is_null(tmp_path):
    with metrics_log.MetricsLog(tmp_path, after=-1) as log:
        log(1, {"a": float("inf"), "b": 2.0, "c": float("nan")})
    assert metrics_log.read(tmp_path / "metrics.jsonl") == [
        {"step": 1, "a": None, "b": 2.0, "c": None}
    ]
