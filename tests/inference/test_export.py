"""Exported models, in a process that has no aejax."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml
from report_runs import make_run
from trained_runs import model_of, small_model, write_run

from aejax.cli import main
from aejax.inference import model_card
from aejax.runtime.errors import UserError

# What its README says, as it stands there.
READER = """
import re, sys
sys.modules["aejax"] = None  # not to be found
import numpy as np

(code,) = re.findall("^```python\\n(.*?)^```", open("README.md").read(), re.M | re.S)
given, found = np.load("given.npz"), {}
for name in given:
    names = {"audio": given[name]}
    exec(code, names)
    assert names["encoder"].platforms == ("cpu", "cuda")
    found[f"{name}_latents"], found[f"{name}_audio"] = names["latents"], names["back"]
np.savez("found.npz", **found)
"""


@pytest.mark.parametrize(
    ("representation", "encoder"),
    [
        ("mel", "conv"),
        ("mdct", "lstm"),
        pytest.param("complex_spectrogram", "transformer", marks=pytest.mark.slow),
        pytest.param("waveform", "wave_conv", marks=pytest.mark.slow),
    ],
)
# Shape annotations that tests check know no open sizes.
@pytest.mark.usefixtures("unchecked_types", "same_process")
def test_the_same_numbers_without_aejax(tmp_path, representation, encoder):
    model = model_of(representation, encoder)
    run = write_run(tmp_path / "run", model)
    out = tmp_path / "out"
    assert main(["export", str(run), str(out)]) == 0
    rng = np.random.default_rng(0)
    sounds = {
        name: (0.1 * rng.standard_normal((batch, samples))).astype(np.float32)
        for name, batch, samples in (("one", 1, 1), ("more", 3, 7 * model.block - 100))
    }
    np.savez(out / "given.npz", **sounds)
    subprocess.run([sys.executable, "-c", READER], check=True, cwd=out)
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
    assert f"{model.block} t" in (out / "README.md").read_text()
    usual = (run / "config.json").stat().st_mode
    assert {path.stat().st_mode for path in out.iterdir()} == {usual}


def test_nothing_is_written_over(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 1
    assert "is a folder; give another name" in capsys.readouterr().err


FACTS = {
    "least": 2,
    "block": 4,
    "extra": 1,
    "dim": 4,
    "rate": 16000,
    "channels": "",
    "platforms": "",
}


def card_of(model, run):
    """The metadata and the text of a card."""
    _, metadata, text = model_card.model_card(model, run, "cc-by-4.0", FACTS).split("---\n", 2)
    return yaml.safe_load(metadata), text


def test_the_card_has_what_model_hubs_read(tmp_path):
    model = small_model(**{"data.path": "/home/me/my | *songs*"})
    run = make_run(tmp_path / "run", {"name": model.config.name})
    metadata, text = card_of(model, run)
    assert metadata["license"] == "cc-by-4.0"
    assert metadata["library_name"] == "aejax"
    assert metadata["pipeline_tag"] == "audio-to-audio"
    assert {"audio", "complex_spectrogram", "mlp"} <= set(metadata["tags"])
    (index,) = metadata["model-index"]
    (result,) = index["results"]
    assert result["dataset"]["name"] == "my | *songs*"
    measured = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert list(measured) == metadata["metrics"]
    rows = json.loads((run / "results.json").read_text())["rows"]
    row = next(row for row in rows if row["name"] == model.config.name)
    assert measured == {key: row[key] for key in measured}
    assert measured["gain_over_pca_db"] == 0.5
    # Read by people: data, rate, results.
    assert model.summary in text
    assert "my \\| \\*songs\\*, read at 16000 Hz:" in text
    assert "| pca | 250 |" in text
    assert "/home/me" not in text + yaml.safe_dump(metadata)


def test_the_card_has_intervals_where_there_are_some():
    model = small_model()
    row = {"name": model.config.name, "feature_rmse": 3.0, "gain_over_pca_db": 2.5}
    row["interval_95"] = {"gain_over_pca_db": [2.25, 2.75]}
    results = {"rows": [row], "units": {"feature_rmse": "dB"}, "test_clips": 40}
    text = model_card._results(model, results)
    assert "On 40 test clips" in text
    assert f"| {row['name']} | 3 | +2.50 (+2.25 to +2.75) |" in text
    metadata = yaml.safe_load(model_card._metadata(model, results, "unknown"))
    rmse, gain = metadata["model-index"][0]["results"][0]["metrics"]
    assert gain["interval_95"] == [2.25, 2.75]
    assert "interval_95" not in rmse
    del row["interval_95"]
    assert "bootstrap" in text
    assert "bootstrap" not in model_card._results(model, results)


def test_a_run_that_was_not_evaluated_has_a_card(tmp_path):
    model = small_model()
    metadata, text = card_of(model, write_run(tmp_path / "run", model))
    assert "model-index" not in metadata
    assert "the run was not evaluated" in text


@pytest.mark.parametrize("splits", [None, {"train": 3}, {"train": {"clips": "x", "seconds": 1}}])
def test_damaged_splits_are_named(tmp_path, splits):
    run = make_run(tmp_path / "run")
    (run / "corpus.json").write_text(json.dumps({"splits": splits}))
    with pytest.raises(UserError, match=r"corpus.json is damaged \(no splits\)"):
        card_of(small_model(), run)


def test_a_licence_is_a_name(tmp_path, capsys):
    run = write_run(tmp_path / "run", small_model())
    assert main(["export", str(run), str(tmp_path / "out"), "--license=CC BY"]) == 1
    assert "error: --license=CC BY must be a name" in capsys.readouterr().err
