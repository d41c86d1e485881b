"""What a model does on the validation split: the same objective, and signs of collapse."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aejax.augmentations import Noise
from aejax.augmentations.measuring import LATENTS_USE, evaluation_input, window_keys
from aejax.models import autoencoder
from aejax.models.autoencoder import Variables
from aejax.objective import Objective, compare
from aejax.representations import Representation, analyse_blocks
from aejax.runtime.errors import UserError

# As far on as any warm-up goes: a loss is not the lower for being early.
_LATE = 2**30

Sums = Mapping[str, Any]
EvalStep = Callable[[Variables, dict[str, jax.Array]], Sums]

# A latent whose mean varies less than this has nothing to say: Burda, Grosse and Salakhutdinov,
# "Importance weighted autoencoders", 2016, section 5.2, call the others active.
_LEAST_VARIANCE = {"vae": 1e-2}
_CONSTANT = 1e-6


class Validation(NamedTuple):
    """What was found on the split.

    Attributes:
      loss: the whole objective, with the bottleneck's part at its full weight.
      terms: of it, by name.
      feature_rmse: in the features' unit.
      variances: of each latent, ``[latent_dim]``.
      means: of each latent, ``[latent_dim]``.
      code_counts: how often each code occurred, ``[codebooks, entries]``; None without codes.
    """

    loss: float
    terms: dict[str, float]
    feature_rmse: float
    variances: np.ndarray
    means: np.ndarray
    code_counts: np.ndarray | None

    def first(self, latent_dim: int) -> "Validation":
        """The same of the first so many latents: a model in a population may have more."""
        return self._replace(variances=self.variances[:latent_dim], means=self.means[:latent_dim])


def make_eval_step(
    representation: Representation,
    model: autoencoder.Autoencoder,
    objective: Objective,
    *,
    downsampling: int,
    noise: Noise | None,
) -> EvalStep:
    """Sums over a batch, as a pure function, to be compiled once.

    ``noise``: that is to be taken away, where any is.
    """
    denoises = noise is not None
    sizes = model.bottleneck.codebook_sizes

    def eval_step(variables: Variables, batch: dict[str, jax.Array]) -> Sums:
        audio, length = batch["audio"], batch["length"]
        heard = evaluation_input(batch, noise=noise)
        features, mask, block_mask = analyse_blocks(representation, audio, length, downsampling)
        seen = representation.analyse(heard) if denoises else features
        speaker = batch.get("speaker")
        output = learnt = autoencoder.forward(
            model, variables, seen, block_mask, train=False, key=None, speaker=speaker
        )
        if model.bottleneck.random:
            # By the window, so that validations differ by the variables alone.
            keys = window_keys(batch["clip"], batch["start"], LATENTS_USE)
            learnt = _row_by_row(model, variables, seen, block_mask, keys, speaker)
        constants = variables["constants"]
        compared = compare(
            learnt.features,
            features,
            mask,
            audio,
            length,
            constants,
            heard if denoises else None,
        )
        terms, counts = objective.terms_and_counts(compared, constants)
        there = block_mask.astype(jnp.float32)[..., None]
        blocks = there.sum()
        terms |= learnt.losses
        counts |= dict.fromkeys(learnt.losses, blocks)
        squared = jnp.where(mask, jnp.square(output.features - features).mean(-1), 0.0).sum()
        means = (output.latents * there).sum((0, 1)) / jnp.maximum(blocks, 1)
        spread = jnp.square(output.latents - means[None, None]) * there
        sums = {
            "frames": mask.sum(),
            "blocks": blocks,
            "terms": {name: value * counts[name] for name, value in terms.items()},
            "counts": counts,
            "squared_error": squared,
            # About the batch's own means: small variances of large latents survive float32.
            "spread": spread.sum((0, 1)),
            "means": means,
        }
        if sizes:
            codes = autoencoder.codes(model, variables, seen)
            sums["code_counts"] = count_codes(codes, block_mask, max(sizes))
        return sums

    return eval_step


def _row_by_row(
    model: autoencoder.Autoencoder,
    variables: Variables,
    seen: jax.Array,
    mask: jax.Array,
    keys: jax.Array,
    speaker: jax.Array | None,
) -> autoencoder.Output:
    """What a model makes of each row by a key of its own; losses are means over latent frames."""

    def of_row(
        seen: jax.Array, mask: jax.Array, key: jax.Array, speaker: jax.Array | None
    ) -> autoencoder.Output:
        speaker = None if speaker is None else speaker[None]
        return autoencoder.forward(
            model, variables, seen[None], mask[None], train=False, key=key, speaker=speaker
        )

    rows = jax.vmap(of_row)(seen, mask, keys, speaker)
    blocks = mask.sum(1).astype(jnp.float32)
    losses = {
        name: (value * blocks).sum() / jnp.maximum(blocks.sum(), 1)
        for name, value in rows.losses.items()
    }
    return autoencoder.Output(rows.features[:, 0], rows.latents[:, 0], losses, {})


def count_codes(codes: jax.Array, mask: jax.Array, most: int) -> jax.Array:
    """How often each code occurs in each codebook, ``[codebooks, most]``, of ``[batch,
    latent_frames, codebooks]``, in the latent frames that count."""
    weight = mask.reshape(-1).astype(jnp.float32)
    codes = codes.reshape(-1, codes.shape[-1])
    return jax.vmap(lambda column: jax.ops.segment_sum(weight, column, most))(codes.T)


def validate(
    eval_step: EvalStep,
    variables: Variables,
    batches: Iterable[Any],
    place: Callable[[Any], dict[str, jax.Array]],
    weights: Mapping[str, float],
) -> Validation:
    """The sums of all batches, in float64 on the host, made into means.

    Args:
      eval_step: compiled.
      variables: of the model.
      batches: of the split.
      place: puts a batch on the devices.
      weights: of the terms in the loss, by name.

    Raises:
      UserError: nothing of the split can be read any more.
    """
    total: Any = None
    for batch in batches:
        sums = jax.tree.map(
            lambda x: np.asarray(x, np.float64), jax.device_get(eval_step(variables, place(batch)))
        )
        means, blocks = sums.pop("means"), sums["blocks"]
        sums["latents"], sums["squared_means"] = blocks * means, blocks * np.square(means)
        total = sums if total is None else jax.tree.map(np.add, total, sums)
    if total is None or not total["frames"]:
        raise UserError("no clip of the split can be read any more; put the audio back")
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
    """Of all terms, by name, with the bottleneck's part after any warm-up."""
    more = model.bottleneck.weights(jnp.int32(_LATE))
    return {name: float(weight) for name, weight in {**objective.weights, **more}.items()}


def collapsed(found: Validation, bottleneck: str, sizes: tuple[int, ...]) -> list[str]:
    """What has collapsed, a line each, with the key to change."""
    lines = []
    # Against the largest of all latents, or its own mean: of rounding alone.
    rounding = _CONSTANT * np.maximum(found.variances.max(), np.square(found.means))
    idle = np.flatnonzero(found.variances <= _LEAST_VARIANCE.get(bottleneck, rounding))
    if bottleneck == "vae" and len(idle) == len(found.variances):
        lines.append(
            "the KL divergence is at zero, no latent says anything: lower model.vae.kl_weight, or"
            " raise model.vae.free_bits"
        )
    elif len(idle):
        key = "model.vae.kl_weight" if bottleneck == "vae" else "model.latent_dim"
        lines.append(f"{_listed('latent', idle)} constant on the validation split: lower {key}")
    if found.code_counts is not None:
        most = found.code_counts.max(1) / np.maximum(found.code_counts.sum(1), 1)
        dead = np.flatnonzero(most > 0.999)
        if len(dead):
            key = "model.fsq.bound" if bottleneck == "fsq" else f"model.{bottleneck}.dead_share"
            way = "lower" if bottleneck == "fsq" else "raise"
            of = " or ".join(str(size) for size in sorted({sizes[index] for index in dead}))
            lines.append(f"{_listed('codebook', dead)} down to one code out of {of}: {way} {key}")
    return lines


def _listed(noun: str, indices: np.ndarray) -> str:
    """ "latents 1, 2 and 9 more are": counted from 1, at most five by number."""
    shown = ", ".join(str(index + 1) for index in indices[:5])
    rest = f" and {len(indices) - 5} more" if len(indices) > 5 else ""
    many = len(indices) > 1
    return f"{noun}{'s' if many else ''} {shown}{rest} {'are' if many else 'is'}"
