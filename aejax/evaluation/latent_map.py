"""Statistics of latents: a map and explained variances for the report, and entropy coding."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from aejax.data.audio_file import UnusableAudio
from aejax.data.loader import why_lost
from aejax.evaluation import audio_examples, entropy_coding
from aejax.evaluation.entropy_coding import Statistics
from aejax.evaluation.evaluate import LatentCodec, analyse, apply, latents_of
from aejax.evaluation.probes import ClipMeans
from aejax.prepare import Experiment
from aejax.reporting import sound
from aejax.representations import valid_frames
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar

MOST_CLIPS = 200
_MOST_EXCERPTS = 5  # per clip
_SNIPPET_SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class LatentMap:
    """Mean latents of some test clips.

    Attributes:
      clips: indices in the corpus.
      means: float32 ``[clips, latent_dim]``, latents averaged over time.
      snippets: the beginning of each clip as FLAC, equally loud.
      variance: fractions explained by each latent, by codec; see `Explained`.
    """

    clips: list[int]
    means: np.ndarray
    snippets: list[bytes]
    variance: dict[str, np.ndarray]


class Explained:
    """The fraction of the features' variance that each latent explains by linear regression.

    For PCA this is the explained variance ratio of each component. Correlated latents of other
    codecs explain some of the same variance, so fractions may sum to more than 1. Non-linear
    relations are ignored.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[np.ndarray] = []

    def add(self, latents: np.ndarray, blocks: np.ndarray) -> None:
        """Adds latents ``[count, latent_dim]`` and their blocks of features ``[count, block]``."""
        z, x = latents.astype(np.float64), blocks.astype(np.float64)
        new = [z.sum(0), np.square(z).sum(0), x.sum(0), np.square(x).sum(0), z.T @ x]
        self._count += len(z)
        sums = self._sums or [np.zeros_like(part) for part in new]
        self._sums = [total + part for total, part in zip(sums, new, strict=True)]

    def fractions(self) -> np.ndarray:
        """The fractions, float32 ``[latent_dim]``."""
        z, zz, x, xx, zx = (part / self._count for part in self._sums)
        covariance = zx - np.outer(z, x)
        latent_variance, total = zz - z**2, (xx - x**2).sum()
        divisor = np.where(latent_variance > 1e-12, latent_variance, np.inf)
        explained = np.square(covariance).sum(1) / divisor
        return np.clip(explained / max(total, 1e-12), 0, 1).astype(np.float32)


def latent_map(experiment: Experiment, pca: LatentCodec, model: LatentCodec) -> LatentMap:
    """The latent map of up to `MOST_CLIPS` test clips, spread evenly over the split, from the first
    excerpts of each."""
    chosen = audio_examples.choose(experiment.corpus, MOST_CLIPS)
    explained = {codec.name: Explained() for codec in (pca, model)}
    means: ClipMeans | None = None
    for audio, lengths, clips in bar(_excerpts(experiment, chosen), desc="latents", unit="batch"):
        placed = experiment.devices.device_put({"audio": audio, "length": lengths})
        features = analyse(placed["audio"], representation=experiment.representation)
        mask = valid_frames(
            experiment.representation,
            placed["length"],
            features.shape[1],
            experiment.downsampling,
        )
        for codec in (pca, model):
            latents = np.asarray(latents_of(codec, features))
            count = latents.shape[1]
            used = np.asarray(mask)[:, :: features.shape[1] // count]
            blocks = np.asarray(features).reshape(len(latents), count, -1)
            explained[codec.name].add(latents[used], blocks[used])
            if codec is model:
                means = means or ClipMeans(len(chosen), latents.shape[-1])
                means.add(latents, used, clips)
    assert means is not None
    indices = np.flatnonzero(means.has_frames)
    readable = [chosen[index] for index in indices.tolist()]
    return LatentMap(
        clips=readable,
        means=means.means()[indices],
        snippets=[_snippet(experiment, clip) for clip in readable],
        variance={name: fit.fractions() for name, fit in explained.items()},
    )


def _excerpts(
    experiment: Experiment, chosen: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of audio, lengths, and indices into ``chosen`` (-1 in padding rows)."""
    corpus, excerpt = experiment.corpus, experiment.excerpt
    size = experiment.config.train.batch_size
    windows = []
    for index, clip in enumerate(chosen):
        samples = int(corpus.clips.samples[clip])
        starts = range(0, min(samples, _MOST_EXCERPTS * excerpt), excerpt)
        windows += [(index, start, min(excerpt, samples - start)) for start in starts]
    for first in range(0, len(windows), size):
        audio = np.zeros((size, excerpt, *corpus.channel_shape), np.float32)
        lengths, clips = np.zeros(size, np.int32), np.full(size, -1, np.int64)
        for row, (index, start, length) in enumerate(windows[first : first + size]):
            try:
                audio[row] = corpus.read(chosen[index], start, excerpt)
            except UnusableAudio:
                experiment.warn_once(why_lost(corpus, chosen[index]))
                continue
            lengths[row], clips[row] = length, index
        yield audio, lengths, clips


def _snippet(experiment: Experiment, clip: int) -> bytes:
    rate = experiment.corpus.sample_rate
    length = min(int(experiment.corpus.clips.samples[clip]), int(_SNIPPET_SECONDS * rate))
    try:
        audio = experiment.corpus.read(clip, 0, length)
    except UnusableAudio:
        experiment.warn_once(why_lost(experiment.corpus, clip))
        audio = np.zeros(length, np.float32)
    mono = audio.reshape(length, -1).mean(1)
    return sound.encode(sound.equally_loud([mono], rate)[0], rate)


# Most excerpts for the statistics, and excerpts for the decoder's sensitivity.
_MOST_FITTED, _MEASURED = 1000, 4


def coding_statistics(experiment: Experiment, codec: LatentCodec, shift: float = 0.0) -> Statistics:
    """Statistics for entropy coding of a codec's latents, from excerpts of the training split.

    Args:
      experiment: the run's experiment.
      codec: codec with real latents or, if it has ``codebook_sizes``, evenly spaced levels.
      shift: added to the latents, so that levels start at 0.
    """
    sequences: list[np.ndarray] = []
    first: jax.Array | None = None
    for batch in experiment.batches("train", most=_MOST_FITTED):
        placed = experiment.devices.device_put(batch)
        features = analyse(placed["audio"], representation=experiment.representation)
        padded = apply(codec.variables, features, function=codec.encode)
        first = padded if first is None else first
        frames = features.shape[1]
        mask = valid_frames(
            experiment.representation, placed["length"], frames, experiment.downsampling
        )
        count = np.asarray(mask)[:, :: experiment.downsampling].sum(1)
        latents = np.asarray(padded[..., : codec.latent_dim]) + np.float32(shift)
        sequences += [row[:length] for row, length in zip(latents, count, strict=True) if length]
    if first is None:
        raise UserError("no clip of the training split is readable; restore the files")
    if codec.codebook_sizes:
        steps = 2 * shift / (np.asarray(codec.codebook_sizes) - 1)
    else:
        steps = entropy_coding.steps_of(_sensitivity(codec, first))
    return entropy_coding.fit(sequences, steps)


def _sensitivity(codec: LatentCodec, latents: jax.Array) -> np.ndarray:
    """RMS change of the features per small change of each latent, ``[latent_dim]``, from a few
    excerpts."""
    z = np.asarray(latents)
    dim, rows = codec.latent_dim or z.shape[2], len(z)
    nudge = 0.1 * np.maximum(z.std(axis=(0, 1))[:dim], 1e-3)
    total = np.zeros(dim)
    for excerpt in z[:_MEASURED]:
        repeated = np.broadcast_to(excerpt, z.shape)
        plain = np.asarray(apply(codec.variables, jnp.asarray(repeated), function=codec.decode))[0]
        for start in range(0, dim, rows):  # one latent in each row of a batch
            changed = repeated.copy()
            for row, latent in enumerate(range(start, min(start + rows, dim))):
                changed[row, :, latent] += nudge[latent]
            output = apply(codec.variables, jnp.asarray(changed), function=codec.decode)
            squared = np.square(np.asarray(output) - plain).mean(axis=(1, 2))
            part = slice(start, min(start + rows, dim))
            total[part] += squared[: part.stop - part.start] / nudge[part] ** 2
    return np.sqrt(total / _MEASURED)
