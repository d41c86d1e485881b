"""The floors of the house: a package imports only from below its own."""

import ast
import subprocess
import sys

import pytest
from conftest import REPOSITORY

FLOORS = {
    "aejax.errors": 0,
    "aejax.memory": 0,
    "aejax.overlap": 0,
    "aejax.signal": 1,
    "aejax.data": 1,
    "aejax.models": 1,
    "aejax.reporting": 1,
    "aejax.config": 1,
    "aejax.bars": 1,
    "aejax.coding": 1,
    "aejax.compilation": 1,
    "aejax.launchers": 2,
    "aejax.representation": 2,
    "aejax.workdir": 2,
    "aejax.training": 3,
    "aejax.evaluation": 3,
    "aejax.prepare": 4,
    "aejax.listening": 5,
    "aejax.fit": 6,
    "aejax.latents": 5,
    "aejax.experiment": 7,
    "aejax.trained": 5,
    "aejax.tasks": 8,
    "aejax.search": 8,
    "aejax.sweep": 9,
    "aejax.main": 10,
    "aejax.cli": 10,
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
