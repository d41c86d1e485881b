"""Linear baselines: PCA, and PCA with context in the decoder."""

from typing import NamedTuple

from aejax.evaluation.evaluate import Evaluator, LatentCodec, decode, encode
from aejax.models.pca import PCA, ContextPCA
from aejax.prepare import Experiment
from aejax.runtime import processes
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar
from aejax.training import pca_fit


class Baselines(NamedTuple):
    """Linear baselines, fitted on the training split.

    Attributes:
      fit: PCA, and the mean and scale of features.
      context: PCA with context in the decoder; None if the model's decoder has no context, and for
        denoising.
      validation_rmse: RMSE of PCA's features on the validation split, in their unit.
    """

    fit: pca_fit.Fit
    context: ContextPCA | None
    validation_rmse: float


def fit_pca(
    experiment: Experiment, larger: Baselines | None = None, same: Baselines | None = None
) -> Baselines:
    """Fits the baselines, or reads those that the run has saved. For denoising, PCA is fitted from
    noisy to clean blocks.

    Args:
      experiment: the run's experiment.
      larger: baselines on the same audio with at least as many latents; their first ones are used.
      same: baselines on the same audio with the same number of latents; their context is used.
    """
    fit = _pca(experiment, None if larger is None else larger.fit)
    context = _context(experiment, fit.pca, None if same is None else same.context)
    if same is not None:
        return Baselines(fit, context, same.validation_rmse)
    codec = LatentCodec("pca", encode, decode, experiment.devices.copy(fit.pca), None)
    evaluator = Evaluator.of(experiment, fit.mean)
    return Baselines(
        fit, context, evaluator.feature_rmse(codec, experiment.batches("validation", own=True))
    )


def _pca(experiment: Experiment, larger: pca_fit.Fit | None) -> pca_fit.Fit:
    path, latent_dim = experiment.workdir.path / "pca.npz", experiment.config.model.latent_dim
    exists = processes.agree(path.exists())
    if not exists and larger is not None:
        pca_fit.save(path, larger._replace(pca=larger.pca.first(latent_dim)))
    elif not exists:
        batches = experiment.batches("train", own=True)
        fitted = pca_fit.fit(
            bar(batches, desc="fitting PCA", unit="batch"),
            representation=experiment.representation,
            downsampling=experiment.downsampling,
            latent_dim=latent_dim,
            device_put=experiment.devices.device_put,
            add_noise=experiment.add_noise,
            held_out=experiment.batches("validation", own=True),
        )
        pca_fit.save(path, fitted)
    processes.wait()
    fitted = pca_fit.load(
        path,
        downsampling=experiment.downsampling,
        bins=experiment.representation.bins,
        latent_dim=latent_dim,
    )
    if experiment.denoises and fitted.pca.analysis is None:
        raise UserError(
            f"{path} was fitted without noise, by an earlier aejax; delete it to fit PCA again"
        )
    return fitted


def _context(experiment: Experiment, pca: PCA, same: ContextPCA | None) -> ContextPCA | None:
    """PCA with as much context in its linear decoder as the model's decoder has."""
    before, after = (
        int(min(steps, _FARTHEST)) for steps in experiment.model.decoder.receptive_field
    )
    if before == after == 0 or experiment.denoises:
        return None
    path = experiment.workdir.path / "pca_context.npz"
    exists = processes.agree(path.exists())
    if not exists and same is not None:
        pca_fit.save_context(path, same)
    elif not exists:
        fitted = pca_fit.fit_context(
            bar(experiment.batches("train", own=True), desc="fitting PCA in context", unit="batch"),
            experiment.batches("validation", own=True),
            pca,
            representation=experiment.representation,
            before=before,
            after=after,
            device_put=experiment.devices.device_put,
        )
        pca_fit.save_context(path, fitted)
    processes.wait()
    return pca_fit.load_context(path, pca)


# Most context, in latent frames on either side: more costs more to fit than it gains, and the
# receptive field of some models is unbounded.
_FARTHEST = 4
