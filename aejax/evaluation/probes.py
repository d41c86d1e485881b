"""Linear probes: prediction of each label of a clip from its mean latent.

A probe is a standardised linear model, fitted on training clips, measured on test clips (Alain and
Bengio, "Understanding intermediate layers using linear classifier probes", 2016). Its input is the
mean over a clip's frames, so changes within a clip are ignored. With few clips per dimension it
overfits: features can then score lower than the latents that are computed from them.
"""

import dataclasses
import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Int

from aejax.data.table import Clips, Column
from aejax.evaluation.evaluate import LatentCodec, analyse, identity, latents_of
from aejax.prepare import Experiment
from aejax.representations import valid_frames
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar

# Labels with more classes identify clips, as in `per_clip_errors`.
_MOST_CLASSES = 100
# Several times what 20,000 clips of smooth spectra need.
_MOST_ITERATIONS = 2000


class ClipMeans:
    """Running mean over the frames of each clip, in float64 on the host.

    Unused clips take no memory until `means` is called.

    Args:
      clips: number of clips in the corpus.
      dims: size of a frame.
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
        """Adds the valid frames of a batch; ``clip``: index of each row's clip, -1 for padding."""
        is_clip = clip >= 0
        sums = vectors.sum(1, dtype=np.float64, where=mask[..., None])
        np.add.at(self._sums, clip[is_clip], sums[is_clip])
        np.add.at(self._frames, clip[is_clip], mask[is_clip].sum(1))

    @property
    def has_frames(self) -> Bool[np.ndarray, " clips"]:
        """Whether each clip has a valid frame."""
        return self._frames > 0

    def means(self) -> Float[np.ndarray, "clips dims"]:
        """The mean of each clip, float32; NaN for clips without a valid frame."""
        means = np.full(self._sums.shape, np.nan, np.float32)
        valid = self.has_frames[:, None]
        np.divide(self._sums, self._frames[:, None], out=means, where=valid, casting="same_kind")
        return means


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """Scores of the probes of one label.

    Attributes:
      label: its name.
      measure: "accuracy" for categories, "R²" for numbers.
      classes: number of classes in the fit; None for numbers.
      train_clips: number of clips in the fit.
      train_clips_found: number of training clips with the label; the fit may use a sample.
      test_clips: number of scored clips.
      test_clips_unseen: number of test clips left out because their class is not in the fit.
      chance: accuracy of the most frequent class of the fit, or R² 0; None if skipped.
      scores: score of each source; None if skipped.
      unconverged: sources whose fit reached the iteration limit; their score may be too low.
      skipped: reason for having no score, or None.
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
    """A row for each label of the corpus, including skipped ones; deterministic.

    Args:
      means: a vector for each clip of the corpus, by source. Clips are left out if a source is not
        finite.
      clips: clips with labels; clips without a label are left out of its row.
      train, test: indices of clips.
      most_clips: most training clips of a fit, spread evenly over the label's values.
      seed: seed of their choice.

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
    from sklearn.dummy import DummyClassifier

    present, y = column.present(), column.values
    labelled, test = train[present[train]], test[present[test]]
    train = spread(labelled[np.argsort(y[labelled], kind="stable")], most_clips, rng)
    classes = None if column.categories is None else np.unique(y[train])
    known = test if classes is None else test[np.isin(y[test], classes)]
    row = ProbeRow(
        label=label,
        measure="R²" if classes is None else "accuracy",
        classes=None if classes is None else len(classes),
        train_clips=len(train),
        train_clips_found=len(labelled),
        test_clips=len(known),
        test_clips_unseen=len(test) - len(known),
        chance=None,
        scores=dict.fromkeys(means),
    )
    reason = _skip_reason(row, y[train], y[known])
    if reason:
        return dataclasses.replace(row, skipped=reason)
    chance = 0.0
    if classes is not None:
        majority = DummyClassifier(strategy="most_frequent").fit(train, y[train])
        chance = float(majority.score(known, y[known]))
    fits = {
        name: _fit(x[train], y[train], x[known], y[known], classes is not None)
        for name, x in means.items()
    }
    return dataclasses.replace(
        row,
        chance=chance,
        scores={name: score for name, (score, _) in fits.items()},
        unconverged=tuple(name for name, (_, converged) in fits.items() if not converged),
    )


def spread(items: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """At most ``most`` of the items, in order: a random item of each of ``most`` equal segments."""
    if len(items) <= most:
        return items
    edges = np.arange(most + 1) * len(items) // most
    return items[rng.integers(edges[:-1], edges[1:])]


def _skip_reason(row: ProbeRow, train: np.ndarray, test: np.ndarray) -> str | None:
    """Reason why a label with these values is skipped, or None."""
    if not len(train):
        return "no usable training clip has it"
    if row.classes == 1:
        return "all training clips are of one class"
    if row.classes is not None and row.classes > _MOST_CLASSES:
        return f"{row.classes} classes, over {_MOST_CLASSES}: it identifies clips, not classes"
    if row.classes is not None and len(train) < 2 * row.classes:
        return f"{row.classes} classes in {len(train)} training clips: it identifies clips"
    if not len(test) and row.test_clips_unseen:
        return "no class of a test clip is in training"
    if not len(test):
        return "no usable test clip has it"
    if row.classes is None and train.min() == train.max():
        return "all training clips have the same value"
    if row.classes is None and test.min() == test.max():
        return "all test clips have the same value"
    return None


def _fit(
    x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, classify: bool
) -> tuple[float, bool]:
    """The test score of a standardised linear model, and whether its fit converged.

    Accuracy of logistic regression; or R² of ridge regression, whose penalty is chosen by
    leave-one-out cross-validation on the training clips.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # float64 for ridge: thousands of nearly collinear bins are too close to singular for float32.
    x_train, x_test = (x.astype(np.float32 if classify else np.float64) for x in (x_train, x_test))
    model = (
        LogisticRegression(max_iter=_MOST_ITERATIONS)
        if classify
        else RidgeCV(alphas=np.logspace(-2, 6, 9))
    )
    with warnings.catch_warnings():
        # Reported by the row instead; at float32 precision the warning may be wrong.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = make_pipeline(StandardScaler(copy=False), model).fit(x_train, y_train)
    converged = not classify or int(model.n_iter_.max()) < _MOST_ITERATIONS
    return float(probe.score(x_test, y_test)), converged


def probe_latents(experiment: Experiment, pca: LatentCodec, model: LatentCodec) -> list[ProbeRow]:
    """Linear probes of each label, on time-averaged features and latents."""
    features = LatentCodec("features", identity, identity, None, None)
    means = {codec.name: _clip_means(experiment, codec) for codec in (features, pca, model)}
    clips = experiment.corpus.clips
    return probe(means, clips, clips.of_split("train"), clips.of_split("test"))


def _clip_means(experiment: Experiment, codec: LatentCodec) -> np.ndarray:
    """Latents of each clip of the training and test splits, averaged over time."""
    totals = None
    for split in ("train", "test"):
        for batch in bar(experiment.batches(split), desc=f"probing {codec.name}", unit="batch"):
            placed = experiment.devices.device_put(batch)
            features = analyse(placed["audio"], representation=experiment.representation)
            latents = latents_of(codec, features)
            frames, representation = features.shape[1], experiment.representation
            mask = valid_frames(representation, placed["length"], frames, experiment.downsampling)
            valid = np.asarray(mask)[:, :: frames // latents.shape[1]]
            totals = totals or ClipMeans(len(experiment.corpus.clips), latents.shape[-1])
            totals.add(np.asarray(latents), valid, batch["clip"])
    assert totals is not None
    return totals.means()
