"""A run's directory may hold anything: it gets one line, in bounded time and memory."""

import json
import os
import time
import tracemalloc
import zipfile

import numpy as np
import pytest
from report_runs import make_run, write_lines

from aejax.reporting import run_files
from aejax.runtime import arrays
from aejax.runtime.errors import UserError


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def refused(path):
    with pytest.raises(UserError) as caught:
        run_files.read_run(path, most_clips=5)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_is_read(run):
    found = run_files.read_run(run, most_clips=1)
    assert found.name == "model"
    assert found.config["model.latent_dim"] == 32
    assert [row["name"] for row in found.rows][:2] == ["representation only", "pca"]
    assert found.tested == 2
    assert [line["name"] for line in found.worst] == ["one.wav"]
    assert found.curves["loss/total"][0] == (0, 1.0)
    assert found.extras.spectrograms.dtype == np.uint8
    assert len(found.extras.snippets) == 8


def test_long_curves_are_thinned_out_to_the_end(run):
    write_lines(run / "metrics.jsonl", [{"step": s, "loss/total": 1.0} for s in range(20_000)])
    points = run_files.read_run(run, most_clips=5).curves["loss/total"]
    assert 150 < len(points) <= 400
    assert points[0][0] == 0
    assert points[-1][0] > 19_800
    assert len({b - a for (a, _), (b, _) in zip(points, points[1:], strict=False)}) == 1


def test_a_line_cut_short_by_a_kill_is_left_out(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 60, "loss')
    assert run_files.read_run(run, most_clips=5).curves["loss/total"][-1][0] == 45


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("results.json", "{", "is damaged"),
        ("results.json", "[]", "no JSON object"),
        ("results.json", '{"rows": []}', "no rows"),
        ("results.json", '{"rows": [{"name": "x"}]}', "no rows"),
        ("results.json", '{"rows": ' + "[" * 100_000, "is damaged"),
        ("results.json", '{"rows": NaN}', "NaN is no number"),
        ("results.json", '{"rows": 1e999}', "is not finite"),
        ("results.json", '{"rows": ' + "9" * 5000 + "}", "is damaged"),
        ("config.json", '{"name": "../../x"}', "no name of a run"),
        ("config.json", '{"name": 3}', "no name of a run"),
        ("config.json", "\xff", "is damaged"),
        ("metrics.jsonl", '{"loss": 1}\n', "without a step"),
        ("metrics.jsonl", '{"step": true, "x": NaN}\n', "NaN"),
        ("metrics.jsonl", '{"step": 1, "x": "' + "y" * 70_000 + '"}\n', "line 1 is longer"),
        ("metrics.jsonl", "x\n{}\n", "line 1 is damaged"),
        ("clips.jsonl", '{"name": 3}\n', "no clip's errors"),
        ("corpus.json", "3", "no JSON object"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_damaged_text_gets_one_line(run, name, text, says):
    (run / name).write_bytes(text.encode("latin-1"))
    message = refused(run)
    assert says in message
    assert name in message


def test_a_long_line_takes_no_memory(run):
    with (run / "metrics.jsonl").open("wb") as file:
        file.truncate(900 << 20)
    tracemalloc.start()
    began = time.monotonic()
    assert "line 1 is longer" in refused(run)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
    assert time.monotonic() - began < 5
    with (run / "metrics.jsonl").open("wb") as file:
        file.truncate(2 << 30)
    assert "is larger than" in refused(run)


@pytest.mark.parametrize("name", ["results.json", "config.json", "metrics.jsonl", "report.npz"])
def test_links_and_pipes_are_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "elsewhere")
    (run / name).symlink_to(tmp_path / "elsewhere")
    assert name in refused(run)
    (run / name).unlink()
    if name != "metrics.jsonl":  # which a run may lack
        os.mkfifo(run / name)
        assert "not a regular file" in refused(run)


def rewrite(run, **changes):
    about, found = arrays.load(run / "report.npz")
    for key, value in changes.items():
        if key in about:
            about[key] = value
        else:
            found[key.replace("__", ".")] = value
    arrays.save(run / "report.npz", about, found)


@pytest.mark.parametrize(
    "changes",
    [
        {"latent_means": np.full((8, 6), np.nan, np.float32)},
        {"latent_means": np.zeros((7, 6), np.float32)},
        {"latent_means": np.zeros((8, 6), np.int64)},
        {"latent_means": np.zeros((8, 100_000), np.float32)},
        {"spectrograms": np.zeros((2, 4, 30, 80), np.float32)},
        {"spectrograms": np.zeros((2, 3, 30, 80), np.uint8)},
        {"spectrograms": np.zeros(0, np.uint8)},
        {"top_db": np.asarray([np.inf, 0], np.float32)},
        {"frames": np.asarray([10**9, 3])},
        {"snippets__ends": np.asarray([5, 3])},
        {"snippets__block": np.zeros(10, np.uint8)},
        {"latent_variance": np.zeros((2, 2), np.float32)},
        {"sample_rate": "16000"},
        {"sample_rate": 10**12},
        {"frame_rate": 0},
        {"floor_db": None},
        {"versions": None},
        {"versions": ["original"]},
        {"clips": [{"name": "x", "labels": {}, "files": ["../../../etc/passwd"] * 4}] * 2},
        {"clips": [{"name": "x", "labels": {}, "files": ["a.wav"]}] * 2},
        {"clips": [{"name": "x", "labels": {"a": [1]}, "files": ["a.wav"] * 4}] * 2},
        {"clips": 3},
        {"map_clips": [{"name": 1, "labels": {}}] * 8},
    ],
    ids=str,
)
def test_arrays_of_another_shape_or_kind_get_one_line(run, changes):
    rewrite(run, **changes)
    assert "report.npz is damaged" in refused(run)


def test_zip_bombs_objects_and_lies_are_refused(run):
    path = run / "report.npz"
    np.savez_compressed(path, about=np.zeros(10 << 20, np.uint8))
    assert "compressed" in refused(run)
    np.savez(path, about=np.asarray([{"a": 1}], dtype=object))
    assert "does not write" in refused(run)
    np.savez(path, about=np.asarray(["text"]))
    assert "does not write" in refused(run)
    with zipfile.ZipFile(path, "w") as members:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999,), }"
        header += b" " * (118 - len(header) - 1) + b"\n"
        members.writestr("about.npy", b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header)
    assert "cannot reshape" in refused(run)
    with zipfile.ZipFile(path, "w") as members:
        for number in range(100):
            members.writestr(f"{number}.npy", b"")
    assert "more than 32 arrays" in refused(run)
    path.write_bytes(b"PK\x03\x04 no zip")
    assert "report.npz is damaged" in refused(run)
    with path.open("wb") as file:
        file.truncate(600 << 20)
    assert "is larger than 512 MiB" in refused(run)


def test_every_byte_of_the_arrays_may_be_wrong(run):
    """Whatever is flipped, it is read or refused in one line."""
    path = run / "report.npz"
    whole = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for place in [*range(0, 300, 4), *rng.integers(0, len(whole), 30).tolist(), *range(-400, 0, 5)]:
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        try:
            run_files.read_run(run, most_clips=1)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def write_sweep(folder, members):
    folder.mkdir(exist_ok=True)
    (folder / "sweep.json").write_text(json.dumps({"members": members, "command": "x"}))


def test_a_sweep_is_its_finished_members_each_once(tmp_path):
    for name in ("a", "b", "c"):
        make_run(tmp_path / "sweep" / name)
    (tmp_path / "sweep" / "b" / "results.json").unlink()
    write_sweep(tmp_path / "sweep", [{"folder": name} for name in ("a", "b", "c", "gone")])
    found, unfinished = run_files.find_runs([tmp_path / "sweep", tmp_path / "sweep" / "a"])
    assert [path.name for path in found] == ["a", "c"]
    assert unfinished == ["b", "gone"]
    with pytest.raises(UserError, match="is not finished"):
        run_files.find_runs([tmp_path / "sweep" / "b"])
    with pytest.raises(UserError, match="neither a run nor a sweep"):
        run_files.find_runs([tmp_path])


@pytest.mark.parametrize("folder", ["..", "../other", "/etc", ".", "", 3, None, "a\0b", "link"])
def test_members_stay_inside_of_their_sweep(tmp_path, folder):
    make_run(tmp_path / "other")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "link").symlink_to(tmp_path / "other")
    write_sweep(sweep, [{"folder": folder}])
    with pytest.raises(UserError, match="has a member"):
        run_files.find_runs([sweep])


@pytest.mark.parametrize("members", [None, {}, 3, [{"folder": "a"}] * 10_001])
def test_a_sweep_without_members_is_none(tmp_path, members):
    write_sweep(tmp_path / "sweep", members)
    with pytest.raises(UserError, match="has no list"):
        run_files.find_runs([tmp_path / "sweep"])
