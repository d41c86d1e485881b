"""Ten labels are told apart with every kind of colour vision."""

import itertools
import re

import numpy as np
import pytest

from aejax.reporting import page

# Machado, Oliveira and Fernandes, "A physiologically-based model for simulation of color vision
# deficiency", IEEE TVCG 15(6), 2009: complete deficiency, on linear RGB.
SIGHT = {
    "full": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
XYZ = [
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
]


def css():
    return (page._TEMPLATES / "report.css").read_text()


def colours():
    """The colours of labels, which the light and the dark page share."""
    listed = re.findall(r"--c(\d): (#[0-9a-f]{6});", css())
    assert [int(index) for index, _ in listed] == list(range(10))
    return [colour for _, colour in listed]


def linear(colour):
    rgb = np.asarray([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB under D65 of linear RGB."""
    x = XYZ @ np.clip(rgb, 0, 1) / np.asarray([0.95047, 1, 1.08883])
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.asarray([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_distances_are_those_of_cielab():
    assert lab(linear("#ffffff")) == pytest.approx([100, 0, 0], abs=0.01)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)


@pytest.mark.parametrize("sight", SIGHT)
def test_colours_are_apart(sight):
    """2.3 is what is just noticeable side by side."""
    seen = [lab(SIGHT[sight] @ linear(colour)) for colour in colours()]
    pairs = itertools.combinations(range(len(seen)), 2)
    distances = {pair: np.linalg.norm(seen[pair[0]] - seen[pair[1]]) for pair in pairs}
    assert min(distances.values()) > 17
    # Of ten labels, the last four have shapes of others.
    assert min(distances[i, i + 5] for i in range(1, 5)) > 24


def test_every_colour_has_its_class():
    assert re.findall(r"\.s(\d) { --own: var\(--c(\d)\); }", css()) == [
        (str(i), str(i)) for i in range(10)
    ]
