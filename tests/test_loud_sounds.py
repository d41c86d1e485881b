"""No sound comes back much louder than it was, whatever the model has learnt."""

import runpy

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, shrink
from loud_sounds import MOST, peaks
from trained_runs import model_of, model_of_config

from aejax.inference.reconstruct import reconstruct

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.py"))
ALWAYS = ("mel_conv",)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in ALWAYS else pytest.mark.slow, id=path.stem)
        for path in EXPERIMENTS
    ],
)
def test_hard_onsets_through_every_experiment_with_random_weights(path):
    config = shrink(runpy.run_path(str(path))["get_config"]())
    config.model.update(speaker_label="", adversary=0.0)
    ratios = peaks(model_of_config(config))
    assert max(ratios.values()) <= MOST, ratios


@pytest.mark.parametrize("rate", [8000, 44_100])
@pytest.mark.parametrize("level", [1.0, 0.01])
def test_overshoot_of_resampling_is_no_way_round_the_limit(tmp_path, rate, level):
    model = model_of("complex_spectrogram", "mlp")
    rng = np.random.default_rng(0)
    # Extreme at every sample: between them, and at other rates, it is louder still.
    sound = level * np.sign(rng.standard_normal(rate // 2)).astype(np.float32)
    assert np.abs(model.reconstruct(sound, rate)).max() <= MOST * level
    soundfile.write(tmp_path / "in.wav", sound, rate, subtype="FLOAT")
    reconstruct(model, tmp_path / "in.wav", tmp_path / "out.wav")
    assert np.abs(soundfile.read(tmp_path / "out.wav")[0]).max() <= MOST * level


def test_half_precision_is_compared_without_a_warning():
    back = model_of("complex_spectrogram", "mlp").reconstruct(np.full(900, 0.1, np.float16))
    assert back.shape == (900,)
