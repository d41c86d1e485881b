import json
import runpy

import pytest
from conftest import REPOSITORY

from aejax import config as config_module
from aejax import parts
from aejax.runtime.errors import UserError

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.py"))


def test_the_defaults_are_valid():
    config_module.validate(config_module.default())


def test_every_key_but_paths_and_switches_has_a_rule():
    free = {"data.path", "data.labels", "augment.noise.path", "model.pca_start"}
    free |= {"evaluate.probes", "model.speaker_label"}
    found = {full for full, _, about in list(config_module.keys()) if about.rule is parts.anything}
    assert found == free


def test_keys_are_those_of_a_new_config_each_with_its_meaning():
    meanings = {full: about.meaning for full, _, about in list(config_module.keys())}
    assert meanings.keys() == config_module.flatten(config_module.default()).keys()
    assert all(meanings.values())
    assert not any("\n" in meaning for meaning in meanings.values())


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model.latent_dim", 0, "must be at least 1"),
        ("model.latent_dim", 641, "more than the numbers in a block"),
        ("model.encoder", "cov", "did you mean conv"),
        ("model.conv.dropout", 1.0, "below 1"),
        ("data.split_by", "speaker", "file, folder"),
        ("augment.speed.range", (1.0,), "must be two numbers from 0.25 to 4"),
        ("augment.speed.range", (1.1, 0.9), "the lower one first"),
        ("augment.speed.range", (0.0, 1.0), "must be two numbers from 0.25 to 4"),
        ("augment.noise.kind", "pinkish", "did you mean pink"),
        ("augment.noise.kind", "folder", "kind='folder' needs a path"),
        ("augment.noise.path", "noises", "kind='folder' needs a path"),
        ("data.channels", "sterio", "did you mean stereo"),
        ("data.worker_kind", "fork", "must be one of thread, process"),
        ("data.workers", -1, "must be at least 0"),
        ("data.labels", "labels.csv", "needs a data.path"),
        ("data.validation_fraction", 0.89, None),
        ("data.sample_rate", 0, "at least 1000"),
        ("representation.mel.fmax", 8000.5, "above 8000 Hz"),
        ("representation.mel.fmin", 8000.0, "below fmax"),
        ("representation.mel.win_length", 2048, "at most n_fft"),
        ("representation.mel.hop_length", 513, "at most half of n_fft"),
        ("train.learning_rate", float("nan"), "finite"),
        ("name", "../elsewhere", "must be letters"),
        ("name", "..", "must be letters"),
        ("name", "x$_$", "must be letters"),
        ("name", "pca", "a row in the results"),
        ("representation.mel.n_fft", 1023, "must be even"),
        ("data.include", ("x*",), "needs a data.path"),
    ],
)
def test_bad_values_are_refused_by_key(key, value, says):
    config = config_module.default()
    config.update_from_flattened_dict({key: value})
    if says is None:
        config.data.test_fraction = 0.2
        says = "leaves nothing to train on"
    with pytest.raises(UserError, match=says) as caught:
        config_module.validate(config)
    assert key.rpartition(".")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_key_names_its_neighbours():
    config = config_module.default()
    config.model.latent_dims = 3
    with pytest.raises(UserError, match=r"model\.latent_dims; did you mean model\.latent_dim"):
        config_module.validate(config)


def test_a_wrong_type_is_refused():
    config = config_module.default()
    with config.ignore_type():
        config.train.steps = "many"
    with pytest.raises(UserError, match="must be of type int"):
        config_module.validate(config)


def test_overrides_change_a_copy():
    config = config_module.default()
    config.lock()
    overrides = {
        "model.latent_dim": 8,
        "model.vae.kl_weight": 1,
        "seed": 3,
        "model.wave_conv.strides": [2],
    }
    changed = config_module.override(config, overrides)
    assert (
        config_module.flatten(changed).items()
        >= {
            "model.latent_dim": 8,
            "model.vae.kl_weight": 1.0,
            "seed": 3,
            "model.wave_conv.strides": (2,),
        }.items()
    )
    assert type(changed.model.vae.kl_weight) is float
    assert config_module.flatten(config) == config_module.flatten(config_module.default())


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        (
            "model.latent_dims",
            8,
            r"did you mean model\.latent_dim",
        ),
        ("model", 8, "unknown config key model"),
        ("model.latent_dim", 8.0, r"model\.latent_dim=8\.0 must be of type int"),
        ("model.latent_dim", True, "must be of type int"),
        ("train.learning_rate", float("inf"), "must be finite"),
        ("train.learning_rate", "1e-3", "must be of type float"),
        ("model.pca_start", 1, "must be of type bool"),
        ("model.wave_conv.strides", 4, "must be of type tuple"),
    ],
)
def test_overrides_that_do_not_fit_are_refused(key, value, says):
    with pytest.raises(UserError, match=says) as caught:
        config_module.override(config_module.default(), {key: value})
    assert "\n" not in str(caught.value)


def test_differences_survive_json():
    config = config_module.default()
    saved = json.loads(config_module.to_json(config))
    assert set(saved) == set(config)
    flat = {}
    for key, value in config_module.flatten(config).items():
        flat[key] = list(value) if isinstance(value, tuple) else value
    assert config_module.differences(config, flat) == {}
    config.train.steps += 1
    assert list(config_module.differences(config, flat)) == ["train.steps"]


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiments_keep_their_contract(path):
    text = path.read_text()
    config = runpy.run_path(str(path))["get_config"]()
    config_module.validate(config)
    assert config.name == path.stem
    own = path.stem == "own_parts"  # which shows how parts are made, and is no result
    assert len(text.splitlines()) < (120 if own else 80)
    docstring = text.split('"""')[1]
    assert f"--config=experiments/{path.name}" in docstring
    assert "minutes" in docstring or "seconds" in docstring
    if own:
        return
    assert "dB" in docstring
    imports = [line for line in text.splitlines() if line.startswith(("import", "from"))]
    allowed = ("ml_collections", "aejax.config", "collections.abc", "typing")
    assert all(line.split()[1] in allowed for line in imports)
