"""What the latents know: how well a linear probe reads each label of a clip from their mean.

A probe is a standardised linear model, fitted on training clips, measured on test clips (Alain and
Bengio, "Understanding intermediate layers using linear classifier probes", 2016). Its input is the
mean over a clip's frames, so what changes within a clip is not asked for. Its penalty is the same
for all: with few clips for each dimension it overfits, and a larger source can score lower than a
smaller one that is drawn from it.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from aejax.data.table import Clips, Column
from aejax.errors import UserError

# A label with more classes than this tells clips apart, not kinds; as in `by_clip`.
_MOST_CLASSES = 100
_PENALTIES = 10.0 ** np.arange(-2, 7)
# Several times what 20,000 clips of smooth spectra take.
_MOST_ITERATIONS = 2000


class ClipMeans:
    """The mean over the frames of each clip, gathered batch by batch, in float64 on the host.

    A clip that was never added takes no memory until `means` is called.

    Args:
      clips: how many there are in the corpus.
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
        """Adds the frames that count.

        Args:
          vectors: frames of features or latents.
          mask: which of them count.
          clip: whose they are, -1 for a row that only fills the batch. A clip may come in several
            rows and batches.
        """
        there = clip >= 0
        sums = vectors.sum(1, dtype=np.float64, where=mask[..., None])
        np.add.at(self._sums, clip[there], sums[there])
        np.add.at(self._frames, clip[there], mask[there].sum(1))

    @property
    def seen(self) -> Bool[np.ndarray, " clips"]:
        """The clips of which a frame counted."""
        return self._frames > 0

    def means(self) -> Float[np.ndarray, "clips dims"]:
        """The mean of each clip, float32; NaN for clips that were not seen."""
        means = np.full(self._sums.shape, np.nan, np.float32)
        seen = self.seen[:, None]
        np.divide(self._sums, self._frames[:, None], out=means, where=seen, casting="same_kind")
        return means


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """What was read of one label.

    Attributes:
      label: its name.
      measure: "accuracy" of categories, a fraction; "R²" of numbers, 1 at best, below 0 for what is
        worse than the mean.
      classes: among the clips fitted on; None for numbers.
      train_clips: fitted on.
      train_clips_found: training clips that have the label; more than were fitted on, where those
        are a sample.
      test_clips: measured on.
      test_clips_unseen: left out, because no clip fitted on is of their class.
      chance: what knowing nothing gives: the accuracy of the most frequent class of the clips
        fitted on, or R² 0. None where nothing was measured.
      scores: by source, None where nothing was measured.
      unconverged: sources whose fit was stopped before its end; their score may be too low.
      skipped: why nothing was measured, or None.
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
    """Asks for scikit-learn before anything long has run.

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
    """Reads every label of the corpus from each source; the same input gives the same rows.

    Args:
      means: by source, a vector for each clip of the corpus. Clips that are not finite in one of
        them, such as those that were not seen, are left out of all.
      clips: with their labels. Clips without a label are left out of its row.
      train, test: indices of clips.
      most_clips: of training clips are fitted on, spread evenly over the label's values.
      seed: of which.

    Returns:
      A row for each label, also for those that cannot be read.

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
    there, values = column.there(), column.values
    train, test = train[there[train]], test[there[test]]
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
    read = _accuracy if classes is not None else _r_squared
    found = {
        name: read(vectors[fitted], values[fitted], vectors[known], values[known])
        for name, vectors in means.items()
    }
    return dataclasses.replace(
        row,
        chance=0.0 if classes is None else _majority(values[fitted], values[known]),
        scores={name: score for name, (score, _) in found.items()},
        unconverged=tuple(name for name, (_, converged) in found.items() if not converged),
    )


def spread(items: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """No more than ``most`` of the items, in order: one, drawn at random, of each of as many equal
    stretches."""
    if len(items) <= most:
        return items
    edges = np.arange(most + 1) * len(items) // most
    return items[rng.integers(edges[:-1], edges[1:])]


def _why_not(row: ProbeRow, train: np.ndarray, test: np.ndarray) -> str | None:
    """Why a label with these values cannot be read, or None."""
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
    """Accuracy of the most frequent class of ``train``; of equally frequent ones, the first."""
    return float(np.mean(test == np.argmax(np.bincount(train))))


def _accuracy(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> tuple[float, bool]:
    """Of logistic regression, ``C = 1``: the fraction it gets right, and whether its fit came to
    an end."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1.0, max_iter=_MOST_ITERATIONS)
    with warnings.catch_warnings():
        # It is said in the row. What float32 cannot improve any more has come to its end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted = _standardised(model).fit(x_train.astype(np.float32), y_train)
    score = np.mean(fitted.predict(x_test.astype(np.float32)) == y_test)
    return float(score), int(model.n_iter_.max()) < model.max_iter


def _r_squared(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray
) -> tuple[float, bool]:
    """Of ridge regression, its penalty chosen by leaving out clips of ``train``, as
    ``1 - sum (y - ŷ)² / sum (y - mean y)²`` over the test clips (``sklearn.metrics.r2_score``);
    its fit has a closed form."""
    from sklearn.linear_model import RidgeCV

    # float64: thousands of bins that say nearly the same are too close to singular for float32.
    model = RidgeCV(alphas=_PENALTIES)
    fitted = _standardised(model).fit(x_train.astype(np.float64), y_train)
    error = y_test - fitted.predict(x_test.astype(np.float64))
    spread_out = y_test - y_test.mean()
    return float(1 - np.square(error).sum() / np.square(spread_out).sum()), True


def _standardised(model: Any) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(copy=False), model)
