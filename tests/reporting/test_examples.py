"""What a model was used for, in the report of its run."""

import numpy as np
import pytest
from report_runs import RATE, make_run

from aejax import config as config_module
from aejax.evaluation.audio_examples import Example, write_examples
from aejax.reporting import page
from aejax.reporting.examples import read_examples
from aejax.representations import eval_mel
from aejax.runtime import arrays
from aejax.runtime.errors import UserError

RNG = np.random.default_rng(0)


def noise(seconds):
    return (0.1 * RNG.standard_normal(int(seconds * RATE))).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    path = make_run(tmp_path / "run")
    examples = [
        Example("a clip", {"use": "aejax denoise"}, {"noisy": noise(0.5), "denoised": noise(0.5)}),
        Example("<b>&", {"to": "<i>"}, {"source": noise(0.2), "as <u>": 30 * noise(0.3)}),
        Example("alike", {}, {"0%": noise(0.1), "0?": noise(0.2)}),
    ]
    write_examples(path, eval_mel(RATE), RATE, examples)
    return path


def test_examples_are_read_and_shown(run, tmp_path):
    one, other, alike = read_examples(run)
    assert [len(version.audio) for version in alike.versions] == [RATE // 10, RATE // 5]
    assert [version.label for version in one.versions] == ["noisy", "denoised"]
    assert one.labels == {"use": "aejax denoise"}
    assert len(one.versions[0].audio) == RATE // 2
    assert other.versions[1].picture.shape[0] > other.versions[0].picture.shape[0]
    levels = [np.sqrt(np.square(version.audio).mean()) for version in other.versions]
    assert 0.5 < levels[0] / levels[1] < 2
    out = tmp_path / "out.html"
    page.write(out, [run], defaults=config_module.flatten(config_module.default()))
    text = out.read_text("utf-8")
    assert "aejax denoise" in text
    assert "as &lt;u&gt;" in text
    assert "<u>" not in text
    # Written anew, they are in place of the others.
    write_examples(run, eval_mel(RATE), RATE, [Example("x", {}, {"y": noise(0.1)})])
    assert [clip.name for clip in read_examples(run)] == ["x"]
    assert len(list((run / "examples").iterdir())) == 2


def test_no_examples_are_none(tmp_path):
    assert read_examples(make_run(tmp_path / "run")) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda about, found: about["clips"][0].update(files=["../../x.wav", "b.wav"]),
        lambda about, found: about["clips"][0].update(files=["a.wav"]),
        lambda about, found: about["clips"][0].update(name=3),
        lambda about, found: about.update(sample_rate=0),
        lambda about, found: about.update(clips=7),
        lambda about, found: found.update(frames=found["frames"][:1]),
        lambda about, found: found.update(spectrograms=found["spectrograms"].astype(np.float32)),
        lambda about, found: found.pop("frames"),
    ],
)
def test_damaged_examples_are_refused(run, change):
    path = run / "examples" / "examples.npz"
    about, found = arrays.load(path)
    found = dict(found)
    change(about, found)
    arrays.save(path, about, found)
    with pytest.raises(UserError, match="examples"):
        read_examples(run)
