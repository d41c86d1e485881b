"""Sounds and spectrograms of the page, and the grids that they stand in."""

import base64
from collections.abc import Sequence
from typing import Any

from aejax.reporting import axes, pictures, sound
from aejax.reporting.audio_clips import AudioClip, Version, rate_text

Card = dict[str, Any]


def base64_texts(files: Sequence[bytes]) -> list[str]:
    """Files as text."""
    return [base64.b64encode(file).decode("ascii") for file in files]


def grid(
    clips: Sequence[AudioClip], clip_budget: int, picture_budget: int
) -> tuple[list[dict[str, Any]], dict[str, Any], list[dict[str, Any]], list[str]]:
    """The clips with their cards, the sounds, the spectrograms, and notes about shortened sounds.

    Args:
      clips: the clips.
      clip_budget, picture_budget: bytes in the page.
    """
    versions = [(clip, version) for clip in clips for version in clip.versions]
    files, kind, seconds = sound.encode_all(
        [version.audio for _, version in versions],
        [clip.sample_rate for clip, _ in versions],
        clip_budget * 3 // 4,
    )
    images = pictures.packed([version.picture for _, version in versions], picture_budget)
    entries: list[dict[str, Any]] = []
    first = 0
    for clip in clips:
        cards = [
            {"label": version.label, "media": first + number, "of": first}
            | _frequency_axis(clip, version)
            for number, version in enumerate(clip.versions)
        ]
        first += len(cards)
        labels = "; ".join(f"{key}: {value}" for key, value in clip.labels.items())
        entry = {"clip": clip, "labels": labels, "cards": cards}
        entries.append(entry | {"times": axes.time_axis(clip.seconds)} | _matrix(clip, cards))
    notes = []
    if kind == "opus":
        notes.append("To keep this page small, its clips are Opus, not FLAC.")
    if seconds is not None:
        notes.append(f"To keep this page small, its clips were shortened to {seconds:.1f} s.")
    return entries, {"type": sound.FORMATS[kind], "files": base64_texts(files)}, images, notes


def _matrix(clip: AudioClip, cards: Sequence[Card]) -> dict[str, Any]:
    """The cards of a clip by rate and column, the lowest rate first. The only card of a column is a
    cell beside all rows; no columns if there is one rate."""
    rates = sorted({version.rate for version in clip.versions})
    if len(rates) < 2:
        return {"columns": [], "rows": []}
    by_column: dict[str, dict[tuple[float, float], list[Card]]] = {}
    for version, card in zip(clip.versions, cards, strict=True):
        card["column"] = version.column
        by_column.setdefault(version.column, {}).setdefault(version.rate, []).append(card)
    rows: list[dict[str, Any]] = [{"rate": rate_text(rate), "cells": []} for rate in rates]
    for cells in by_column.values():
        (only, *others) = cells.values()
        if not others and len(only) == 1:
            rows[0]["cells"].append({"cards": only, "rows": len(rows)})
            continue
        for rate, row in zip(rates, rows, strict=True):
            row["cells"].append({"cards": cells.get(rate, []), "rows": 1})
    return {"columns": list(by_column), "rows": rows}


def _frequency_axis(clip: AudioClip, version: Version) -> Card:
    bins = version.picture.shape[1]
    unit, ticks = axes.frequency_axis(clip.sample_rate, bins)
    return {"unit": unit, "frequencies": ticks, "channels": axes.channel_names(bins)}
