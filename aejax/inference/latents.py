"""Latents of a folder of audio as a table."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aejax.data.audio_file import UnusableAudio
from aejax.data.corpus import Corpus
from aejax.data.loader import why_lost
from aejax.data.names import visible
from aejax.inference.model import TrainedModel
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.runtime.progress import bar, warn


def table(model: TrainedModel, corpus: Corpus) -> dict[str, np.ndarray]:
    """Latents of all clips, a row for each latent frame.

    A clip that cannot be read is left out, with a message on standard error.

    Args:
      model: the trained model.
      corpus: with the model's sample rate and channels.

    Returns:
      Columns by name: ``clip``, the name of the clip; ``seconds``, the start of the frame;
      ``label.<name>``, each label as text; and ``latents``, float32 ``[rows, latent_dim]``.

    Raises:
      UserError: no clip can be read.
    """
    clips = corpus.clips
    names: list[str] = []
    rows: list[np.ndarray] = []
    labels: list[dict[str, Any]] = []
    for index in bar(range(len(clips)), desc="encoding", unit="clip"):
        clip = clips[index]

        def read(start: int, count: int, index: int = index) -> np.ndarray:
            return corpus.read(index, start, count)[None]

        try:
            rows.append(model.encode_stream(read, clip.samples).latents[0])
        except UnusableAudio:
            warn(why_lost(corpus, index))
            continue
        names.append(clip.name)
        labels.append(clip.labels)
    if not rows:
        raise UserError(f"no clip of {corpus.title} is readable; restore the files")
    counts = [len(latents) for latents in rows]
    label_names = list(dict.fromkeys(name for clip_labels in labels for name in clip_labels))
    texts = {name: [str(values.get(name, "")) for values in labels] for name in label_names}
    return {
        "clip": np.repeat(np.asarray(names), counts),
        "seconds": np.concatenate([np.arange(count) for count in counts])
        * (model.block / model.sample_rate),
        **{
            f"label.{name}": np.repeat(np.asarray(values), counts) for name, values in texts.items()
        },
        "latents": np.concatenate(rows),
    }


def _npz(path: Path, columns: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)


def _parquet(path: Path, columns: dict[str, np.ndarray]) -> None:
    import pyarrow
    import pyarrow.parquet

    latents = columns.pop("latents")
    width = len(str(latents.shape[1] - 1))
    numbered = {f"latent.{index:0{width}d}": column for index, column in enumerate(latents.T)}
    texts = {
        name: pyarrow.array(map(visible, column.tolist()), pyarrow.string())
        for name, column in columns.items()
        if column.dtype.kind == "U"
    }
    pyarrow.parquet.write_table(pyarrow.table(columns | texts | numbered), path)


WRITERS: dict[str, Callable[[Path, dict[str, np.ndarray]], None]] = {
    ".npz": _npz,
    ".parquet": _parquet,
}


def check(path: Path) -> None:
    """Checks that `write` can write a path, before a long computation.

    Raises:
      UserError: the suffix is not in `WRITERS`, or pyarrow is missing.
    """
    if path.suffix not in WRITERS:
        raise UserError(f"{path} must end in {' or '.join(WRITERS)}")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{path.name} needs pyarrow: pip install 'aejax[parquet]', or use a .npz")


def write(path: Path, columns: dict[str, np.ndarray]) -> None:
    """Writes a table atomically, in the format of its suffix.

    In Parquet each latent is a column, and bytes of names that are not UTF-8 are escaped.

    Raises:
      UserError: see `check`.
    """
    check(path)
    with files.atomic_write(path) as file:
        WRITERS[path.suffix](file, dict(columns))
