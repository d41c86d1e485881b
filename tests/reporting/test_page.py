"""The page as text: whole, small, and with nothing in it that runs but its own script."""

import base64
import hashlib
import html
import html.parser
import json
import os
import re

import numpy as np
import pytest
import soundfile
from report_runs import RATE, add_intervals, make_run, row

from aejax import cli
from aejax import config as config_module
from aejax.reporting import audio_clips, details, page, run_files
from aejax.runtime.errors import UserError

DEFAULTS = config_module.flatten(config_module.default())
HOSTILE = [
    "<script>alert(1)</script>.wav",
    "\"'><img src=x onerror=alert(1)>.wav",
    "</script><script>alert(2)</script>",
    "line\u2028and\u2029paragraph.wav",
    "{{ 7 * 7 }}{% raw %}",
    "]]>--><!--",
    "\udcff not UTF-8.wav",
]


def written(tmp_path, *runs):
    out = tmp_path / "out.html"
    page.write(out, runs, defaults=DEFAULTS)
    return out.read_text("utf-8")


class Elements(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found, self.texts = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag, attributes = self.found[-1] if self.found else ("", {})
        key = attributes.get("id", tag)
        self.texts[key] = self.texts.get(key, "") + data


def data_of(text):
    return json.loads(Elements(text).texts["data"])


def test_the_policy_allows_the_pages_own_style_and_script_alone(tmp_path):
    text = written(tmp_path, make_run(tmp_path / "run"))
    policy = re.search(r'Security-Policy" content="([^"]*)"', text)[1]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules.pop("default-src") == "'none'"
    assert rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.pop("media-src") == "data:"
    for name, opened in (("style", "<style>"), ("script", "<script>")):
        inside = text.split(opened)[1].split(f"</{name}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert rules.pop(f"{name}-src") == f"'sha256-{digest}'"
    assert not rules
    for tag, attributes in Elements(text).found:
        assert tag not in ("link", "img", "iframe", "object", "base", "form", "embed"), tag
        assert not {"style", "src", "srcset"} & attributes.keys()
        assert not [name for name in attributes if name.startswith("on")]
        assert not attributes.get("href", "#").strip("#").count(":")
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")


def test_hostile_names_are_text(tmp_path):
    labels = {'"><script>x</script>': "</script><b>", "it's": 'a "quote"\u2028'}
    run = make_run(tmp_path / "<i>run<b>", clips=HOSTILE, labels=labels, command="</script><x>")
    other = make_run(tmp_path / "other", {"data.path": "/x/<script>alert(3)</script>"})
    text = written(tmp_path, run, other)
    tags = {tag for tag, _ in Elements(text).found}
    assert tags.isdisjoint({"img", "b", "x", "i"})
    assert sum(tag == "script" for tag, _ in Elements(text).found) == text.count("<script")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "\u2028" not in text.split('id="data">')[1].split("</script>")[0]
    assert "49" not in re.findall(r'class="name">([^<]*7 \* 7[^<]*)<', text)
    found = data_of(text)["runs"][0]
    assert {line[0] for line in found["worst"]} >= set(HOSTILE[:6])
    assert "\\udcff not UTF-8.wav" in text
    assert found["command"] == "</script><x>"


def test_a_page_has_what_there_is_and_nothing_else(tmp_path):
    run = make_run(tmp_path / "run", {"model.latent_dim": 8, "train.steps": 123})
    found = data_of(written(tmp_path, run))
    (one,) = found["runs"]
    assert one["label"] == "run"
    assert ["train.steps", "123", "1000", True] in one["config"]
    assert sum(changed for *_, changed in one["config"]) == 3  # and the name
    assert one["command"].startswith("python -m aejax.main")
    assert one["labels"] == [["folder", "a", 2, 3.0, 2.0, 3.5, None]]
    assert [line[0] for line in one["worst"]] == ["one.wav", "two.wav"]
    assert one["map"]["labels"].keys() == {"folder", "pitch", "kind", "level"}
    assert set(one["curves"]) >= {"loss/total", "learning_rate", "time/data_wait_fraction"}
    for name in ("report.npz", "corpus.json", "clips.jsonl", "metrics.jsonl"):
        (run / name).unlink()
    results = json.loads((run / "results.json").read_text())
    del results["command"]
    (run / "results.json").write_text(json.dumps(results))
    text = written(tmp_path, run)
    assert "report.npz is missing" in text
    assert not data_of(text)["runs"][0]["command"]


def test_what_is_shared_is_there_once(tmp_path):
    runs = [
        make_run(tmp_path / f"dim={dim}", {"model.latent_dim": dim, "data.path": "/x/y"})
        for dim in (4, 8)
    ]
    runs.append(
        make_run(tmp_path / "seed", {"model.latent_dim": 8, "seed": 1, "data.path": "/x/y"})
    )
    read = [run_files.read_run(run, most_clips=5) for run in runs]
    lines = page.curve.lines(read)
    clips, notes = audio_clips.collect_clips(read, lines)
    assert not notes
    assert [clip.name for clip in clips] == ["one.wav", "two.wav"]
    labels = [version.label for version in clips[0].versions]
    assert labels == [
        "original",
        "representation only",
        "PCA, 31.25 floats/s",
        "PCA, 62.5 floats/s",
        f"{tmp_path.name}, 31.25 floats/s",
        f"{tmp_path.name}, 62.5 floats/s",
    ]
    found = data_of(written(tmp_path, *runs))
    assert found["runs"][0]["snippets"] == list(range(8))


def test_what_was_heard_is_there_once_for_each_kind_of_noise(tmp_path):
    runs = [
        make_run(
            tmp_path / f"{dim} {low}",
            {"model.latent_dim": dim, "augment.noise.kind": "pink", "task": "denoise"}
            | {"augment.noise.snr_db": (low, 15.0)},
        )
        for dim, low in ((4, 0.0), (8, 0.0), (4, 5.0))
    ]
    read = [run_files.read_run(run, most_clips=5) for run in runs]
    clips, _ = audio_clips.collect_clips(read, page.curve.lines(read))
    labels = [[version.label for version in clip.versions].count("noisy") for clip in clips]
    assert labels == [2, 2]


def test_clips_that_are_too_much_are_shortened_and_said_so(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", seconds=2.0, map_clips=20)
    whole = written(tmp_path, run)
    assert "To keep this page small" not in whole
    monkeypatch.setattr(page, "CLIP_BUDGET", 12_000)
    monkeypatch.setattr(page, "SNIPPET_BUDGET", 60_000)
    monkeypatch.setattr(page, "PICTURE_BUDGET", 10_000)
    text = written(tmp_path, run)
    assert "clips are Opus" in text
    assert re.search(r"clips were shortened to [01]\.\d s", text)
    assert "snippets are Opus" in text
    media = sum(len(x) for key, x in Elements(text).texts.items() if key.startswith("sound-"))
    snippets = sum(len(x) for key, x in Elements(text).texts.items() if key.startswith("snippet-"))
    assert media < 12_500
    assert snippets < 60_500
    assert len(text) < len(whole) / 4
    monkeypatch.setattr(audio_clips, "MOST_SOUNDS", 3)
    assert "only 0 of 1 models have audio" in written(tmp_path, run)


@pytest.mark.parametrize("damage", ["text", "rate", "link", "away", "folder"])
def test_damaged_sounds_get_one_line(tmp_path, damage):
    run = make_run(tmp_path / "run")
    file = run / "audio" / "0_2.wav"
    if damage == "text":
        file.write_text("RIFF no more")
    elif damage == "rate":
        soundfile.write(file, np.zeros(100), RATE // 2)
    elif damage == "away":
        file.unlink()
    elif damage == "link":
        file.rename(tmp_path / "other.wav")
        file.symlink_to(tmp_path / "other.wav")
    else:
        (run / "audio").rename(tmp_path / "other")
        (run / "audio").symlink_to(tmp_path / "other")
    with pytest.raises(UserError) as caught:
        written(tmp_path, run)
    assert "\n" not in str(caught.value)
    assert "0_2.wav" in str(caught.value) or damage == "folder"


ODD = [None, 3, -1.5, True, "text", [], [[]], {}, {"a": None}, {"a": {"b": []}}, [{"a": 1}]]


@pytest.mark.parametrize("name", ["results.json", "corpus.json", "config.json", "clips.jsonl"])
def test_any_value_may_be_odd(tmp_path, name):
    """Whatever a file says, there is a page or one line."""
    run = make_run(tmp_path / "run", seconds=0.05, map_clips=2)
    whole = json.loads((run / name).read_text().splitlines()[0] if name[-1] == "l" else "{}")
    whole = whole or json.loads((run / name).read_text())
    whole |= {"left_out": {}, "splits": {}, "best": {}} if name != "config.json" else {}
    for number, key in enumerate(whole):
        for value in ODD[number % 3 :: 3]:
            (run / name).write_text(json.dumps(whole | {key: value}) + "\n")
            try:
                written(tmp_path, run)
            except UserError as error:
                assert "\n" not in str(error)  # noqa: PT017


def test_principal_axes_of_latents():
    rng = np.random.default_rng(0)
    means = rng.standard_normal((30, 5)).astype(np.float32) * np.asarray(
        [9, 4, 1, 1, 1], np.float32
    )
    xy, shares = details.project(means)
    values = np.linalg.eigvalsh(np.cov(means.T))[::-1]
    np.testing.assert_allclose(shares, (values / values.sum())[:2], rtol=1e-4)
    assert np.abs(xy).max() == pytest.approx(1)
    for few in (np.zeros((1, 3), np.float32), np.full((4, 1), 3e38, np.float32)):
        xy, shares = details.project(few)
        assert np.isfinite(xy).all()
        assert np.isfinite(shares).all()


def headings(text):
    """The headline of a page, and the ids of its sections in order."""
    sections = [attributes["id"] for tag, attributes in Elements(text).found if tag == "section"]
    return html.unescape(re.search("<h1>(.*?)</h1>", text)[1]), sections


@pytest.mark.parametrize(
    ("gain", "bits", "changes", "expected"),
    [
        (2.69, None, {}, "2.7 dB closer to the original than PCA at 250 numbers a second"),
        (-1.06, None, {}, "1.1 dB further from the original than PCA at 250 numbers a second"),
        (0.01, None, {}, "as close to the original as PCA at 250 numbers a second"),
        (
            None,
            None,
            {},
            "5.0 dB away from the original (log-mel RMSE of the audio) at 250 numbers",
        ),
        (1.0, None, {"task": "denoise", "augment.noise.kind": "pink"}, "closer to the clean audio"),
        (
            0.64,
            750.0,
            {},
            "0.6 dB closer to the original than unquantised PCA at 750 bits a second",
        ),
    ],
)
def test_one_run_opens_with_a_sentence(tmp_path, gain, bits, changes, expected):
    run = make_run(tmp_path / "mine", changes)
    rows = [row("model", 250.0, 4.0, bits=bits, gain=gain)]
    rows += [row("pca", 250.0, 5.0, gain=0.0)] if gain is not None else []
    results = json.loads((run / "results.json").read_text()) | {"rows": rows}
    (run / "results.json").write_text(json.dumps(results))
    sentence, sections = headings(written(tmp_path, run))
    assert sentence.startswith("mine: ")
    assert expected in sentence
    raw = "raw 16-bit audio has 256,000" if bits else "raw audio has 16,000"
    assert sentence.endswith(f"; {raw}")
    assert sections[:3] == ["listen", "results", "curve"]


def test_several_runs_open_with_the_curve(tmp_path):
    runs = [make_run(tmp_path / name, {"seed": i}) for i, name in enumerate(("a_0", "a_1"))]
    title, sections = headings(written(tmp_path, *runs))
    assert title == "a: 2 runs"
    assert sections[:3] == ["curve", "results", "listen"]


def table_cells(text):
    """Texts of the first two cells of each row of the results table."""
    body = text.split('aria-label="Results"')[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in body.split("<tr>")[1:]]
    return [tuple(cells[:2]) for cells in rows]


def test_the_representation_alone_has_one_row(tmp_path):
    runs = [
        make_run(tmp_path / f"dim={dim},seed={seed}", {"model.latent_dim": dim, "seed": seed})
        for dim in (4, 8)
        for seed in (0, 1)
    ]
    cells = table_cells(written(tmp_path, *runs))
    assert [pair for pair in cells if pair[1] == "representation only"] == [
        ("all runs", "representation only")
    ]
    assert len(cells) == 1 + 3 * len(runs)
    results = json.loads((runs[0] / "results.json").read_text())
    results["rows"][0]["audio_log_mel_rmse_db"] = 2.0
    (runs[0] / "results.json").write_text(json.dumps(results))
    named = [pair[0] for pair in table_cells(written(tmp_path, *runs)) if "only" in pair[1]]
    assert named == ["dim=4,seed=0", "dim=4,seed=1, dim=8,seed=0, dim=8,seed=1"]
    assert table_cells(written(tmp_path, runs[0]))[-1][0] == "dim=4,seed=0"


def test_a_quantised_row_says_what_its_gain_is_over(tmp_path):
    more = [row("model, 2 codebooks", 250.0, 4.0, bits=500.0, gain=0.6)]
    text = written(tmp_path, make_run(tmp_path / "run", {"model.bottleneck": "rvq"}, rows=more))
    tip = "quantised to 500 bit/s; over PCA with 250 unquantised floats/s"
    assert re.findall(r'title="([^"]*)">([^<]*)<', text) == [(tip, "+0.60")]
    assert "are quantised, PCA is not" in text
    assert "are quantised" not in written(tmp_path, make_run(tmp_path / "floats"))


def test_the_headline_of_a_quantised_run_is_over_pca_with_its_bits(tmp_path):
    run = make_run(tmp_path / "mine", {"model.bottleneck": "fsq"})
    ends = {"gain_over_coded_pca_db": [1.9, 2.3]}
    rows = [row("pca", 250.0, 5.0, gain=0.0), row("pca, coded", 250.0, 6.0, bits=740.0, gain=-1.6)]
    rows.append(row("model", 250.0, 4.7, bits=750.0, gain=0.5, interval=ends))
    rows[-1]["gain_over_coded_pca_db"] = 2.1
    results = json.loads((run / "results.json").read_text()) | {"rows": rows}
    (run / "results.json").write_text(json.dumps(results))
    text = written(tmp_path, run)
    expected = "mine: 2.1 ±0.2 dB closer to the original than PCA with the same bits at 750 bits"
    assert headings(text)[0].startswith(expected)
    assert "PCA through the coder" in text
    heads = [html.unescape(head) for head in re.findall(r'class="sort">(.*?)<', text)]
    assert heads[:5] == [
        "row",
        "latent floats/s",
        "latent bit/s",
        "over coded PCA (dB)",
        "gain over PCA (dB)",
    ]
    # A line of its own, at its own bits.
    labels = {line["label"]: line["points"][0] for line in data_of(text)["lines"]}
    assert labels["PCA, coded"]["bits_per_second"][0] == 740


def test_intervals_are_in_the_table_the_curve_and_the_labels(tmp_path):
    run = make_run(tmp_path / "run")
    old = written(tmp_path, run)
    assert "<small>" not in old
    assert "95 % interval" not in old
    add_intervals(run, 40)
    text = written(tmp_path, run)
    assert "<small>+0.38 to +0.64</small>" in text
    assert "Small numbers: the 95 % interval over 40 clips" in text
    assert "0.5 ±0.1 dB closer" in headings(text)[0]
    assert "were measured" not in text
    found = data_of(text)
    assert found["runs"][0]["labels"][0][-1] == [3.0, 4.1]
    points = [line["points"][0] for line in found["lines"] if line["kind"] == "model"]
    assert points[0]["intervals"]["gain_over_pca_db"] == pytest.approx([0.38, 0.64])
    seeds = [make_run(tmp_path / f"seed={i}", {"seed": i}) for i in (0, 1)]
    lines = data_of(written(tmp_path, *map(add_intervals, seeds)))["lines"]
    assert all("intervals" not in point for line in lines[:1] for point in line["points"])
    text = written(tmp_path, add_intervals(run, 4))
    assert "Only 4 clips were measured: others like these" in text


@pytest.mark.parametrize("odd", [3, [1.0], [1.0, 2.0], {"feature_rmse": [1.0, None]}])
def test_damaged_intervals_get_one_line(tmp_path, odd):
    run = make_run(tmp_path / "run", rows=[row("model, averaged", 250.0, 4.0, interval=odd)])
    with pytest.raises(UserError, match="is damaged"):
        written(tmp_path, run)


def matrix(text):
    """For each row of the first matrix: its rate, and for each cell the number of rows that it is
    beside and the names of its sounds."""
    body = text.split('<table class="matrix">')[1].split("</table>")[0]
    heads = re.findall(r'<th scope="col">(.*?)</th>', body)
    rows = []
    for part in body.split("<tbody>")[1].split("<tr>")[1:]:
        cells = [
            (int((re.match(r' rowspan="(\d+)"', cell) or [0, 1])[1]), cell.count("<canvas"))
            for cell in part.split("<td")[1:]
        ]
        rows.append((re.search(r'scope="row">(.*?)</th>', part)[1], cells))
    return heads, rows


def test_clips_of_a_sweep_stand_in_a_matrix(tmp_path):
    """A row for each rate; what all rates share stands once, beside all of them."""
    runs = [
        make_run(tmp_path / f"{encoder}={dim}", {"model.latent_dim": dim, "model.encoder": encoder})
        for encoder, dim in (("conv", 64), ("conv", 4), ("lstm", 4), ("conv", 8))
    ]
    heads, rows = matrix(written(tmp_path, *runs))
    assert heads == ["rate", "original", "representation only", "PCA", tmp_path.name, "lstm=4"]
    assert rows == [
        ("31.25 floats/s", [(3, 1), (3, 1), (1, 1), (1, 1), (3, 1)]),
        ("62.5 floats/s", [(1, 1), (1, 1)]),
        ("500 floats/s", [(1, 1), (1, 1)]),
    ]
    assert "matrix" not in written(tmp_path, *runs[1:3]).split("</style>")[1]  # one rate


def test_runs_have_names_of_their_own(tmp_path):
    runs = [run_files.read_run(make_run(tmp_path / name / "model"), most_clips=1) for name in "ab"]
    assert page.run_names(runs) == ["a/model", "b/model"]
    assert page.run_names(runs[:1]) == ["model"]


def test_the_command_writes_into_the_run_or_where_it_is_told(tmp_path, capsys):
    run, other = make_run(tmp_path / "run"), make_run(tmp_path / "other", {"seed": 1})
    assert cli.main(["report", str(run)]) == 0
    first = (run / "report.html").read_text()
    assert cli.main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == first
    assert "report of 1 run: " in capsys.readouterr().out
    assert cli.main(["report", str(run), str(other)]) == 1
    assert "--out" in capsys.readouterr().err
    odd = os.fsdecode(b"a\xe9\nb.html")
    assert cli.main(["report", str(run), f"--out={tmp_path / odd}"]) == 0
    assert capsys.readouterr().out.endswith("a\\udce9\\nb.html\n")
    out = tmp_path / "both.html"
    assert cli.main(["report", str(run), str(other), f"--out={out}"]) == 0
    assert "report of 2 runs: " in capsys.readouterr().out
    sweep = {"members": [{"folder": name} for name in ("run", "other", "gone")]}
    (tmp_path / "sweep.json").write_text(json.dumps(sweep))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert "unfinished, left out: gone" in capsys.readouterr().out
    assert "left out: gone" in (tmp_path / "report.html").read_text()
    assert not list(tmp_path.rglob("*.part"))


def test_the_command_writes_over_nothing_else(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    mine = tmp_path / "mine.html"
    mine.write_text("<html>mine</html>")
    assert cli.main(["report", str(run), f"--out={mine}"]) == 1
    assert mine.read_text() == "<html>mine</html>"
    assert cli.main(["report", str(run), f"--out={mine}", "--force"]) == 0
    assert page.is_report(mine)
    assert cli.main(["report", str(run), f"--out={mine}"]) == 1  # not even over a report
    (run / "report.html").write_text("<html>mine</html>")
    assert cli.main(["report", str(run)]) == 1
    assert (run / "report.html").read_text() == "<html>mine</html>"
    assert cli.main(["report", str(run), f"--out={tmp_path}"]) == 1
    assert cli.main(["report", str(run), f"--out={tmp_path / 'no' / 'x.html'}"]) == 1
    assert cli.main(["report", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 6
    assert all(line.startswith("error: ") for line in errors)


def test_quantised_runs_have_a_curve_by_bits(tmp_path):
    more = [row("model, 2 codebooks", 250.0, 4.0, bits=500.0)]
    run = make_run(tmp_path / "run", {"model.bottleneck": "rvq"}, rows=more)
    points = [
        point for line in data_of(written(tmp_path, run))["lines"] for point in line["points"]
    ]
    assert [point["bits_per_second"] for point in points if "bits_per_second" in point] == [
        [500.0, 500.0, 500.0]
    ]
