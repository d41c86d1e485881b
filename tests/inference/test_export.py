"""Exported models, in a process that has no aejax."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY
from trained_runs import model_of, write_run

from aejax.cli import main

# What its README says, as it stands there.
READER = """
import re, sys
sys.modules["aejax"] = None  # not to be found
import numpy as np

lines = re.findall("^    (.*)", open("README.txt").read(), re.M)
code = "\\n".join(lines)
given, found = np.load("given.npz"), {}
for name in given:
    names = {"audio": given[name]}
    exec(code, names)
    assert names["encoder"].platforms == ("cpu", "cuda")
    found[f"{name}_latents"], found[f"{name}_audio"] = names["latents"], names["back"]
np.savez("found.npz", **found)
"""

# As a user runs it: shape annotations that tests check know no open sizes.
EXPORT = [sys.executable, "-m", "aejax.cli", "export"]


@pytest.mark.parametrize(
    ("representation", "encoder"),
    [
        ("mel", "conv"),
        ("mdct", "lstm"),
        pytest.param("complex_spectrogram", "transformer", marks=pytest.mark.slow),
        pytest.param("waveform", "wave_conv", marks=pytest.mark.slow),
    ],
)
def test_the_same_numbers_without_aejax(tmp_path, representation, encoder):
    model = model_of(representation, encoder)
    run = write_run(tmp_path / "run", model)
    out = tmp_path / "out"
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    subprocess.run([*EXPORT, str(run), str(out)], check=True, cwd=REPOSITORY, env=environment)
    rng = np.random.default_rng(0)
    sounds = {
        name: (0.1 * rng.standard_normal((batch, samples))).astype(np.float32)
        for name, batch, samples in (("one", 1, 1), ("more", 3, 7 * model.block - 100))
    }
    np.savez(out / "given.npz", **sounds)
    subprocess.run([sys.executable, "-c", READER], check=True, cwd=out, env=environment)
    found = dict(np.load(out / "found.npz"))
    for name, audio in sounds.items():
        latents, heard = found[f"{name}_latents"], found[f"{name}_audio"]
        count = model.latent_frames(model.block * max(2, -(-audio.shape[1] // model.block)))
        assert latents.shape == (len(audio), count, 8)
        assert heard.shape == audio.shape
        if encoder in ("lstm", "transformer"):
            continue  # in windows, they do not see all that there is
        # With the silence that the README has behind it; samples as they are need none.
        samples = max((count - 1) * model.block, audio.shape[1])
        expected = model.encode(np.pad(audio, ((0, 0), (0, samples - audio.shape[1]))))
        latents = latents[:, : expected.shape[1]]
        np.testing.assert_allclose(latents, expected, atol=1e-5 * np.abs(expected).max())
        expected = model.decode(found[f"{name}_latents"])[:, : audio.shape[1]]
        # Griffin-Lim, and many layers of random snakes, make more of what rounding leaves.
        tolerance = {"mel": 1e-3, "waveform": 1e-4}.get(representation, 1e-5)
        np.testing.assert_allclose(heard, expected, atol=tolerance * np.abs(expected).max())
    assert json.loads((out / "config.json").read_text())["model"]["encoder"] == encoder
    assert f"{model.block} t" in (out / "README.txt").read_text()
    usual = (run / "config.json").stat().st_mode
    assert {path.stat().st_mode for path in out.iterdir()} == {usual}


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 1
    assert "is a folder; give another name" in capsys.readouterr().err
