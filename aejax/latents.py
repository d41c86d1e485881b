"""What the latents of test clips look like, for the report: where clips lie, what each explains."""

import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from aejax import coding
from aejax.bars import bar
from aejax.coding import Statistics
from aejax.data.audio_file import UnusableAudio
from aejax.data.loader import why_lost
from aejax.errors import UserError
from aejax.evaluation.evaluate import Codec, analyse, apply, latents_of
from aejax.evaluation.probes import ClipMeans
from aejax.prepare import Experiment
from aejax.reporting import sound
from aejax.representation import valid_frames

MOST_CLIPS = 200
_MOST_EXCERPTS = 5  # of each clip
_SNIPPET_SECONDS = 1.5


@dataclasses.dataclass(frozen=True)
class LatentMap:
    """Some of the test clips, and what one codec makes of them.

    Attributes:
      clips: indices in the corpus.
      means: float32 ``[clips, latent_dim]``, latents averaged over time.
      snippets: the beginning of each clip, FLAC, all at the same loudness.
      variance: by codec, what each latent explains by itself, see `Explained`.
    """

    clips: list[int]
    means: np.ndarray
    snippets: list[bytes]
    variance: dict[str, np.ndarray]


class Explained:
    """The fraction of the features' variance that each latent explains by itself: the squared
    error that the best linear prediction from it alone saves.

    Of PCA, whose latents are uncorrelated, this is the explained variance ratio of each component.
    Of other codecs, latents that are correlated explain some of it twice, and what is only
    explained non-linearly does not count.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums: list[np.ndarray] = []

    def add(self, latents: np.ndarray, blocks: np.ndarray) -> None:
        """Takes in latents ``[count, latent_dim]`` and their features ``[count, block]``."""
        z, x = latents.astype(np.float64), blocks.astype(np.float64)
        new = [z.sum(0), np.square(z).sum(0), x.sum(0), np.square(x).sum(0), z.T @ x]
        self._count += len(z)
        sums = self._sums or [np.zeros_like(part) for part in new]
        self._sums = [total + part for total, part in zip(sums, new, strict=True)]

    def fractions(self) -> np.ndarray:
        """``[latent_dim]``, float32, from 0 to 1."""
        z, zz, x, xx, zx = (total / self._count for total in self._sums)
        covariance = zx - np.outer(z, x)
        own, whole = zz - z**2, (xx - x**2).sum()
        saved = np.square(covariance).sum(1) / np.where(own > 1e-12, own, np.inf)
        return np.clip(saved / max(whole, 1e-12), 0, 1).astype(np.float32)


def latent_map(experiment: Experiment, pca: Codec, model: Codec) -> LatentMap:
    """Looks at no more than `MOST_CLIPS` test clips, spread evenly over the split, and at their
    first `_MOST_EXCERPTS` excerpts."""
    corpus = experiment.corpus
    test = corpus.clips.of_split("test")
    picked = np.linspace(0, len(test) - 1, min(MOST_CLIPS, len(test))).round().astype(int)
    chosen = np.unique(test[picked]).tolist()
    explained = {codec.name: Explained() for codec in (pca, model)}
    means: ClipMeans | None = None
    for audio, lengths, clips in bar(_excerpts(experiment, chosen), desc="latents", unit="batch"):
        placed = experiment.devices.place({"audio": audio, "length": lengths})
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
    kept = np.flatnonzero(means.seen)
    found = [chosen[place] for place in kept.tolist()]
    return LatentMap(
        clips=found,
        means=means.means()[kept],
        snippets=[_snippet(experiment, clip) for clip in found],
        variance={name: each.fractions() for name, each in explained.items()},
    )


def _excerpts(
    experiment: Experiment, chosen: list[int]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Batches of audio, its lengths, and whose it is, counted among the chosen; -1 fills up."""
    corpus, excerpt = experiment.corpus, experiment.excerpt
    size = experiment.config.train.batch_size
    windows = []
    for place, clip in enumerate(chosen):
        samples = int(corpus.clips.samples[clip])
        starts = range(0, min(samples, _MOST_EXCERPTS * excerpt), excerpt)
        windows += [(place, start, min(excerpt, samples - start)) for start in starts]
    for first in range(0, len(windows), size):
        audio = np.zeros((size, excerpt, *corpus.channel_shape), np.float32)
        lengths, clips = np.zeros(size, np.int32), np.full(size, -1, np.int64)
        for row, (place, start, length) in enumerate(windows[first : first + size]):
            try:
                audio[row] = corpus.read(chosen[place], start, excerpt)
            except UnusableAudio:
                experiment.warn_once(why_lost(corpus, chosen[place]))
                continue
            lengths[row], clips[row] = length, place
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


# Excerpts that statistics are made of at most; and that a decoder's reaction is measured on.
_MOST_FITTED, _MEASURED = 1000, 4


def coding_statistics(experiment: Experiment, codec: Codec, shift: float = 0.0) -> Statistics:
    """What a codec's latents are like, by which they can be coded: on excerpts spread over all of
    the training split.

    Args:
      experiment: of the run.
      codec: whose latents are real numbers, or levels that lie one step apart once ``shift`` is
        added.
      shift: see there.
    """
    sequences: list[np.ndarray] = []
    first: jax.Array | None = None
    for batch in experiment.batches("train", most=_MOST_FITTED):
        placed = experiment.devices.place(batch)
        features = analyse(placed["audio"], representation=experiment.representation)
        whole = apply(codec.variables, features, function=codec.encode)
        first = whole if first is None else first
        frames = features.shape[1]
        mask = valid_frames(
            experiment.representation, placed["length"], frames, experiment.downsampling
        )
        count = np.asarray(mask)[:, :: experiment.downsampling].sum(1)
        own = np.asarray(whole[..., : codec.latent_dim]) + np.float32(shift)
        sequences += [row[:kept] for row, kept in zip(own, count, strict=True) if kept]
    if first is None:
        raise UserError("no clip of the training split can be read any more; put the audio back")
    if codec.codebook_sizes:
        steps = 2 * shift / (np.asarray(codec.codebook_sizes) - 1)
    else:
        steps = coding.steps_of(_sensitivity(codec, first))
    return coding.fit(sequences, steps)


def _sensitivity(codec: Codec, latents: jax.Array) -> np.ndarray:
    """How strongly the features react to a small change of each latent, ``[latent_dim]``: root mean
    squares over a few excerpts."""
    z = np.asarray(latents)
    dim, rows = codec.latent_dim or z.shape[2], len(z)
    nudge = 0.1 * np.maximum(z.std(axis=(0, 1))[:dim], 1e-3)
    total = np.zeros(dim)
    for excerpt in z[:_MEASURED]:
        same = np.broadcast_to(excerpt, z.shape)
        plain = np.asarray(apply(codec.variables, jnp.asarray(same), function=codec.decode))[0]
        for start in range(0, dim, rows):  # as many at a time as there are rows in a batch
            changed = same.copy()
            for row, latent in enumerate(range(start, min(start + rows, dim))):
                changed[row, :, latent] += nudge[latent]
            found = apply(codec.variables, jnp.asarray(changed), function=codec.decode)
            moved = np.square(np.asarray(found) - plain).mean(axis=(1, 2))
            here = slice(start, min(start + rows, dim))
            total[here] += moved[: here.stop - here.start] / nudge[here] ** 2
    return np.sqrt(total / _MEASURED)
