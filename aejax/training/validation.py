"""Validation: the objective on the validation split, and detection of collapse."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.augmentations import Noise
from aejax.augmentations.measuring import LATENTS_USE, evaluation_input, window_keys
from aejax.models import autoencoder
from aejax.models.autoencoder import Variables, standardise
from aejax.objective import Comparison, Objective
from aejax.representations import Representation, analyse_blocks
from aejax.runtime import processes
from aejax.runtime.errors import UserError
from aejax.signal.indexing import segment_sum

# A step after any warm-up, so that losses of all steps are comparable.
_LATE = 2**30

Sums = Mapping[str, Any]
EvalStep = Callable[[Variables, dict[str, jax.Array]], Sums]

# A latent whose mean varies less than this is inactive: Burda, Grosse and Salakhutdinov,
# "Importance weighted autoencoders", 2016, section 5.2.
_LEAST_VARIANCE = {"vae": 1e-2}
_CONSTANT = 1e-6


class Validation(NamedTuple):
    """Results on a split.

    Attributes:
      loss: the objective, with the bottleneck's losses at their final weight.
      terms: the unweighted losses, by name.
      feature_rmse: RMSE in the features' unit.
      variances: variance of each latent, ``[latent_dim]``.
      means: mean of each latent, ``[latent_dim]``.
      code_counts: occurrences of each code, ``[codebooks, entries]``; None without codes.
    """

    loss: float
    terms: dict[str, float]
    feature_rmse: float
    variances: np.ndarray
    means: np.ndarray
    code_counts: np.ndarray | None

    def first(self, latent_dim: int) -> "Validation":
        """A copy without the latents that pad a model in a population."""
        return self._replace(variances=self.variances[:latent_dim], means=self.means[:latent_dim])


def make_eval_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    objective: Objective,
    *,
    downsampling: int,
    noise: Noise | None,
) -> EvalStep:
    """A pure function that evaluates one batch.

    Args:
      representation: of the audio.
      model: without variables.
      objective: to evaluate.
      downsampling: frames in a block.
      noise: for denoising, the noise to add to the input; otherwise None.
    """
    denoises = noise is not None
    sizes = model.bottleneck.codebook_sizes

    def eval_step(variables: Variables, batch: dict[str, jax.Array]) -> Sums:
        audio, length, constants = batch["audio"], batch["length"], variables["constants"]
        noisy_audio = evaluation_input(batch, noise=noise)
        features, mask, block_mask = analyse_blocks(representation, audio, length, downsampling)
        encoder_input = representation.analyse(noisy_audio) if denoises else features
        x, target = (standardise(y, constants) for y in (encoder_input, features))
        speaker = batch.get("speaker")
        output = sampled = autoencoder.forward(
            model, variables, x, block_mask, train=False, key=None, speaker=speaker
        )
        if model.bottleneck.random:
            # Keys depend on windows only, so that all validations draw alike.
            keys = window_keys(batch["clip"], batch["start"], LATENTS_USE)
            sampled = _row_by_row(model, variables, x, block_mask, keys, speaker)
        compared = Comparison(
            sampled.features, target, mask, audio, length, noisy_audio if denoises else None
        )
        terms, counts = objective.terms_and_counts(compared, constants)
        squared = jnp.where(mask, jnp.square(output.features - target).mean(-1), 0.0).sum()
        latent_sums = _latent_sums(output.latents, block_mask)
        terms |= sampled.losses
        counts |= dict.fromkeys(sampled.losses, latent_sums["blocks"])
        sums = {
            "frames": mask.sum(),
            "terms": {name: value * counts[name] for name, value in terms.items()},
            "counts": counts,
            "squared_error": squared * jnp.square(constants["scale"]),
            **latent_sums,
        }
        if sizes:
            codes = autoencoder.codes(model, variables, encoder_input)
            sums["code_counts"] = count_codes(codes, block_mask, max(sizes))
        return sums

    return eval_step


def _latent_sums(latents: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """The number of valid latent frames, the mean of each latent, and the sum of squared deviations
    from this mean, which keeps small variances of large latents precise in float32."""
    weight = mask.astype(jnp.float32)[..., None]
    blocks = weight.sum()
    means = (latents * weight).sum((0, 1)) / jnp.maximum(blocks, 1)
    spread = jnp.square(latents - means[None, None]) * weight
    return {"blocks": blocks, "means": means, "spread": spread.sum((0, 1))}


def _row_by_row(
    model: autoencoder.Autoencoder,
    variables: Variables,
    x: jax.Array,
    mask: jax.Array,
    keys: jax.Array,
    speaker: jax.Array | None,
) -> autoencoder.Output:
    """The output with one random key per row; losses are means over latent frames."""

    def of_row(
        x: jax.Array, mask: jax.Array, key: jax.Array, speaker: jax.Array | None
    ) -> autoencoder.Output:
        speaker = None if speaker is None else speaker[None]
        return autoencoder.forward(
            model, variables, x[None], mask[None], train=False, key=key, speaker=speaker
        )

    rows = jax.vmap(of_row)(x, mask, keys, speaker)
    blocks = mask.sum(1).astype(jnp.float32)
    losses = {
        name: (value * blocks).sum() / jnp.maximum(blocks.sum(), 1)
        for name, value in rows.losses.items()
    }
    return autoencoder.Output(rows.features[:, 0], rows.latents[:, 0], losses, {})


def count_codes(codes: jax.Array, mask: jax.Array, most: int) -> jax.Array:
    """Occurrences of each code in valid latent frames, ``[codebooks, most]``; ``codes``: ``[batch,
    latent_frames, codebooks]``."""
    weight = mask.reshape(-1).astype(jnp.float32)
    codes = codes.reshape(-1, codes.shape[-1])
    return jax.vmap(lambda column: segment_sum(weight, column, most))(codes.T)


def validate(
    eval_step: EvalStep,
    variables: Variables,
    batches: Iterable[Any],
    device_put: Callable[[Any], dict[str, jax.Array]],
    weights: Mapping[str, float],
) -> Validation:
    """Results over all batches, summed in float64 on the host.

    Args:
      eval_step: compiled function.
      variables: variables of the model.
      batches: batches of the split.
      device_put: puts a batch on the devices.
      weights: weight of each loss by name.

    Raises:
      UserError: no clip of the split is readable.
    """
    total: Any = None
    for batch in batches:
        sums = jax.tree.map(
            lambda x: np.asarray(x, np.float64),
            jax.device_get(eval_step(variables, device_put(batch))),
        )
        means, blocks = sums.pop("means"), sums["blocks"]
        sums["latents"], sums["squared_means"] = blocks * means, blocks * np.square(means)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    total = None if total is None else processes.total(total)
    if total is None or not total["frames"]:
        raise UserError("no clip of this split is readable; restore the files")
    terms = {
        name: float(value / max(total["counts"][name], 1)) for name, value in total["terms"].items()
    }
    means = total["latents"] / total["blocks"]
    between = np.maximum(total["squared_means"] / total["blocks"] - np.square(means), 0)
    return Validation(
        loss=sum(weights[name] * value for name, value in terms.items()),
        terms=terms,
        feature_rmse=float(np.sqrt(total["squared_error"] / total["frames"])),
        variances=total["spread"] / total["blocks"] + between,
        means=means,
        code_counts=total.get("code_counts"),
    )


def final_weights(objective: Objective, model: autoencoder.Autoencoder) -> dict[str, float]:
    """Weights of all losses by name, after any warm-up."""
    bottleneck = model.bottleneck.weights(jnp.int32(_LATE))
    return {name: float(weight) for name, weight in {**objective.weights, **bottleneck}.items()}


# Relative to PCA's error, and to the scale of the features.
_ROUNDING = 1e-2, 1e-4


def not_pca(rmse: float, pca_rmse: float, scale: float, bottleneck: str) -> list[str]:
    """A message if the error before the first step differs from that of PCA; otherwise none.

    Args:
      rmse: RMSE of features on the validation split, before the first step.
      pca_rmse: that of PCA.
      scale: standard deviation of the features.
      bottleneck: ``config.model.bottleneck``.
    """
    relative, absolute = _ROUNDING
    if abs(rmse - pca_rmse) <= relative * pca_rmse + absolute * scale:
        return []
    why = "" if bottleneck == "none" else f", since model.bottleneck={bottleneck} changes latents"
    line = f"step 0 is not PCA{why}: its validation error is {rmse:.4g}, that of PCA {pca_rmse:.4g}"
    return [line]


def collapsed(result: Validation, bottleneck: str, sizes: tuple[int, ...]) -> list[str]:
    """Messages about collapsed latents and codebooks, with the config key to change."""
    lines = []
    # Smaller variances, relative to the largest one or to the mean, are rounding errors.
    rounding = _CONSTANT * np.maximum(result.variances.max(), np.square(result.means))
    constant = np.flatnonzero(result.variances <= _LEAST_VARIANCE.get(bottleneck, rounding))
    if bottleneck == "vae" and len(constant) == len(result.variances):
        lines.append(
            "the KL divergence is at zero, no latent is active: lower model.vae.kl_weight, or raise"
            " model.vae.free_bits"
        )
    elif len(constant):
        key = "model.vae.kl_weight" if bottleneck == "vae" else "model.latent_dim"
        lines.append(f"{_listed('latent', constant)} constant on the validation split: lower {key}")
    if result.code_counts is not None:
        most = result.code_counts.max(1) / np.maximum(result.code_counts.sum(1), 1)
        dead = np.flatnonzero(most > 0.999)
        if len(dead):
            key = (
                "model.fsq.bound"
                if bottleneck == "fsq"
                else f"model.{bottleneck}.dead_code_threshold"
            )
            verb = "lower" if bottleneck == "fsq" else "raise"
            entries = " or ".join(str(size) for size in sorted({sizes[index] for index in dead}))
            lines.append(
                f"{_listed('codebook', dead)} down to one code out of {entries}: {verb} {key}"
            )
    return lines


def _listed(noun: str, indices: np.ndarray) -> str:
    """ "latents 1, 2 and 9 more are": counted from 1, at most five by number."""
    shown = ", ".join(str(index + 1) for index in indices[:5])
    rest = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    many = len(indices) > 1
    return f"{noun}{'s' if many else ''} {shown}{rest} {'are' if many else 'is'}"
