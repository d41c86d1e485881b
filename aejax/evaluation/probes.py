"""Linear probes: how well each label of a clip is predicted from its mean latent.

A probe is a standardised linear model, fitted on training clips, measured on test clips (Alain and
Bengio, "Understanding intermediate layers using linear classifier probes", 2016). Its input is the
mean over a clip's frames, so changes within a clip are ignored. Its penalty is the same for all:
with few clips for each dimension it overfits, and a larger source can score lower than a smaller
one that is computed from it.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aejax.data.table import Clips, Column
from aejax.evaluation.evaluate import LatentCodec, analyse, identity, latents_of
from aejax.prepare import Experiment
from aejax.representations import valid_frames
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar

# A label with more classes than this identifies clips, not classes; as in `per_clip_errors`.
_MOST_CLASSES = 100
_PENALTIES = 10.0 ** np.arange(-2, 7)
# Several times the iterations for 20,000 clips of smooth spectra.
_MOST_ITERATIONS = 2000


class ClipMeans:
    """The mean over the frames of each clip, accumulated in float64 on the host.

    A clip that was never added takes no memory until `means` is called.

    Args:
      clips: how many the corpus has.
      dims: of a frame.
    """

    def __init__(self, clips: int, dims: int):
        self._frames = np.zeros(clips, np.int64)
        self._sums = np.zeros((clips, dims))

    def add(
        self,
        vectors: Float[np.ndarray, "batch time dims"],
        mask: Bool[np.ndarray, "batch time"],
        clip: Int[np.ndarray, " batch"],
    ) -> None:
        """Adds the valid frames of a batch.

        Args:
          vectors: frames of features or latents.
          mask: of valid frames.
          clip: index of each row's clip, -1 for padding rows. A clip may have several rows and
            batches.
        """
        is_clip = clip >= 0
        sums = vectors.sum(1, dtype=np.float64, where=mask[..., None])
        np.add.at(self._sums, clip[is_clip], sums[is_clip])
        np.add.at(self._frames, clip[is_clip], mask[is_clip].sum(1))

    @property
    def seen(self) -> Bool[np.ndarray, " clips"]:
        """Whether each clip has a valid frame."""
        return self._frames > 0

    def means(self) -> Float[np.ndarray, "clips dims"]:
        """The mean of each clip, float32; NaN for clips without a valid frame."""
        means = np.full(self._sums.shape, np.nan, np.float32)
        valid = self.seen[:, None]
        np.divide(self._sums, self._frames[:, None], out=means, where=valid, casting="same_kind")
        return means


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """Scores of the probes of one label.

    Attributes:
      label: its name.
      measure: "accuracy" of categories, a fraction; "R²" of numbers, 1 at best, below 0 for
        predictions worse than the mean.
      classes: among the clips of the fit; None for numbers.
      train_clips: used for the fit.
      train_clips_found: training clips that have the label; more than ``train_clips`` where those
        are a sample.
      test_clips: scored.
      test_clips_unseen: left out, because no clip of the fit is of their class.
      chance: score of a constant prediction: the accuracy of the most frequent class of the fit, or
        R² 0. None where the label was skipped.
      scores: by source, None where the label was skipped.
      unconverged: sources whose fit reached the iteration limit; their score may be too low.
      skipped: why there is no score, or None.
    """

    label: str
    measure: str
    classes: int | None
    train_clips: int
    train_clips_found: int
    test_clips: int
    test_clips_unseen: int
    chance: float | None
    scores: dict[str, float | None]
    unconverged: tuple[str, ...] = ()
    skipped: str | None = None


def require_sklearn() -> None:
    """Checks that scikit-learn is installed, before a long computation.

    Raises:
      UserError: it is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise UserError("probes need scikit-learn: pip install 'aejax[probes]'") from None


def probe(
    means: Mapping[str, Float[np.ndarray, "clips _dims"]],
    clips: Clips,
    train: Int[np.ndarray, " train"],
    test: Int[np.ndarray, " test"],
    *,
    most_clips: int = 20_000,
    seed: int = 0,
) -> list[ProbeRow]:
    """Probes every label of the corpus from each source; deterministic.

    Args:
      means: by source, a vector for each clip of the corpus. Clips that are not finite in any
        source are left out of all.
      clips: with their labels. Clips without a label are left out of its row.
      train, test: indices of clips.
      most_clips: most training clips of a fit, spread evenly over the label's values.
      seed: of their choice.

    Returns:
      A row for each label, also for skipped ones.

    Raises:
      UserError: scikit-learn is not installed.
    """
    require_sklearn()
    usable = np.all([np.isfinite(vectors).all(1) for vectors in means.values()], axis=0)
    train, test = train[usable[train]], test[usable[test]]
    return [
        _row(label, column, means, train, test, most_clips, np.random.default_rng(seed))
        for label, column in clips.labels.items()
    ]


def _row(
    label: str,
    column: Column,
    means: Mapping[str, np.ndarray],
    train: np.ndarray,
    test: np.ndarray,
    most_clips: int,
    rng: np.random.Generator,
) -> ProbeRow:
    present, values = column.there(), column.values
    train, test = train[present[train]], test[present[test]]
    fitted = spread(train[np.argsort(values[train], kind="stable")], most_clips, rng)
    classes = None if column.categories is None else np.unique(values[fitted])
    known = test if classes is None else test[np.isin(values[test], classes)]
    row = ProbeRow(
        label=label,
        measure="R²" if classes is None else "accuracy",
        classes=None if classes is None else len(classes),
        train_clips=len(fitted),
        train_clips_found=len(train),
        test_clips=len(known),
        test_clips_unseen=len(test) - len(known),
        chance=None,
        scores=dict.fromkeys(means),
    )
    reason = _why_not(row, values[fitted], values[known])
    if reason:
        return dataclasses.replace(row, skipped=reason)
    score_of = _accuracy if classes is not None else _r_squared
    results = {
        name: score_of(vectors[fitted], values[fitted], vectors[known], values[known])
        for name, vectors in means.items()
    }
    return dataclasses.replace(
        row,
        chance=0.0 if classes is None else _majority(values[fitted], values[known]),
        scores={name: score for name, (score, _) in results.items()},
        unconverged=tuple(name for name, (_, converged) in results.items() if not converged),
    )


def spread(items: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``most`` of the items, in order: a random item of each of ``most`` equal segments."""
    if len(items) <= most:
        return items
    edges = np.arange(most + 1) * len(items) // most
    return items[rng.integers(edges[:-1], edges[1:])]


def _why_not(row: ProbeRow, train: np.ndarray, test: np.ndarray) -> str | None:
    """Why a label with these values cannot be probed, or None."""
    if not len(train):
        return "no usable training clip has it"
    if row.classes == 1:
        return "all training clips are of one class"
    if row.classes is not None and row.classes > _MOST_CLASSES:
        return f"{row.classes} classes, over {_MOST_CLASSES}: it tells clips apart, not kinds"
    if row.classes is not None and len(train) < 2 * row.classes:
        return f"{row.classes} classes in {len(train)} training clips: it tells clips apart"
    if not len(test) and row.test_clips_unseen:
        return "no class of a test clip is in training"
    if not len(test):
        return "no usable test clip has it"
    if row.classes is None and train.min() == train.max():
        return "all training clips have the same value"
    if row.classes is None and test.min() == test.max():
        return "all test clips have the same value"
    return None


def _majority(train: np.ndarray, test: np.ndarray) -> float:
    """Accuracy of the most frequent class of ``train``; the first of equally frequent classes."""
    return float(np.mean(test == np.argmax(np.bincount(train))))


def _accuracy(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> tuple[float, bool]:
    """Accuracy of logistic regression, ``C = 1``, and whether its fit converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=_MOST_ITERATIONS)
    with warnings.catch_warnings():
        # The row reports it. A fit at the precision of float32 has converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = _standardised(model).fit(x_train.astype(np.float32), y_train)
    score = np.mean(fitted.predict(x_test.astype(np.float32)) == y_test)
    return float(score), int(model.n_iter_.max()) < model.max_iter


def _r_squared(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> tuple[float, bool]:
    """R² of ridge regression on the test clips, and True: its fit has a closed form.

    ``1 - sum (y - ŷ)² / sum (y - mean y)²`` (``sklearn.metrics.r2_score``); the penalty is
    chosen by leave-one-out cross-validation on ``train``.
    """
    from sklearn.linear_model import RidgeCV

    # float64: thousands of nearly collinear bins are too close to singular for float32.
    model = RidgeCV(alphas=_PENALTIES)
    fitted = _standardised(model).fit(x_train.astype(np.float64), y_train)
    error = y_test - fitted.predict(x_test.astype(np.float64))
    deviation = y_test - y_test.mean()
    return float(1 - np.square(error).sum() / np.square(deviation).sum()), True


def _standardised(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(copy=False), model)


def probe_latents(experiment: Experiment, pca: LatentCodec, model: LatentCodec) -> list[ProbeRow]:
    """Scores of linear probes on time-averaged features and latents, by label."""
    features = LatentCodec("features", identity, identity, None, None)
    means = {codec.name: _clip_means(experiment, codec) for codec in (features, pca, model)}
    clips = experiment.corpus.clips
    return probe(means, clips, clips.of_split("train"), clips.of_split("test"))


def _clip_means(experiment: Experiment, codec: LatentCodec) -> np.ndarray:
    """Latents of each clip of the training and test splits, averaged over time."""
    totals = None
    for split in ("train", "test"):
        for batch in bar(experiment.batches(split), desc=f"probing {codec.name}", unit="batch"):
            placed = experiment.devices.place(batch)
            features = analyse(placed["audio"], representation=experiment.representation)
            latents = latents_of(codec, features)
            frames, representation = features.shape[1], experiment.representation
            mask = valid_frames(representation, placed["length"], frames, experiment.downsampling)
            valid = np.asarray(mask)[:, :: frames // latents.shape[1]]
            totals = totals or ClipMeans(len(experiment.corpus.clips), latents.shape[-1])
            totals.add(np.asarray(latents), valid, batch["clip"])
    assert totals is not None
    return totals.means()
