"""``aejax report``: one page about runs."""

import argparse
from typing import Any

from aejax.commands.models import FORCE
from aejax.inference import places
from aejax.reporting import page, run_files
from aejax.runtime import files
from aejax.runtime.errors import UserError, printable


def add(commands: Any) -> dict[str, Any]:
    """Adds the parser; what runs it, by name."""
    about = "one HTML page about finished runs: curves, tables, and what they sound like"
    reporting = commands.add_parser("report", help=about, description=about)
    reporting.add_argument(
        "runs",
        type=files.expand,
        nargs="+",
        metavar="RUN",
        help="directory of a run, or of a sweep",
    )
    about = "of the page; report.html in the directory by default, if there is only one RUN"
    reporting.add_argument("--out", type=files.expand, metavar="FILE", help=about)
    reporting.add_argument("--force", action="store_true", help=FORCE)
    return {"report": _report}


def _report(options: argparse.Namespace) -> None:
    from aejax import config as config_module  # other commands begin at once, without JAX

    if options.out is None and len(options.runs) > 1:
        raise UserError("give --out=FILE, where the report of several runs goes")
    found, unfinished = run_files.find_runs(options.runs)
    out = options.out or options.runs[0] / run_files.REPORT
    # A run's own report is made anew, as the run makes it.
    own = options.out is None and out.is_file() and not out.is_symlink() and page.is_report(out)
    places.check_free([], out, force=options.force or own)
    if unfinished:
        print(f"not finished, and left out: {', '.join(map(printable, unfinished))}")
    defaults = config_module.flatten(config_module.default())
    page.write(out, found, defaults=defaults, unfinished=unfinished)
    print(f"report of {len(found)} run{'s'[: len(found) > 1]}: {printable(str(out))}")
