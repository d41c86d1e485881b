"""What a notebook shows of results and of models."""

import dataclasses
import inspect
import pydoc
import re

from report_runs import make_run

import aejax
from aejax.evaluation.evaluate import Row
from aejax.inference.model import TrainedModel
from aejax.reporting.markup import as_html
from aejax.results import Results, print_results


def test_results_show_themselves_as_a_table(tmp_path, capsys):
    results = print_results(make_run(tmp_path / "run"))
    printed = capsys.readouterr().out
    assert len(repr(results).splitlines()) == 6
    assert repr(results) in printed
    assert "RMSE (dB)" in repr(results)
    html = results._repr_html_()
    lines = re.findall(r"<tr>(.*?)</tr>", html)
    assert len(lines) == 5
    assert lines[0].startswith("<th></th><th>latent floats/s</th><th>features RMSE (dB)</th>")
    assert lines[2].startswith("<td>pca</td><td>250</td>")


def test_names_are_escaped(tmp_path):
    row = Row("<script>&", None, 1.0, 2.0, None, 0.5)
    html = Results(tmp_path, [row])._repr_html_()
    assert "<td>&lt;script&gt;&amp;</td>" in html
    assert "<script>" not in html


def test_intervals_are_shown():
    row = {"name": "a", "feature_rmse": 3.25, "interval_95": {"feature_rmse": [3.0625, 3.5]}}
    assert "<td>3.25 (3.062 to 3.5)</td>" in as_html([row], "dB")


def test_help_of_load_tells_all_of_it():
    text = pydoc.plain(pydoc.render_doc(aejax.load))
    for name in inspect.signature(aejax.load).parameters:
        assert re.search(rf"^ +{name}: ", text, re.M), name
    for section in ("Returns:", "Raises:", "Example::", "UserError", "ValueError"):
        assert section in text
    # What it names is what a model has.
    fields = {field.name for field in dataclasses.fields(TrainedModel)}
    named = re.findall(r"``model\.(\w+)|``(\w+)``", text)
    named = {first or second for first, second in named}
    assert {"encode", "decode", "reconstruct", "denoise", "sample_rate", "latent_rate"} <= named
    assert {name for name in named if not hasattr(TrainedModel, name)} <= fields | {"path", "parts"}
