import dataclasses
import json
import sys

import numpy as np
import pytest
from sklearn.metrics import r2_score

from aejax.data.table import Clips, Column, Strings
from aejax.evaluation import probes
from aejax.evaluation.probes import ClipMeans, probe
from aejax.runtime.errors import UserError


def clips_with(**labels):
    """A corpus of as many clips as the labels have values, and nothing else known."""
    count = len(next(iter(labels.values())).values)
    ones = np.ones(count, np.int64)
    return Clips(
        files=Strings.of([f"{index}.wav" for index in range(count)]),
        frames=ones,
        sample_rate=ones,
        channels=ones,
        channel=-ones,
        samples=ones,
        split=ones,
        labels=labels,
    )


def categories(values):
    values = np.asarray(values, np.int32)
    return Column(tuple(f"c{index}" for index in range(values.max() + 1)), values)


def numbers(values):
    return Column(None, np.asarray(values, np.float64))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def halves(count):
    return np.arange(count // 2), np.arange(count // 2, count)


def only(vectors, column, train, test, **options):
    """The row of one label, read from one source."""
    (row,) = probe({"x": vectors}, clips_with(label=column), train, test, **options)
    return row


# Means of clips.


@pytest.fixture
def batches():
    """Three batches of frames; clip 3 comes in several rows, one of them twice in a batch; clip 5
    has no frame that counts, clips 4 and 6 never come. What does not count is not finite."""
    rng = np.random.default_rng(0)
    found = []
    for clip in ([0, 3, 3, 1], [3, 2, 5, -1], [1, -1, -1, -1]):
        mask = np.arange(6)[None] < rng.integers(1, 7, 4)[:, None]
        mask[np.asarray(clip) == 5] = False
        vectors = rng.normal(-30, 12, (4, 6, 3)).astype(np.float32)
        vectors[~mask] = np.nan
        found.append((vectors, mask, np.asarray(clip, np.int32)))
    return found


def test_means_are_those_of_a_slow_loop(batches):
    gathered = ClipMeans(7, 3)
    frames = {clip: [] for clip in range(7)}
    for vectors, mask, clip in batches:
        gathered.add(vectors, mask, clip)
        for row in range(4):
            for time in range(6):
                if clip[row] >= 0 and mask[row, time]:
                    frames[clip[row]].append(vectors[row, time].astype(np.float64))
    means = gathered.means()
    assert means.dtype == np.float32
    assert gathered.has_frames.tolist() == [True, True, True, True, False, False, False]
    for clip, expected in frames.items():
        if expected:
            np.testing.assert_allclose(means[clip], np.mean(expected, axis=0), rtol=1e-6)
        else:
            assert np.isnan(means[clip]).all()


def test_rows_that_only_fill_the_batch_count_for_no_clip():
    gathered = ClipMeans(3, 2)
    gathered.add(np.ones((2, 4, 2), np.float32), np.ones((2, 4), bool), np.asarray([0, -1]))
    assert gathered.has_frames.tolist() == [True, False, False]
    np.testing.assert_array_equal(gathered.means()[0], [1, 1])


def test_long_clips_lose_no_precision():
    gathered = ClipMeans(1, 1)
    frame, mask = np.full((1, 1000, 1), 0.1, np.float32), np.ones((1, 1000), bool)
    gathered.add(np.full((1, 1, 1), 1e9, np.float32), mask[:, :1], np.asarray([0]))
    for _ in range(100):
        gathered.add(frame, mask, np.asarray([0]))
    expected = (1e9 + 100_000 * float(np.float32(0.1))) / 100_001
    np.testing.assert_allclose(gathered.means(), expected, rtol=1e-7)


# Closed cases.


def test_separable_classes_are_read_without_error():
    kinds = np.arange(90) % 3
    row = only(noise(90, 4) * 0.1 + 5 * np.eye(3, 4)[kinds], categories(kinds), *halves(90))
    assert row == probes.ProbeRow(
        label="label",
        measure="accuracy",
        classes=3,
        train_clips=45,
        train_clips_found=45,
        test_clips=45,
        test_clips_unseen=0,
        chance=1 / 3,
        scores={"x": 1.0},
    )


def test_what_the_vectors_do_not_know_is_read_by_chance():
    kinds = np.random.default_rng(1).integers(0, 4, 4000)
    row = only(noise(4000, 8), categories(kinds), *halves(4000))
    assert row.chance == pytest.approx(0.25, abs=0.03)
    assert row.scores["x"] == pytest.approx(0.25, abs=0.04)
    values = np.random.default_rng(1).normal(size=4000)
    row = only(noise(4000, 8), numbers(values), *halves(4000))
    assert row.chance == 0
    assert row.scores["x"] == pytest.approx(0, abs=0.02)


def test_a_linear_target_is_read_without_error_whatever_its_scale():
    vectors = noise(400, 5)
    target = vectors.astype(np.float64) @ [1.0, -2.0, 0.5, 0.0, 3.0]
    for values in (target, 1e-6 * target, 1.7e9 + target):
        row = only(vectors, numbers(values), *halves(400))
        assert (row.measure, row.classes, row.chance) == ("R²", None, 0.0)
        assert 0.999 < row.scores["x"] <= 1


def test_scores_are_of_the_test_clips_alone():
    """In training the vectors tell the class; in the test they tell the other one."""
    kinds = np.arange(80) % 2
    vectors = np.where(kinds == 1, 1.0, -1.0)[:, None] * np.repeat([1.0, -1.0], 40)[:, None]
    row = only(vectors, categories(kinds), *halves(80))
    assert row.scores["x"] == 0


def test_r_squared_is_that_of_the_plain_ridge():
    """By the normal equations, with the intercept apart."""
    vectors, train, test = noise(60, 3) * [1, 10, 100] + 7, np.arange(40), np.arange(40, 60)
    values = vectors @ [1.0, 0.1, 0.02] + 2 * noise(60, seed=5)
    x = (vectors - vectors[train].mean(0)) / vectors[train].std(0)
    gram = x[train].T @ x[train] + np.eye(3)
    weights = np.linalg.solve(gram, x[train].T @ (values[train] - values[train].mean()))
    expected = r2_score(values[test], x[test] @ weights + values[train].mean())
    assert only(vectors, numbers(values), train, test).scores["x"] == pytest.approx(expected)


def test_every_source_is_read_by_itself():
    kinds = np.arange(600) % 2
    knowing, blind = noise(600, 2) * 0.1 + np.eye(2)[kinds], noise(600, 3)
    means = {"knowing": knowing, "blind": blind}
    (row,) = probe(means, clips_with(kind=categories(kinds)), *halves(600))
    assert row.scores["knowing"] == 1
    assert row.scores["blind"] == pytest.approx(0.5, abs=0.1)


def test_chance_is_the_class_that_is_most_frequent_in_training():
    train, test = np.arange(10), np.arange(10, 20)
    kinds = np.asarray([1] * 6 + [0] * 4 + [1] * 3 + [0] * 7)
    assert only(noise(20, 2), categories(kinds), train, test).chance == pytest.approx(0.3)


def test_scale_and_offset_of_the_vectors_do_not_matter():
    kinds = np.arange(300) % 3
    vectors = noise(300, 4) + np.eye(3, 4)[kinds]
    found = [
        only(v, categories(kinds), *halves(300)).scores["x"]
        for v in (vectors, 1e-4 * vectors, 1e3 * vectors - 500)
    ]
    assert 0.4 < found[0] < 0.9
    assert found[1] == pytest.approx(found[0], abs=0.02)
    assert found[2] == pytest.approx(found[0], abs=0.02)


def test_bins_that_say_the_same_are_no_trouble():
    """So many of so many clips that float32 normal equations would be singular, with a warning."""
    value = noise(100_100, 1)
    train, test = np.arange(100_000), np.arange(100_000, 100_100)
    row = only(np.tile(value, 64), numbers(value[:, 0]), train, test, most_clips=100_000)
    assert row.scores["x"] > 0.999


def test_fits_come_to_their_end_and_it_is_said_where_one_does_not(monkeypatch):
    kinds = np.arange(200) % 4
    vectors = {"x": noise(200, 16) + np.eye(4, 16)[kinds], "flat": np.zeros((200, 1))}
    clips = clips_with(kind=categories(kinds))
    assert probe(vectors, clips, *halves(200))[0].unconverged == ()
    monkeypatch.setattr(probes, "_MOST_ITERATIONS", 2)
    assert probe(vectors, clips, *halves(200))[0].unconverged == ("x",)


# What cannot be read is said.


def test_test_clips_of_classes_that_training_has_not_are_left_out_and_counted():
    kinds = np.asarray([0, 1] * 20 + [0, 1] * 5 + [2] * 7)
    vectors = noise(57, 3) * 0.1 + np.eye(3)[kinds]
    row = only(vectors, categories(kinds), np.arange(40), np.arange(40, 57))
    assert (row.classes, row.test_clips, row.test_clips_unseen) == (2, 10, 7)
    assert row.scores["x"] == 1
    assert row.chance == 0.5


def test_clips_without_the_label_are_left_out():
    kinds = np.arange(60) % 2
    vectors = noise(60, 2) * 0.1 + np.eye(2)[kinds]
    known = np.arange(60) % 5 > 0  # every fifth is not, and its vector would mislead
    vectors[~known] = vectors[~known][:, ::-1]
    row = only(vectors, categories(np.where(known, kinds, -1)), *halves(60))
    assert (row.classes, row.train_clips, row.test_clips, row.test_clips_unseen) == (2, 24, 24, 0)
    assert row.scores["x"] == 1
    row = only(vectors, numbers(np.where(known, kinds, np.nan)), *halves(60))
    assert (row.train_clips, row.test_clips) == (24, 24)
    assert row.scores["x"] > 0.9


def test_clips_that_one_source_has_not_seen_are_left_out_of_all():
    kinds = np.arange(40) % 2
    means = {name: noise(40, 2) * 0.1 + np.eye(2)[kinds] for name in ("whole", "holes")}
    means["holes"][[3, 25, 27], 1] = np.nan
    (row,) = probe(means, clips_with(kind=categories(kinds)), *halves(40))
    assert (row.train_clips, row.test_clips) == (19, 18)
    assert row.scores == {"whole": 1.0, "holes": 1.0}


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (categories([0] * 40), "all training clips are of one class"),
        (categories([0, 1] * 10 + [2] * 20), "no class of a test clip is in training"),
        (categories([-1] * 20 + [0, 1] * 10), "no usable training clip has it"),
        (categories([0, 1] * 10 + [-1] * 20), "no usable test clip has it"),
        (
            categories(range(40)),
            "20 classes in 20 training clips: it identifies clips",
        ),
        (
            categories([*range(11), *range(9)] * 2),
            "11 classes in 20 training clips: it identifies clips",
        ),
        (numbers([3.0] * 20 + [1.0, 2.0] * 10), "all training clips have the same value"),
        (numbers([1.0, 2.0] * 10 + [3.0] * 20), "all test clips have the same value"),
        (numbers([np.nan] * 20 + [1.0, 2.0] * 10), "no usable training clip has it"),
        (numbers([1.0, 2.0] * 10 + [np.nan] * 20), "no usable test clip has it"),
    ],
)
def test_labels_that_cannot_be_read_say_why(column, reason):
    row = only(noise(40, 2), column, *halves(40))
    assert row.skipped == reason
    assert (row.chance, row.scores, row.unconverged) == (None, {"x": None}, ())


def test_whole_speakers_held_out_are_counted_as_unseen():
    """No class is in both splits."""
    row = only(noise(40, 2), categories([0, 1] * 10 + [2, 3] * 10), *halves(40))
    assert (row.classes, row.test_clips, row.test_clips_unseen) == (2, 0, 20)


def test_labels_of_over_a_hundred_classes_are_left_out_and_no_fewer():
    vectors = noise(808, 2)
    rows = [only(vectors, categories(np.arange(808) % n), *halves(808)) for n in (100, 101)]
    assert rows[0].skipped is None
    assert rows[1].skipped == "101 classes, over 100: it identifies clips, not classes"


def test_two_clips_for_each_class_are_enough():
    row = only(noise(40, 2), categories(list(range(10)) * 4), *halves(40))
    assert row.skipped is None


def test_no_labels_no_rows():
    clips = dataclasses.replace(clips_with(x=numbers([1.0, 2.0])), labels={})
    assert probe({"x": noise(2, 2)}, clips, *halves(2)) == []


# Many clips.


def test_no_more_clips_are_fitted_on_than_asked_for_and_it_is_said():
    """Sorted by class, so that a sample of the first clips would know one class alone."""
    kinds = np.concatenate([np.repeat([0, 1, 2], [600, 300, 100]), np.arange(100) % 3])
    vectors = noise(1100, 3) * 0.1 + np.eye(3)[kinds]
    train, test = np.arange(1000), np.arange(1000, 1100)
    row = only(vectors, categories(kinds), train, test, most_clips=50)
    assert (row.train_clips, row.train_clips_found, row.test_clips) == (50, 1000, 100)
    assert (row.classes, row.scores["x"]) == (3, 1.0)
    row = only(vectors, categories(kinds), train, test, most_clips=1000)
    assert (row.train_clips, row.train_clips_found) == (1000, 1000)


def test_a_sample_has_its_share_of_a_rare_class_however_the_clips_lie():
    rare = np.random.default_rng(0).permutation(np.arange(1200) % 40 == 0).astype(np.int32)
    for seed in range(20):
        row = only(noise(1200, 2), categories(rare), *halves(1200), most_clips=60, seed=seed)
        assert (row.classes, row.test_clips_unseen) == (2, 0)


@pytest.mark.parametrize(("count", "most"), [(150, 100), (101, 100), (1000, 7)])
def test_samples_are_spread_evenly(count, most):
    items = 3 * np.arange(count)
    found = probes.spread(items, most, np.random.default_rng(0))
    assert len(np.unique(found)) == most
    assert np.isin(found, items).all()
    assert (np.abs(found / 3 - (np.arange(most) + 0.5) * count / most) <= count / most + 1).all()
    assert (found != probes.spread(items, most, np.random.default_rng(1))).any()


def test_as_many_as_there_are_stay_as_they_are():
    items = np.asarray([4, 2, 9])
    assert probes.spread(items, 3, np.random.default_rng(0)).tolist() == [4, 2, 9]


def test_the_same_input_gives_the_same_rows():
    kinds, values = np.arange(400) % 4, noise(400, seed=3)
    clips = clips_with(kind=categories(kinds), value=numbers(values))
    means = {"x": noise(400, 6) + np.eye(4, 6)[kinds] + values[:, None]}

    def rows(seed):
        return probe(means, clips, *halves(400), most_clips=40, seed=seed)

    before = means["x"].copy()
    assert rows(0) == rows(0)
    np.testing.assert_array_equal(means["x"], before)
    for first, other in zip(rows(0), rows(1), strict=True):
        assert first.scores != other.scores


# What is around it.


def test_rows_go_through_json():
    clips = clips_with(
        kind=categories(np.arange(40) % 2), one=categories([0] * 40), value=numbers(noise(40))
    )
    rows = [dataclasses.asdict(row) for row in probe({"x": noise(40, 2)}, clips, *halves(40))]
    back = json.loads(json.dumps(rows, allow_nan=False))
    assert [row["label"] for row in back] == ["kind", "one", "value"]
    assert [row["measure"] for row in back] == ["accuracy", "accuracy", "R²"]
    assert back[1]["scores"] == {"x": None}


def test_without_scikit_learn_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    message = r"^probes need scikit-learn: pip install 'aejax\[probes\]'$"
    with pytest.raises(UserError, match=message):
        probes.require_sklearn()
    with pytest.raises(UserError, match=message):
        probe({"x": noise(2, 2)}, clips_with(x=numbers([1.0, 2.0])), *halves(2))
