"""What is linear, and is measured beside the model: PCA, alone and with its decoder in context."""

from typing import NamedTuple

from aejax.evaluation.evaluate import Evaluator, LatentCodec, decode, encode
from aejax.models.pca import PCA, ContextPCA
from aejax.prepare import Experiment
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar
from aejax.training import pca_fit


class Baselines(NamedTuple):
    """PCA of an experiment's training split.

    Attributes:
      fit: PCA, and the mean and scale of features.
      context: PCA with its best decoder in context; None where the model's decoder sees one latent
        frame at a time.
      validation_rmse: of PCA's features on the validation split, in their unit.
    """

    fit: pca_fit.Fit
    context: ContextPCA | None
    validation_rmse: float


def fit_pca(
    experiment: Experiment, larger: Baselines | None = None, same: Baselines | None = None
) -> Baselines:
    """PCA of the training split, from noisy to clean sound where noise is to be taken away; an
    earlier fit of the same run is read instead.

    Args:
      experiment: of the run.
      larger: of a run on the same audio with at least as many latents, which has this PCA in it.
      same: of a run on the same audio with the same number of latents.
    """
    fit = _pca(experiment, None if larger is None else larger.fit)
    context = _context(experiment, fit.pca, None if same is None else same.context)
    if same is not None:
        return Baselines(fit, context, same.validation_rmse)
    codec = LatentCodec("pca", encode, decode, experiment.devices.copy(fit.pca), None)
    evaluator = Evaluator.of(experiment, fit.mean)
    return Baselines(fit, context, evaluator.feature_rmse(codec, experiment.batches("validation")))


def _pca(experiment: Experiment, larger: pca_fit.Fit | None) -> pca_fit.Fit:
    path, latent_dim = experiment.workdir.path / "pca.npz", experiment.config.model.latent_dim
    if not path.exists() and larger is not None:
        pca_fit.save(path, larger._replace(pca=larger.pca.first(latent_dim)))
    if not path.exists():
        batches = experiment.batches("train")
        fitted = pca_fit.fit(
            bar(batches, desc="fitting PCA", unit="batch"),
            representation=experiment.representation,
            downsampling=experiment.downsampling,
            latent_dim=latent_dim,
            place=experiment.devices.place,
            hear=experiment.hear,
            held_out=experiment.batches("validation"),
        )
        pca_fit.save(path, fitted)
    fitted = pca_fit.load(
        path,
        downsampling=experiment.downsampling,
        bins=experiment.representation.bins,
        latent_dim=latent_dim,
    )
    if experiment.denoises and fitted.pca.analysis is None:
        raise UserError(
            f"{path} was fitted without noise, by an earlier aejax; delete it to fit anew"
        )
    return fitted


def _context(experiment: Experiment, pca: PCA, same: ContextPCA | None) -> ContextPCA | None:
    """The best linear decoder of PCA's latents from as many of them as the model's decoder sees."""
    before, after = (
        int(min(steps, _FARTHEST)) for steps in experiment.model.decoder.receptive_field
    )
    if before == after == 0 or experiment.denoises:
        return None
    path = experiment.workdir.path / "pca_context.npz"
    if not path.exists() and same is not None:
        pca_fit.save_context(path, same)
    if not path.exists():
        fitted = pca_fit.fit_context(
            bar(experiment.batches("train"), desc="fitting PCA in context", unit="batch"),
            experiment.batches("validation"),
            pca,
            representation=experiment.representation,
            before=before,
            after=after,
            place=experiment.devices.place,
        )
        pca_fit.save_context(path, fitted)
    return pca_fit.load_context(path, pca)


# Latent frames on either side that the linear decoder in context sees at most: those farther away
# add less than they cost to find, and some models see all there are.
_FARTHEST = 4
