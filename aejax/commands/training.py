"""``aejax train`` and ``aejax list``: experiments by name, and the runs that came of them."""

import argparse
import ast
import shlex
from pathlib import Path
from typing import Any

from aejax.parts import EXPERIMENTS
from aejax.reporting import run_files
from aejax.runtime import files
from aejax.runtime.errors import UserError, printable


def add(commands: Any) -> dict[str, Any]:
    """Adds the parsers; returns the functions of the commands, by name."""
    about = "train an experiment, as python -m aejax.main does"
    parser = commands.add_parser("train", help=about, description=about)
    parser.add_argument(
        "experiment", metavar="EXPERIMENT", help="a file, or the name of one of `aejax list`"
    )
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="[KEY=VALUE ...] [--FLAG ...]",
        help="config keys, such as train.steps=500, and flags of aejax.main, such as --workdir=DIR",
    )
    about = "list the experiments of aejax, and finished runs"
    lister = commands.add_parser("list", help=about, description=about)
    lister.add_argument(
        "folder",
        nargs="?",
        type=files.expand,
        default=Path("runs"),
        metavar="DIR",
        help="folder of runs (default: runs)",
    )
    return {"train": _train, "list": _list}


def _train(options: argparse.Namespace) -> None:
    from aejax import main  # other commands start at once, without JAX

    flags = [word if word.startswith("-") else f"--config.{word}" for word in options.arguments]
    parts = [f"--parts={path}" for path in options.parts or ()]
    words = ["aejax", *parts, "train", options.experiment, *options.arguments]
    arguments = ["aejax train", f"--config={experiment_file(options.experiment)}", *flags]
    main.run(arguments, command=shlex.join(words))


def experiment_file(name: str) -> str:
    """The path of an experiment: ``name`` itself, or aejax's own experiment of that name.

    Raises:
      UserError: there is neither.
    """
    path = files.expand(name.partition(":")[0])
    if path.is_file():
        return name
    own = EXPERIMENTS / f"{name}.py"
    if not own.is_file():
        raise UserError(f"no experiment {printable(name)}: give a file, or a name of `aejax list`")
    return str(own)


def _list(options: argparse.Namespace) -> None:
    experiments = sorted(EXPERIMENTS.glob("*.py"))
    print("experiments:")
    width = max((len(path.stem) for path in experiments), default=0)
    for path in experiments:
        about = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        print(f"  {path.stem:{width}}  {about}")
    if not options.folder.is_dir() and options.folder != Path("runs"):
        raise UserError(f"{printable(str(options.folder))} is not a folder of runs")
    runs = sorted(path.parent for path in options.folder.glob("*/results.json"))
    if runs:
        print(f"runs in {printable(str(options.folder))}:")
        width = max(len(printable(path.name)) for path in runs)
        for path in runs:
            print(f"  {printable(path.name):{width}}  {headline(path)}")


def headline(run: Path) -> str:
    """A run's gain over PCA at its latent rate, in a few words."""
    try:
        row = _row(run)
    except UserError as error:
        return str(error)
    rate, gain = row.get("latent_floats_per_second"), row.get("gain_over_pca_db")
    if rate is None or gain is None:
        return f"feature RMSE {row['feature_rmse']:.4g}"
    return f"{gain:+.2f} dB over PCA at {rate:g} latent floats/s"


def _row(run: Path) -> dict[str, Any]:
    """The row of the model itself."""
    results = run_files.read_results(run)
    name = files.read_object(run / "config.json", 1 << 20).get("name")
    return next((row for row in results["rows"] if row["name"] == name), results["rows"][-1])
