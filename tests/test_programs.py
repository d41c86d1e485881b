"""What the programs of experiments hold, lowered or compiled for a TPU; nothing runs."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys

import jax
import pytest
from conftest import REPOSITORY, most_slow

NAMES = [path.stem for path in sorted((REPOSITORY / "experiments").glob("*_*.py"))]


@pytest.fixture
def programs(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("programs")


def lowered(programs, name, *keys):
    """The text of a step lowered for a TPU, with the names of its layers."""
    with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm promotes on its own
        prepared = programs.experiment(name, batch_size=4, devices=jax.devices()[:1], keys=keys)
        program = programs.traced(prepared).lower(lowering_platforms=("tpu",))
    return program.as_text(debug_info=True)


@pytest.mark.parametrize("name", most_slow(NAMES, "mel_rvq"))
def test_a_step_for_a_tpu_has_no_single_reads(programs, name):
    text = lowered(programs, name)
    assert "stablehlo.dot_general" in text
    assert re.findall(r"stablehlo\.(?:dynamic_)?(?:gather|scatter)\b", text) == []


INSTRUCTION = re.compile(
    r"stablehlo\.(dot_general|convolution|reduce|fft)\b.* : (.*) loc\(#(loc\d+)\)"
)


@pytest.mark.parametrize("name", most_slow(["mel_conv", "wave_conv", "mel_lstm"], "mel_conv"))
def test_bfloat16_reaches_the_products_of_networks_alone(programs, name):
    text = lowered(programs, name, "train.dtype=bfloat16")
    assert re.findall(r"stablehlo\.(?:dynamic_)?(?:gather|scatter)\b", text) == []
    where = dict(re.findall(r"^#(loc\d+) = loc\((.*)\)$", text, re.MULTILINE))
    products, sums, transforms = {}, set(), set()
    for kind, types, line in INSTRUCTION.findall(text):
        inputs = set(re.findall(r"x(f32|bf16)>", types.partition("->")[0]))
        if kind == "reduce":
            sums |= inputs
        elif "/network/" in where[line]:
            products.setdefault(kind, set()).update(inputs)
        else:
            transforms |= inputs
    assert products["dot_general"] == {"bf16"}
    assert products.get("convolution", {"bf16"}) == {"bf16"}
    assert transforms == {"f32"}
    assert "bf16" not in sums
