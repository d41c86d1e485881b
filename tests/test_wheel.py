"""aejax as it is installed from a wheel: without a checkout, in any folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import REPOSITORY

from aejax import arguments, parts

# What is read to build; without what an earlier build has left.
SOURCES = ("aejax", "experiments", "pyproject.toml", "README.md", "LICENSE")
BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_sdist(sys.argv[1]))"
TINY = [
    "train.steps=2",
    "train.validate_every=2",
    "train.batch_size=8",
    "data.synthetic.clips=40",
    "data.synthetic.seconds=1.0",
    "data.excerpt_seconds=0.5",
    "representation.mel.griffin_lim_iterations=2",
    "model.conv.width=32",
    "model.conv.depth=1",
    "model.latent_dim=8",
    "evaluate.example_clips=1",
]


def test_experiments_in_a_wheel_are_experiments_still(monkeypatch, tmp_path):
    """They are inside of aejax then, but what they register is loaded by its file."""
    installed = tmp_path / "site-packages" / "aejax"
    monkeypatch.setattr(parts, "_AEJAX", installed)
    monkeypatch.setattr(parts, "_INSTALLED", installed / "experiments")
    monkeypatch.setattr(parts, "EXPERIMENTS", installed / "experiments")
    assert parts.is_of_aejax(installed / "losses" / "audio.py")
    experiment = installed / "experiments" / "own_parts.py"
    assert not parts.is_of_aejax(experiment)
    experiment.parent.mkdir(parents=True)
    experiment.write_text("")
    assert arguments._is_experiment(str(experiment))


def build(folder):
    """A wheel of the source distribution."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        path = REPOSITORY / name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, source / name)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, folder], cwd=source, stdout=subprocess.PIPE, check=True
    )
    sdist = folder / done.stdout.decode().split()[-1]
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", *offline, sdist], check=True)
    (wheel,) = folder.glob("aejax-*.whl")
    return wheel


def install(wheel, folder):
    """The programs of a new environment with the wheel, and with what is installed here."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # A line in a .pth is searched last, and the .pth files in it are not read: no checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return python.parent


@pytest.mark.slow
def test_it_trains_without_a_checkout(tmp_path, environment):
    (tmp_path / "build").mkdir()
    programs = install(build(tmp_path / "build"), tmp_path / "environment")
    environment = {key: value for key, value in environment.items() if key != "PYTHONPATH"}
    here = tmp_path / "empty"
    here.mkdir()

    def run(*words):
        return subprocess.run(
            [programs / "aejax", *words], cwd=here, env=environment, stdout=subprocess.PIPE,
            check=True, text=True,
        ).stdout  # fmt: skip

    lines = run("list").splitlines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == sorted(path.stem for path in (REPOSITORY / "experiments").glob("*.py"))
    printed = run("train", "mel_conv", *TINY)
    assert "report:  runs/mel_conv/report.html" in printed
    assert "\n  mel_conv  " in run("list").partition("runs in runs:")[2]
    config = json.loads((here / "runs" / "mel_conv" / "config.json").read_text())
    assert config["name"] == "mel_conv"
    results = json.loads((here / "runs" / "mel_conv" / "results.json").read_text())
    assert results["command"] == " ".join(["aejax train mel_conv", *TINY])
    files = subprocess.run(
        [programs / "python", "-c", "import aejax, aejax.experiments.mel_conv as x;"
         "print(aejax.__file__); print(x.__file__)"],
        cwd=here, env=environment, stdout=subprocess.PIPE, check=True, text=True,
    ).stdout  # fmt: skip
    for file in files.split():
        assert Path(file).is_relative_to(tmp_path / "environment")


@pytest.mark.parametrize(("tag", "code"), [("v{}", 0), ("v{}.1", 1), ("{}", 1)])
def test_a_release_has_the_tag_of_its_version(tag, code):
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "release.yml").read_text())
    steps = workflow["jobs"]["build"]["steps"]
    (check,) = [step for step in steps if step.get("name") == "the tag is the version"]
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"GITHUB_REF_NAME": tag.format(project["version"])}
    done = subprocess.run(
        ["bash", "-e", "-c", check["run"]], cwd=REPOSITORY, env=environment | {"PATH": programs}
    )
    assert done.returncode == code
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert workflow["jobs"]["publish"]["needs"] == "build"
