"""Audio examples of a run's model for its report, from ``examples/`` in its directory."""

from pathlib import Path
from typing import Any

import numpy as np

from aejax.reporting import sound
from aejax.reporting.audio_clips import AudioClip, Version, read_sound
from aejax.reporting.extras import is_clip, is_plain
from aejax.runtime import arrays
from aejax.runtime.errors import UserError

FOLDER = "examples"
ARRAYS = "examples.npz"
_MOST = 200  # sounds


def read_examples(run: Path) -> list[AudioClip]:
    """All examples, each with equally loud sounds; empty if there is no such folder.

    Raises:
      UserError: the files are not those of `aejax.evaluation.audio_examples.write_examples`.
    """
    path = run / FOLDER / ARRAYS
    if not path.exists():
        return []
    about, loaded = arrays.load(path)
    try:
        return _clips(run, about, loaded["spectrograms"], loaded["frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to do without") from None


def _clips(run: Path, about: Any, spectrograms: np.ndarray, frames: np.ndarray) -> list[AudioClip]:
    rate, floor_db, listed = about["sample_rate"], about["floor_db"], about["clips"]
    sounds = sum(len(clip["files"]) for clip in listed)
    valid = (
        isinstance(rate, int)
        and 1 <= rate <= 1_000_000
        and abs(floor_db) < 1e4
        and sounds <= _MOST
        and spectrograms.dtype == np.uint8
        and spectrograms.ndim == 3
        and len(spectrograms) == len(frames) == sounds
        and frames.dtype.kind in "iu"
        and 1 <= spectrograms.shape[1] <= 100_000
        and 1 <= spectrograms.shape[2] <= 4096
    )
    if not valid:
        raise ValueError("its numbers are not valid")
    clips, index = [], 0
    for clip in listed:
        files, names, top_db = clip["files"], clip["versions"], float(clip["top_db"])
        if not is_clip(clip) or not files or len(files) != len(names) or not abs(top_db) < 1e4:
            raise ValueError("a clip is not valid")
        if not all(isinstance(file, str) and is_plain(file) for file in files):
            raise ValueError("the name of a file is not valid")
        audio = [read_sound(run, FOLDER, file, rate) for file in files]
        versions = []
        for name, equal in zip(names, sound.equally_loud(audio, rate), strict=True):
            picture = spectrograms[index, : max(1, int(frames[index]))]
            versions.append(Version(str(name), equal.astype(np.float32), picture))
            index += 1
        clips.append(
            AudioClip(
                name=clip["name"],
                corpus="examples",
                labels=clip["labels"],
                sample_rate=rate,
                seconds=max(len(version.audio) for version in versions) / rate,
                floor_db=float(floor_db),
                top_db=top_db,
                versions=versions,
            )
        )
    return clips
