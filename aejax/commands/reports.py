"""``aejax report``: an HTML report of runs."""

import argparse
from typing import Any

from aejax.commands.models import FORCE
from aejax.inference import paths
from aejax.reporting import page, run_files
from aejax.runtime import files, words
from aejax.runtime.errors import UserError, printable


def add(commands: Any) -> dict[str, Any]:
    """Adds the parser; returns the function of the command, by name."""
    about = "write one HTML page of finished runs: curves, tables and audio"
    reporting = commands.add_parser("report", help=about, description=about)
    reporting.add_argument(
        "runs",
        type=files.expand,
        nargs="+",
        metavar="RUN",
        help="directory of a run, or of a sweep",
    )
    about = "file to write (default for a single RUN: report.html in its directory)"
    reporting.add_argument("--out", type=files.expand, metavar="FILE", help=about)
    reporting.add_argument("--force", action="store_true", help=FORCE)
    return {"report": _report}


def _report(options: argparse.Namespace) -> None:
    from aejax import config as config_module  # other commands start at once, without JAX

    if options.out is None and len(options.runs) > 1:
        raise UserError("give --out=FILE for a report of several runs")
    runs, unfinished = run_files.find_runs(options.runs)
    out = options.out or options.runs[0] / run_files.REPORT
    # A run's own report is replaced without --force.
    own = options.out is None and out.is_file() and not out.is_symlink() and page.is_report(out)
    paths.check_free([], out, force=options.force or own)
    if unfinished:
        print(f"unfinished, left out: {', '.join(map(printable, unfinished))}")
    defaults = config_module.flatten(config_module.default())
    page.write(out, runs, defaults=defaults, unfinished=unfinished)
    print(f"report of {words.count(len(runs), 'run')}: {printable(str(out))}")
