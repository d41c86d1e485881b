"""An experiment file of anyone's, with parts of its own, does all that aejax's own do."""

import json
import shutil
import subprocess
import sys

import pytest
import soundfile
from conftest import REPOSITORY

FILE = "mine.py"
SMALL = [
    "--config.data.synthetic.clips=40",
    "--config.data.synthetic.seconds=1.0",
    "--config.data.excerpt_seconds=0.5",
    "--config.train.batch_size=8",
    "--config.train.steps=6",
    "--config.train.validate_every=3",
    "--config.model.latent_dim=8",
    "--config.model.separable.width=16",
    "--config.evaluate.example_clips=2",
]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with nothing of aejax in it but a copy of the example."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(REPOSITORY / "experiments" / "own_parts.py", folder / FILE)
    return folder


@pytest.fixture(scope="module")
def call(elsewhere, environment):
    def call_(*arguments, ok=True):
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode == 0) == ok, done.stderr
        return done.stdout if ok else done.stderr

    return call_


@pytest.fixture(scope="module")
def run(elsewhere, call):
    call("aejax.main", f"--config={FILE}", "--workdir=run", *SMALL)
    return elsewhere / "run"


def test_it_is_short_and_trains(run):
    assert len((run.parent / FILE).read_text().splitlines()) < 140
    rows = json.loads((run / "results.json").read_text())["rows"]
    assert [row["name"] for row in rows][-1] == "own_parts"
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["separable"] == {"width": 16, "depth": 2}
    # It begins at PCA, although its network cannot begin at zero by itself.
    first, *_ = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert first["step"] == 0
    assert first["validation/feature_rmse"] == pytest.approx(
        first["validation/pca_feature_rmse"], rel=0.05
    )


WRONG = """import flax.linen as nn
from aejax import default, encoders

@encoders.register("{name}")
class Net(nn.Module):
    out: int

    @nn.compact
    def __call__({arguments}):
        return nn.Dense({channels})(x)

def get_config():
    config = default()
    config.model.encoder = "{name}"
    return config
"""


@pytest.mark.parametrize(
    ("name", "arguments", "channels", "expected"),
    [
        ("conv", "self, x, *, train", "self.out", "line 4: ValueError: model.conv is taken by"),
        ("net", "self, x", "self.out", "must have __call__(self, x, *, train)"),
        ("net", "self, x, *, train", "5", "here [1, 2, 32] for an input of [1, 2, 640], not [1, 2"),
    ],
)
def test_a_wrong_encoder_is_one_line_before_anything_is_written(
    name, arguments, channels, expected, tmp_path, call
):
    file, run = tmp_path / "wrong.py", tmp_path / "run"
    file.write_text(WRONG.format(name=name, arguments=arguments, channels=channels))
    said = call("aejax.main", f"--config={file}", f"--workdir={run}", *SMALL[:3], ok=False)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert expected in said
    assert not run.exists()


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped(run, call, tmp_path):
    whole = (run / "metrics.jsonl").read_text()
    before = json.loads((run / "results.json").read_text())
    shutil.rmtree(run / "checkpoints" / "6")
    (run / "results.json").unlink()
    assert "resuming from step 3" in call("aejax.main", f"--config={FILE}", "--workdir=run", *SMALL)
    assert json.loads((run / "results.json").read_text())["rows"] == before["rows"]

    def curve(text):
        return [
            {name: x for name, x in json.loads(line).items() if not name.startswith("time/")}
            for line in text.splitlines()
        ]

    assert curve((run / "metrics.jsonl").read_text()) == curve(whole)


def test_loading_executes_nothing_and_names_the_file(run, call):
    sound = next((run / "audio").glob("1_*original.wav"))
    command = ["reconstruct", "run", str(sound), "back.wav"]
    said = call("aejax.cli", *command, ok=False)
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert str(run.parent / FILE) in said
    assert "--parts=FILE" in said
    call("aejax.cli", f"--parts={FILE}", *command)
    assert soundfile.info(run.parent / "back.wav").frames == soundfile.info(sound).frames


@pytest.mark.slow
def test_it_is_reported_exported_and_described(run, call):
    call("aejax.cli", f"--parts={FILE}", "report", "run", "--out=page.html")
    assert "own_parts" in (run.parent / "page.html").read_text()
    call("aejax.cli", f"--parts={FILE}", "export", "run", "exported")
    assert list((run.parent / "exported").iterdir())
    assert "separable" in call("aejax.cli", f"--parts={FILE}", "parts")
    about = call("aejax.cli", f"--parts={FILE}", "parts", "separable")
    assert "config.model.separable.width=128" in about
    assert "channels inside; at least 1" in about


def test_keys_of_parts_of_ones_own_are_checked(call):
    for option, says in (
        ("--config.model.separable.width=0", "must be at least 1"),
        ("--config.model.conv.width=8", "has no effect with model.encoder=separable"),
    ):
        said = call("aejax.main", f"--config={FILE}", "--workdir=no", option, ok=False)
        assert said.count("\n") == 1
        assert says in said


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--launcher=ray"]])
def test_it_is_swept(call, elsewhere, options):
    name = f"swept{len(options)}{options[-1:]}".replace("'", "").replace("=", "_")
    sweep = "--sweep=model.latent_dim=4,8"
    said = call("aejax.main", f"--config={FILE}", sweep, f"--workdir={name}", *SMALL, *options)
    for latents in (4, 8):
        assert (elsewhere / name / f"latent_dim={latents}" / "results.json").exists()
    if not options:
        assert "one population" in said
