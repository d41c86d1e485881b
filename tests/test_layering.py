"""The floors of the house: a package imports only from below its own."""

import ast
import subprocess
import sys

import pytest
from conftest import REPOSITORY

FLOORS = {
    "aejax.errors": 0,
    "aejax.memory": 0,
    "aejax.runtime": 1,
    "aejax.overlap": 0,
    "aejax.signal": 2,
    "aejax.data": 2,
    "aejax.models": 2,
    "aejax.reporting": 2,
    "aejax.config": 2,
    "aejax.bars": 2,
    "aejax.coding": 2,
    "aejax.limiter": 2,
    "aejax.compilation": 2,
    "aejax.launchers": 3,
    "aejax.representation": 3,
    "aejax.workdir": 3,
    "aejax.training": 4,
    "aejax.evaluation": 4,
    "aejax.prepare": 5,
    "aejax.listening": 6,
    "aejax.fit": 7,
    "aejax.latents": 6,
    "aejax.experiment": 8,
    "aejax.silence": 0,
    "aejax.windows": 3,
    "aejax.audio_arguments": 3,
    "aejax.trained": 6,
    "aejax.tasks": 9,
    "aejax.search": 9,
    "aejax.sweep": 10,
    "aejax.main": 11,
    "aejax.cli": 11,
    "aejax.__main__": 12,
}
MODULES = sorted((REPOSITORY / "aejax").rglob("*.py"))


def room(module):
    return ".".join(module.split(".")[:2])


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module == "aejax":
                yield from (f"aejax.{alias.name}" for alias in node.names)
            else:
                yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_only_from_floors_below(path):
    name = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    if name == "aejax":
        return
    here = room(name)
    for other in imported(path):
        if other.startswith("aejax.") and room(other) != here:
            assert FLOORS[room(other)] < FLOORS[here], f"{name} imports {other}"


@pytest.mark.parametrize("package", ["data", "reporting"])
def test_the_host_side_knows_no_jax(package):
    for path in (REPOSITORY / "aejax" / package).rglob("*.py"):
        assert not [name for name in imported(path) if name.split(".")[0] in ("jax", "flax")]


def test_signal_needs_only_jax_and_numpy():
    for path in (REPOSITORY / "aejax" / "signal").rglob("*.py"):
        outside = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)
        assert outside <= {"jax", "jaxtyping", "numpy", "aejax"}


def test_the_numerical_core_does_without_the_rest():
    blocked = ["grain", "soundfile", "soxr", "jinja2", "tensorboardX", "tqdm"]
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import aejax.signal, aejax.models.autoencoder, aejax.training.checkpoint\n"
        "import aejax.training.loop, aejax.training.step, aejax.training.pca_fit"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_imports_nnx():
    for path in MODULES:
        assert "nnx" not in path.read_text()
