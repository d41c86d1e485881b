"""Files are written whole or not at all, under names that are nobody's until they are."""

import re

import numpy as np
import pytest
from conftest import REPOSITORY

from aejax.data import audio_file, labels, packing, streams, table
from aejax.evaluation import audio_examples, entropy_coding
from aejax.reporting import page
from aejax.runtime import arrays, files
from aejax.training import metrics_log

SOUND = streams.Sound(100, 16_000, 1, ("WAV", "PCM_16"))
BLOCK = np.zeros((100, 1), np.float32)
STATISTICS = entropy_coding.Statistics(np.eye(2), np.zeros(2), np.ones(2), np.ones(2))


def _latents(path):
    from aejax.inference import latents

    latents.write(path, {"latents": np.zeros((3, 2), np.float32)})


def _sounds(path):
    clip = table.Clip("a", 100, 16_000, 1, 100, "test", {})
    audio_examples._write_sounds(path, [clip], [100], {"original": BLOCK[None, :, 0]}, 16_000)


def _report(path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "read_run", lambda *_, **__: None)
        patch.setattr(page, "render", lambda *_: "<html>")
        page.write(path, [path.parent], defaults={})


def _metrics(path):
    with metrics_log.MetricsLog(path.parent, -1) as log:
        log(0, {"loss/total": 1.0})


WRITERS = {
    "audio.wav": lambda path: audio_file.write(path, BLOCK, 16_000),
    "stream.wav": lambda path: streams.write(path, [BLOCK], SOUND),
    "coding.npz": lambda path: entropy_coding.save(path, model=STATISTICS),
    "arrays.npz": lambda path: arrays.save(path, {}, {"x": np.zeros(3)}),
    "table.npz": lambda path: table.save_arrays(path, {"x": np.zeros(3)}),
    "labels.csv": lambda path: labels.save(path, labels.Table(("a",), {"x.wav": ("b",)})),
    "pack.json": lambda path: packing._write_json(path, {}),
    "latents.npz": _latents,
    "report.html": _report,
    "metrics.jsonl": _metrics,
    "text.txt": lambda path: files.write_text(path, "x"),
    "sounds": _sounds,
}


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_of_anyones_is_touched_on_the_way(tmp_path, name):
    outside, folder = tmp_path / "outside", tmp_path / "out"
    outside.write_text("mine")
    folder.mkdir()
    theirs = [folder / f"{name}.part", folder / f"part.{name}", folder / f"{name}.tmp"]
    for path in theirs:
        path.symlink_to(outside)
    WRITERS[name](folder / name)
    assert (folder / name).exists()
    assert outside.read_text() == "mine"
    assert all(path.is_symlink() for path in theirs)
    assert not any(files.is_temporary(path.name) for path in folder.iterdir())


def test_only_one_module_knows_how_files_are_replaced():
    """Whoever writes takes it from `aejax.runtime.files`, so that the rules hold for all."""
    known = re.compile(r"[\"']\.?part\b|part\.\{|\.part[\"'}]|\.replace\(path\)|os\.replace")
    for path in sorted((REPOSITORY / "aejax").rglob("*.py")):
        if path != REPOSITORY / "aejax" / "runtime" / "files.py":
            assert not known.findall(path.read_text()), path
