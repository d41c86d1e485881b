"""The help of every command, for the page of commands."""

import contextlib
import io
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from aejax import arguments, cli

_COLUMNS = "88"


def commands() -> Iterator[str]:
    """Markdown: a heading for each command, and its help."""
    head, marker, _ = _printed(arguments.print_help).partition("\nConfig keys")
    assert marker, "the help of training has no list of keys any more"
    yield from ("", "(command-main)=", "## python -m aejax.main", "")
    yield from ("```text", head.strip(), "```", "")
    yield "Below that, it prints all [config keys](config.md)."
    _, known = cli._parser()
    for name in ("", *known):
        title = f"aejax {name}".strip()
        argv = [name, "--help"] if name else ["--help"]
        text = _printed(lambda argv=argv: cli._parser()[0].parse_args(argv))
        anchor = f"(command-{name})=" if name else "(command-aejax)="
        yield from ("", anchor, f"## {title}", "", "```text", text.strip(), "```")


def _printed(call: Callable[[], Any]) -> str:
    """What a function prints, with lines of one length on any terminal."""
    text = io.StringIO()
    with (
        mock.patch.dict(os.environ, COLUMNS=_COLUMNS),
        contextlib.redirect_stdout(text),
        contextlib.suppress(SystemExit),
    ):
        call()
    return text.getvalue()
