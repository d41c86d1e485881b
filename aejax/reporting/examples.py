"""What a run's model was used for, to be heard in its report: ``examples/`` in its directory."""

from pathlib import Path
from typing import Any

import numpy as np

from aejax.errors import UserError
from aejax.reporting import sound
from aejax.reporting.extras import is_clip, is_plain
from aejax.reporting.listen import HeardClip, Version, read_sound
from aejax.runtime import arrays

FOLDER = "examples"
ARRAYS = "examples.npz"
_MOST = 200  # sounds


def read_examples(run: Path) -> list[HeardClip]:
    """Every example, with all its sounds equally loud; none where there is no such folder.

    Raises:
      UserError: its files are not what `aejax.listening.write_examples` writes.
    """
    path = run / FOLDER / ARRAYS
    if not path.exists():
        return []
    about, found = arrays.load(path)
    try:
        return _clips(run, about, found["spectrograms"], found["frames"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it to do without") from None


def _clips(run: Path, about: Any, spectrograms: np.ndarray, frames: np.ndarray) -> list[HeardClip]:
    rate, floor_db, listed = about["sample_rate"], about["floor_db"], about["clips"]
    sounds = sum(len(clip["files"]) for clip in listed)
    good = (
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
    if not good:
        raise ValueError("its numbers are not what is written there")
    clips, place = [], 0
    for clip in listed:
        files, names, top_db = clip["files"], clip["versions"], float(clip["top_db"])
        if not is_clip(clip) or not files or len(files) != len(names) or not abs(top_db) < 1e4:
            raise ValueError("a clip is not what is written there")
        if not all(isinstance(file, str) and is_plain(file) for file in files):
            raise ValueError("a file has a name that is not written there")
        audio = [read_sound(run, FOLDER, file, rate) for file in files]
        versions = []
        for name, equal in zip(names, sound.equally_loud(audio, rate), strict=True):
            picture = spectrograms[place, : max(1, int(frames[place]))]
            versions.append(Version(str(name), equal.astype(np.float32), picture))
            place += 1
        clips.append(
            HeardClip(
                name=clip["name"],
                corpus="examples",
                labels=clip["labels"],
                sample_rate=rate,
                seconds=max(len(one.audio) for one in versions) / rate,
                floor_db=float(floor_db),
                top_db=top_db,
                versions=versions,
            )
        )
    return clips
