"""The floors of the house: a package imports only from below its own."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest
from conftest import REPOSITORY

FLOORS = {
    "aejax.runtime": 1,
    "aejax.signal": 1,
    "aejax.launchers": 2,
    "aejax.parts": 2,
    "aejax.representations": 3,
    "aejax.models": 3,
    "aejax.losses": 3,
    "aejax.loggers": 3,
    "aejax.augmentations": 3,
    "aejax.optimizers": 3,
    "aejax.data": 3,
    "aejax.reporting": 3,
    "aejax.sections": 4,
    "aejax.objective": 4,
    "aejax.config": 5,
    "aejax.workdir": 6,
    "aejax.corpora": 7,
    "aejax.prepare": 8,
    "aejax.evaluation": 9,
    "aejax.training": 10,
    "aejax.results": 11,
    "aejax.experiment": 12,
    "aejax.sweeps": 13,
    "aejax.inference": 14,
    "aejax.arguments": 14,
    "aejax.commands": 16,
    "aejax.main": 15,
    "aejax.cli": 17,
    "aejax.__main__": 18,
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
        "import aejax.signal, aejax.representations, aejax.models.autoencoder, aejax.losses\n"
        "import aejax.augmentations, aejax.objective, aejax.config, aejax.training.checkpoint\n"
        "import aejax.training.step, aejax.training.validation, aejax.training.pca_fit"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_nothing_imports_nnx():
    for path in MODULES:
        assert "nnx" not in path.read_text()


def test_a_single_run_knows_no_population():
    """What is many is built above what is one."""
    script = "import sys, aejax.experiment; print([m for m in sys.modules if 'aejax.sweeps' in m])"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


PAGE = [
    ("experiment.py", "run", 60),
    ("training/loop.py", "run_steps", 80),
    ("training/step.py", "train_step", 60),
]


@pytest.mark.parametrize(("path", "name", "most"), PAGE)
def test_the_page_the_loop_and_the_step_are_short(path, name, most):
    tree = ast.parse((REPOSITORY / "aejax" / path).read_text())
    (function,) = (
        node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name
    )
    assert function.end_lineno - function.lineno < most


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_no_file_is_longer_than_a_reader_will_bear(path):
    lines = len(path.read_text().splitlines())
    assert lines <= (99 if path.name in ("main.py", "cli.py") else 400)


def test_every_room_is_a_package_that_is_installed():
    rooms = {path.parent for path in MODULES}
    assert not [room for room in rooms if not (room / "__init__.py").exists()]
    packages = {".".join(room.relative_to(REPOSITORY).parts) for room in rooms}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    assert set(project["tool"]["setuptools"]["packages"]) == packages | {"aejax.experiments"}
