"""The documentation: its pages are built without a warning, and say what the code says."""

import dataclasses
import html
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

import aejax
from aejax import augmentations, cli, parts, prepare, representations, signal
from aejax.config import default as default_config
from aejax.config import keys as config_keys
from aejax.data.preflight import Preflight
from aejax.data.scan import FACTS
from aejax.evaluation.evaluate import Row
from aejax.models import autoencoder

DOCS = REPOSITORY / "docs"
MISSING = [name for name in ("furo", "myst_nb", "sphinx") if not importlib.util.find_spec(name)]


def test_the_picture_of_the_transforms(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    monkeypatch.setattr("sys.argv", ["transforms.py", str(path)])
    runpy.run_path(str(DOCS / "transforms.py"), run_name="__main__")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_every_function_of_signal_is_on_its_page():
    named = re.findall(r"autofunction:: (\w+)", (DOCS / "reference" / "signal.md").read_text())
    assert sorted(named) == sorted(signal.__all__)


def test_the_shapes_of_a_step():
    """Those of `docs/how-it-works.md`, where they are of the default config."""
    page = (DOCS / "how-it-works.md").read_text()
    default = default_config()
    representation = representations.from_config(default)
    blocks = prepare.excerpt_blocks(default, representation)
    frames = blocks * default.model.downsampling
    samples = representation.samples(frames)
    span = augmentations.from_config(default, samples).span(samples)
    batch, latents = default.train.batch_size, default.model.latent_dim
    bins = representation.bins
    block = default.model.downsampling * bins
    rate = representation.frame_rate / default.model.downsampling
    model = autoencoder.from_config(default.model, bins)
    for text in (
        f"audio [{batch}, {span}]",
        f"audio [{batch}, {samples}]",
        f"[{batch}, {frames}, {bins}]",
        f"[{batch}, {blocks}, {latents}]",
        f"W is {block} x {latents}",
        f"V is {latents} x {block}",
        f"{rate:g} latent frames a second: {rate * latents:g} latent floats/s",
        f"{model.decoder.receptive_field[0]} on either side here",
    ):
        assert text in page


def _names(page):
    return set(re.findall(r"`([^`]+)`", page))


def test_every_field_of_the_files_of_a_run_is_named():
    names = _names((DOCS / "reference" / "files.md").read_text())
    for record in (Row, Preflight):
        assert {field.name for field in dataclasses.fields(record)} <= names
    assert set(FACTS.names) <= names


@pytest.mark.slow
def test_every_file_of_a_run_is_named(tmp_path, small_config):
    small_config.train.ema_decay = 0.9
    small_config.model.speaker_label = "family"
    run = aejax.run(small_config, tmp_path / "run", profile=1).path
    page = (DOCS / "reference" / "files.md").read_text()
    names = _names(page)
    files = {path.name + "/" * path.is_dir() for path in run.iterdir()}
    files = {re.sub(r"tfevents\..*", "tfevents.*", name) for name in files}
    assert files <= names
    assert set(json.loads((run / "results.json").read_text())) <= names
    assert set(json.loads((run / "clips.jsonl").read_text().splitlines()[0])) <= names
    scalars = {name for x in (run / "metrics.jsonl").open() for name in json.loads(x)}
    scalars = {re.sub(r"loss/(?!total).+", "loss/NAME", name) for name in scalars}
    assert {name for name in scalars if not name.startswith("validation_ema/")} <= names
    for path in run.glob("*.npz"):
        with np.load(path) as arrays:
            found = {re.sub(r"^(pca|model)\.", "", name) for name in arrays}
        assert found - {"about"} <= names, path.name


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The text of every page, of ``AEJAX_BUILT_DOCS`` or built without executing notebooks."""
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} not installed: pip install -e '.[docs]'")
    if "AEJAX_BUILT_DOCS" in os.environ:
        out = Path(os.environ["AEJAX_BUILT_DOCS"])
    else:
        out = tmp_path_factory.mktemp("docs")
        command = [sys.executable, "-m", "sphinx", "-W", "-q", "-D", "nb_execution_mode=off"]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run([*command, str(DOCS), str(out)], check=True, env=environment)
    return {
        path.relative_to(out).as_posix(): path.read_text()
        for path in out.rglob("*.html")
        if "_static" not in path.parts
    }


def _text(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page))


@pytest.mark.slow
def test_every_config_key_is_documented(pages):
    page = pages["reference/config.html"]
    for full, default, key in config_keys():
        anchor = re.sub(r"[^a-z0-9]+", "-", full)
        row = re.search(rf'<tr[^>]*>(?:(?!</tr>).)*id="{anchor}".*?</tr>', page, re.S)
        assert row, full
        for said in (repr(default), key.rule.description, key.meaning):
            assert said in _text(row[0]), full


@pytest.mark.slow
def test_every_part_is_documented(pages):
    page = pages["reference/parts.html"]
    for registry in parts.REGISTRIES:
        for name, part in registry.items():
            assert f'id="{registry.kind}-{name.replace("_", "-")}"' in page
            assert f"{part.__module__}.{part.__qualname__}" in _text(page)


@pytest.mark.slow
def test_every_command_is_documented(pages):
    text = _text(pages["reference/commands.html"])
    for name in cli._parser()[1]:
        assert f"usage: aejax {name} " in text
    assert "--search_space" in text


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(pages):
    loaded = r'<(?:script|img|iframe|source)[^>]+src="https?:|<link[^>]+href="https?:'
    assert len(pages) > 8
    assert {name: re.findall(loaded, page) for name, page in pages.items()} == {
        name: [] for name in pages
    }
