"""Which runs make one line, and what it is called."""

import dataclasses

import pytest
from report_runs import make_run, row

from aejax.reporting import curve, details, run_files


@pytest.fixture
def lines_of(tmp_path):
    def lines_of(*changes, folders=None, **options):
        folders = folders or list(map(str, range(len(changes))))
        runs = [
            run_files.read_run(make_run(tmp_path / folder, each, **options), most_clips=5)
            for folder, each in zip(folders, changes, strict=True)
        ]
        return curve.lines(runs)

    return lines_of


def models(lines):
    return {line.label: len(line.points) for line in lines if line.kind == "model"}


def test_sizes_and_seeds_make_one_line_with_a_point_for_each_size(lines_of):
    found = lines_of(
        {"name": "conv_8", "model.latent_dim": 8},
        {"name": "conv_16", "model.latent_dim": 16, "seed": 1},
        {"name": "conv_16", "model.latent_dim": 16, "seed": 0},
        {"name": "conv_4", "model.latent_dim": 4, "evaluate.example_clips": 2},
    )
    assert models(found) == {"conv": 3}
    line = found[0]
    assert [point.runs for point in line.points] == [(3,), (0,), (2, 1)]
    point = curve.point_json(_Seeds(), line.points[2], str)
    mean, low, high = point["feature_rmse"]
    assert low < mean < high
    assert point["seeds"] == 2


class _Seeds(list):
    """Stands for runs, of which only the seeds are asked for."""

    def __getitem__(self, index):
        return type("Run", (), {"seeds": (index, 0, 0)})


@pytest.mark.parametrize(
    ("bottleneck", "key", "values"),
    [
        ("fsq", "model.fsq.levels", [(4,), (8,)]),
        ("vq", "model.vq.codebook_size", [16, 64]),
        ("rvq", "model.rvq.codebook_size", [16, 64]),
        ("rvq", "model.rvq.num_quantizers", [2, 4]),
    ],
)
def test_what_makes_the_rate_of_a_quantiser_is_no_other_line(lines_of, bottleneck, key, values):
    found = lines_of(*({"model.bottleneck": bottleneck, key: value} for value in values))
    assert models(found) == {"model": 2}


def test_two_results_of_one_seed_are_two_lines_with_the_names_of_their_folders(tmp_path):
    """Whatever made them: two versions of the code, or two machines."""
    runs = [
        run_files.read_run(make_run(tmp_path / folder, {"seed": seed}), most_clips=5)
        for folder, seed in (("old", 0), ("new", 0), ("other", 1))
    ]
    runs[1].rows[1]["feature_rmse"] += 1.0  # PCA
    runs[1].rows[3]["feature_rmse"] += 13.0
    found = curve.lines(runs)
    assert models(found) == {"old": 1, "new": 1, "other": 1}
    for line in found:
        for point in line.points:
            shown = curve.point_json(runs, point, str)
            assert shown["seeds"] == len({runs[i].seeds for i in point.runs})
            if line.kind == "model":
                assert shown["feature_rmse"][1] == shown["feature_rmse"][2]
    pca = [line.label for line in found if line.kind == "pca"]
    assert pca == ["PCA (old)", "PCA (new)", "PCA (other)"]
    assert sum(line.kind == "ceiling" for line in found) == 1


def test_two_sweeps_of_one_config_are_a_line_each(tmp_path):
    runs = [
        run_files.read_run(
            make_run(tmp_path / sweep / f"{dim}_{seed}", {"model.latent_dim": dim, "seed": seed}),
            most_clips=5,
        )
        for sweep in ("before", "after")
        for dim in (4, 8)
        for seed in (0, 1)
    ]
    found = curve.lines(runs)
    assert models(found) == {"model (before)": 2, "model (after)": 2}
    for line in found:
        assert {curve.point_json(runs, point, str)["seeds"] for point in line.points} == {2}
        assert line.kind == "model" or "before" not in line.label  # PCA is the same in both


def test_a_mean_counts_each_seed_once(tmp_path):
    """PCA of two encoders at one seed, and of one at another."""
    changes = [{"model.encoder": "conv"}, {"model.encoder": "lstm"}, {"seed": 1}]
    runs = [
        run_files.read_run(make_run(tmp_path / str(i), each), most_clips=5)
        for i, each in enumerate(changes)
    ]
    (line,) = (line for line in curve.lines(runs) if line.kind == "pca")
    (point,) = line.points
    mean, low, high = curve.point_json(runs, point, str)["feature_rmse"]
    assert mean == pytest.approx((low + high) / 2)


def test_another_version_of_aejax_is_another_line(tmp_path):
    runs = [
        run_files.read_run(make_run(tmp_path / str(seed), {"seed": seed}), most_clips=5)
        for seed in (0, 1)
    ]
    for run, version in zip(runs, ("0.1.0", "0.2.0"), strict=True):
        run.results["versions"]["aejax"] = version
    assert models(curve.lines(runs)) == {"0": 1, "1": 1}


def test_any_other_key_is_another_line_and_named(lines_of):
    found = lines_of({"train.steps": 100}, {"train.steps": 200}, {"train.steps": 200, "seed": 3})
    assert models(found) == {"0": 1, "model": 1}
    found = lines_of(
        *({"train.steps": steps, "seed": seed} for steps in (100, 200) for seed in (0, 1)),
        folders=["a", "b", "c", "d"],
    )
    assert models(found) == {"model (train.steps=100)": 1, "model (train.steps=200)": 1}


def test_corpora_are_not_mixed_and_are_named(lines_of):
    found = lines_of({"data.path": "/a/speech"}, {"data.path": "/b/music"}, {})
    labels = {line.label for line in found if line.kind == "model"}
    assert labels == {"0 · speech", "1 · music", "2 · built-in corpus"}
    assert {"PCA · speech", "PCA · music"} < {line.label for line in found if line.kind == "pca"}
    assert all(len(line.points) == 1 for line in found)


def test_a_corpus_at_another_rate_or_by_other_files_is_another_corpus(lines_of):
    found = lines_of(
        {"data.path": "/a/x", "data.sample_rate": 8000},
        {"data.path": "/a/x"},
        {"data.path": "/a/x", "data.split_seed": 5},
        {"data.path": "/a/x", "data.include": ("*.wav",)},
    )
    assert len({line.corpus for line in found}) == 3
    assert sorted(models(found).values()) == [1, 1, 1]


def test_pca_of_fewer_latents_is_on_pcas_line_and_cuts_are_a_line_of_their_own(lines_of):
    more = [
        row("pca, 4 latents", 31.25, 8.0),
        row("model, 4 latents", 31.25, 7.0),
        row("model, 8 latents", 62.5, 6.5),
        row("model, averaged", 250.0, 2.0),
        row("model, refined", 250.0, 1.9),
        row("model, averaged, refined", 250.0, 1.8),
        row("pca_context, refined", 250.0, 3.0),
    ]
    found = {line.label: line for line in lines_of({}, rows=more)}
    assert [p.rows[0]["name"] for p in found["PCA"].points] == ["pca, 4 latents", "pca"]
    assert len(found["0, truncated from 32 latents"].points) == 2
    assert found.keys() >= {"0", "0, averaged", "0, refined"}
    assert found.keys() >= {"0, averaged, refined", "representation only"}
    kinds = [line.kind for line in found.values()]
    assert kinds.count("pca_context") == 2
    assert kinds == sorted(kinds, key=["model", "pca", "pca_context", "ceiling"].index)


def test_the_cuts_of_another_size_are_another_line(lines_of):
    found = lines_of(
        {"model.latent_dim": 8},
        {"model.latent_dim": 16},
        rows=[row("model, 2 latents", 15.0, 9.0)],
    )
    labels = {line.label for line in found if "truncated" in line.label}
    assert labels == {"0, truncated from 8 latents", "1, truncated from 16 latents"}


def test_pca_is_the_same_line_whatever_the_model(lines_of):
    found = lines_of({"model.encoder": "lstm"}, {"model.encoder": "conv"}, {"seed": 2})
    lines = [line for line in found if line.kind == "pca"]
    assert [line.label for line in lines] == ["PCA"]
    assert len(lines[0].points) == 1
    contexts = {line.label for line in found if line.kind == "pca_context"}
    assert len(contexts) == 2


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["mine"], "mine"),
        (["conv_8", "conv_16"], "conv"),
        (["encoder=conv,seed=0", "encoder=conv,seed=1"], "encoder=conv"),
        (["latent_dim=4", "latent_dim=8"], "sizes"),
        (["8", "16"], "model"),
        (["x", "y"], "model"),
    ],
)
def test_runs_are_named_by_what_their_folders_share(tmp_path, folders, expected):
    runs = [
        run_files.read_run(make_run(tmp_path / "sizes" / folder), most_clips=1)
        for folder in folders
    ]
    assert curve.common_folder(runs) == expected
    names = ["mel_conv_8", "mel_conv_16"]
    named = [
        run_files.read_run(make_run(tmp_path / f"{i}", {"name": name}), most_clips=1)
        for i, name in enumerate(names)
    ]
    assert curve.common_folder(named) == "mel_conv"


def test_clips_are_the_same_sounds_whatever_the_seed(tmp_path):
    def key(place, **changes):
        keys = {name.replace("__", "."): value for name, value in changes.items()}
        return curve.sounds_key(
            run_files.read_run(make_run(tmp_path / str(place), keys), most_clips=1)
        )

    assert key(0, seed=0, model__latent_dim=4) == key(1, seed=1, model__latent_dim=8)
    assert key(2, data__seed=0) != key(3, data__seed=1)
    assert key(4, data__seed=0, data__path="a") == key(5, data__seed=1, data__path="a")
    assert key(6, data__split_seed=0, data__path="a") != key(7, data__split_seed=1, data__path="a")


def test_seeds_of_data_are_seeds(tmp_path):
    runs = [
        run_files.read_run(make_run(tmp_path / str(seed), {"data.seed": seed}), most_clips=1)
        for seed in range(3)
    ]
    assert len({run.seeds for run in runs}) == 3


def test_the_lowest_gains_are_shown_of_many_labels(tmp_path):
    run = run_files.read_run(make_run(tmp_path / "run"), most_clips=1)
    part = {"clips": 1, "feature_rmse": {"pca": 2.0, run.name: 1.0}}
    values = {
        f"speaker {place}": part | {"gain_over_pca_db": {run.name: float(1000 - place)}}
        for place in range(500)
    }
    run = dataclasses.replace(run, results=run.results | {"by_label": {"folder": values}})
    found = details._gains_by_label(run)
    assert [row[5] for row in found] == [float(x) for x in range(501, 701)]
