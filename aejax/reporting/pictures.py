"""Spectrograms for the page: few levels, deflated, within a budget."""

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

LEVELS = 64  # of gray
_STRIDES = (1, 2, 4, 8, 16, 32, 64)  # frames averaged into one


def packed(pictures: Sequence[np.ndarray], budget: int) -> list[dict[str, Any]]:
    """Spectrograms as data for the page; frames are averaged until all fit in the budget.

    Args:
      pictures: uint8 ``[frames, bins]`` each.
      budget: total bytes in the page.

    Returns:
      ``frames``, ``bins`` and ``data`` of each: base64 of deflated levels, one byte each, frame by
      frame.
    """
    images: list[dict[str, Any]] = []
    for stride in _STRIDES:
        images = [_pack(picture, stride) for picture in pictures]
        if sum(len(picture["data"]) for picture in images) <= budget:
            break
    return images


def _pack(picture: np.ndarray, stride: int) -> dict[str, Any]:
    whole = -(-len(picture) // stride) * stride
    filled = np.pad(picture, ((0, whole - len(picture)), (0, 0)), mode="edge")
    mean = filled.reshape(-1, stride, picture.shape[1]).mean(1)
    levels = (mean * (LEVELS / 256)).astype(np.uint8)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflate.compress(levels.tobytes()) + deflate.flush()
    return {
        "frames": len(levels),
        "bins": levels.shape[1],
        "data": base64.b64encode(data).decode("ascii"),
    }
