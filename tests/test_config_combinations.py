"""Keys that do not go together are refused by name, and those that do are not."""

import itertools

import pytest

from aejax import config as config_module
from aejax.config import BOTTLENECKS, ENCODERS, LOSSES, QUANTIZED, REPRESENTATIONS
from aejax.errors import UserError


def configured(changes):
    config = config_module.default()
    config.update_from_flattened_dict(changes)
    return config


def refusal(changes):
    """The one line in which they are refused."""
    with pytest.raises(UserError) as caught:
        config_module.validate(configured(changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


WAVE_CONV = {
    "model.encoder": "wave_conv",
    "representation.name": "waveform",
    "representation.hop_length": 1,
    "model.downsampling": 256,
    "model.strides": (4, 8, 8),
}

MASK = {"model.encoder": "mask", "representation.name": "complex_spectrogram"}

# What is set, and which keys the refusal names.
TOGETHER = [
    ({"representation.fmax": 8001.0}, ["representation.fmax", "data.sample_rate"]),
    (
        {"representation.fmax": 5000.0, "data.sample_rate": 8000},
        ["representation.fmax=5000", "data.sample_rate=8000"],
    ),
    (
        {"representation.fmin": 300.0, "representation.fmax": 300.0},
        ["representation.fmin=300", "representation.fmax"],
    ),
    ({"representation.fmin": 8000.0}, ["representation.fmin", "fmax"]),
    (
        {"representation.name": "mdct", "representation.hop_length": 255},
        ["representation.hop_length=255", "representation.name=mdct"],
    ),
    (
        {"representation.win_length": 1026},
        ["representation.win_length=1026", "representation.n_fft=1024"],
    ),
    (
        {"representation.hop_length": 513},
        ["representation.hop_length=513", "representation.n_fft=1024"],
    ),
    (
        {"representation.hop_length": 257, "representation.win_length": 512},
        ["representation.hop_length=257", "representation.win_length=512"],
    ),
    ({"model.latent_dim": 641}, ["model.latent_dim", "model.downsampling", "n_mels"]),
    (
        {"model.latent_dim": 9, "model.downsampling": 2, "representation.n_mels": 4},
        ["model.latent_dim", "model.downsampling x n_mels = 2 x 4 = 8"],
    ),
    (
        {"model.latent_dim": 1281, "data.channels": "stereo"},
        ["model.latent_dim", "n_mels x 2 channels = 8 x 160"],
    ),
    (
        {"representation.name": "mdct", "model.latent_dim": 2049},
        ["model.latent_dim", "hop_length = 8 x 256"],
    ),
    (
        {"representation.name": "waveform", "model.latent_dim": 2049},
        ["model.latent_dim", "hop_length = 8 x 256"],
    ),
    (
        {"representation.name": "spectrogram", "model.latent_dim": 4105},
        ["model.latent_dim", "n_fft / 2 + 1 = 8 x 513"],
    ),
    (
        {"representation.name": "complex_spectrogram", "model.latent_dim": 8209},
        ["model.latent_dim", "2 (n_fft / 2 + 1) = 8 x 1026"],
    ),
    (
        {"model.encoder": "wave_conv"},
        ["model.encoder='wave_conv'", "representation.name='waveform'", "'mel'"],
    ),
    ({**WAVE_CONV, "data.channels": "stereo"}, ["model.encoder='wave_conv'", "data.channels"]),
    (
        {**WAVE_CONV, "model.strides": (4, 8)},
        ["model.strides=(4, 8)", "representation.hop_length", "model.downsampling"],
    ),
    (
        {"model.encoder": "mask"},
        ["model.encoder='mask'", "representation.name='complex_spectrogram'", "'mel'"],
    ),
    ({**MASK, "data.channels": "stereo"}, ["model.encoder='mask'", "data.channels"]),
    (
        {"model.encoder": "lstm", "representation.name": "waveform"},
        ["model.pca_start", "model.encoder='lstm'", "representation.name='waveform'"],
    ),
    (
        {"model.encoder": "gru", "representation.name": "waveform"},
        ["model.pca_start", "model.encoder='gru'", "representation.name='waveform'"],
    ),
    ({"model.encoder": "gru", "model.depth": 0}, ["model.depth=0", "model.encoder='gru'"]),
    (
        {"model.encoder": "transformer", "model.width": 40, "model.heads": 8},
        ["model.width=40", "model.heads"],
    ),
    (
        {"model.encoder": "transformer", "model.decoder_width": 40, "model.heads": 8},
        ["model.decoder_width=40", "model.heads"],
    ),
    (
        {"model.encoder": "wave_conv", "representation.name": "waveform"}
        | {"model.decoder_depth": 2},
        ["model.decoder_depth=2", "model.encoder=wave_conv"],
    ),
    (
        {"model.encoder": "transformer", "model.width": 48, "model.heads": 5},
        ["model.width=48", "model.heads"],
    ),
    *(
        (
            {"model.bottleneck": name, "evaluate.refine_steps": 1},
            ["evaluate.refine_steps=1", f"model.bottleneck={name!r}"],
        )
        for name in QUANTIZED
    ),
    *(
        (
            {"model.bottleneck": name, "evaluate.cuts": (2,)},
            ["evaluate.cuts=(2,)", "model.bottleneck", repr(name)],
        )
        for name in BOTTLENECKS
        if name not in ("ordered", "rvq")
    ),
    (
        {"model.bottleneck": "ordered", "evaluate.cuts": (4, 33)},
        ["evaluate.cuts=(4, 33)", "model.latent_dim=32"],
    ),
    (
        {"model.bottleneck": "rvq", "evaluate.cuts": (9,)},
        ["evaluate.cuts=(9,)", "model.rvq.num_quantizers=8"],
    ),
    ({"loss.l2.weight": 0.0}, ["config.loss", *(f"loss.{name}.weight" for name in LOSSES)]),
    *(
        (
            {f"loss.{name}.weight": 0.5, "representation.name": representation},
            [f"loss.{name}.weight=0.5", f"representation.name={representation!r}"],
        )
        for name in config_module.AUDIO_LOSSES
        for representation in ("mel", "spectrogram")
    ),
    ({"augment.noise": "folder"}, ["augment.noise='folder'", "augment.noise_path=''"]),
    (
        {"augment.noise": "white", "augment.noise_path": "rain"},
        ["augment.noise='white'", "augment.noise_path='rain'"],
    ),
    (
        {"augment.noise": "pink", "augment.target": "clean", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "augment.target='clean'"],
    ),
    (
        {"model.speaker_label": "folder", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "model.speaker_label='folder'"],
    ),
    ({"augment.target": "clean"}, ["augment.target='clean'", "augment.noise=none"]),
    (
        {"augment.noise": "white", "augment.target": "clean", "augment.seen_eq_db": 3.0},
        ["augment.seen_eq_db=3", "augment.target='clean'"],
    ),
    (
        {"augment.seen_stretch": (0.8, 1.2), "representation.name": "mdct"},
        ["augment.seen_stretch", "representation.name='mdct'", "mel and spectrogram do"],
    ),
    (
        {"model.encoder": "linear", "model.speaker_label": "folder"},
        ["model.speaker_label='folder'", "model.encoder=linear"],
    ),
    ({"augment.noise_path": "rain"}, ["augment.noise='none'", "augment.noise_path='rain'"]),
    ({"data.include": ("*.wav",)}, ["data.include", "data.path"]),
    ({"data.labels": "labels.csv"}, ["data.labels", "data.path"]),
    (
        {"data.validation_fraction": 0.5, "data.test_fraction": 0.5},
        ["data.validation_fraction", "data.test_fraction", "leaves nothing to train on"],
    ),
    ({"train.optimizer": "sgd", "train.adam_b2": 0.9}, ["train.adam_b2", "train.optimizer=sgd"]),
    ({"model.latent_dim": 641, "model.pca_start": False}, ["model.latent_dim=641"]),
    ({"train.accumulate": 3, "train.steps": 100}, ["train.accumulate=3", "train.steps=100"]),
    ({"train.accumulate": 50, "train.steps": 6}, ["train.accumulate=50", "train.steps=6"]),
    (
        {"model.bottleneck": "tanh", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "model.bottleneck='tanh'", "bound"],
    ),
    ({"augment.noise_snr_db": (0.0, 9.0)}, ["augment.noise_snr_db", "augment.noise=none"]),
    (
        {"augment.speed": (1.0, 1.0), "augment.speed_probability": 0.5},
        ["augment.speed_probability=0.5", "augment.speed=(1.0, 1.0)"],
    ),
    (
        {
            "model.bottleneck": "rvq",
            "model.rvq.num_quantizers": 1,
            "model.rvq.quantizer_dropout": 0.3,
        },
        ["model.rvq.quantizer_dropout=0.3", "model.rvq.num_quantizers=1"],
    ),
    (
        {"model.encoder": "linear", "train.dtype": "bfloat16"},
        ["train.dtype='bfloat16'", "model.encoder=linear"],
    ),
    (
        {"model.encoder": "linear", "train.weight_decay": 5.0},
        ["train.weight_decay=5", "model.encoder=linear", "model.pca_start=True"],
    ),
    ({"augment.time_mask_frames": 3}, ["augment.time_mask_frames=3", "augment.time_masks=0"]),
    (
        {"model.bottleneck": "rvq", "evaluate.cuts": (2, 2)},
        ["evaluate.cuts=(2, 2)", "the same number twice"],
    ),
    ({"name": "pca_context"}, ["name='pca_context'", "another row"]),
]


@pytest.mark.parametrize(("changes", "named"), TOGETHER, ids=lambda x: str(x)[:60])
def test_what_does_not_go_together_is_refused_by_all_its_names(changes, named):
    message = refusal(changes)
    for name in named:
        assert name in message


@pytest.mark.parametrize(
    "changes",
    [
        {"representation.fmax": 8000.0, "representation.fmin": 7999.0},
        {"representation.hop_length": 512},
        {"representation.win_length": 1024},
        {"representation.name": "mdct", "representation.hop_length": 254},
        {"representation.name": "waveform", "representation.hop_length": 255},
        {"model.latent_dim": 640},
        {"model.latent_dim": 1280, "data.channels": "stereo"},
        {**WAVE_CONV, "data.channels": "each"},
        {"model.encoder": "lstm", "representation.name": "waveform", "model.pca_start": False},
        {"model.encoder": "transformer", "model.width": 48, "model.heads": 8},
        {"model.bottleneck": "ordered", "evaluate.cuts": (1, 32)},
        {"model.bottleneck": "rvq", "evaluate.cuts": (1, 8)},
        {"loss.l2.weight": 0.0, "loss.l1.weight": 1e-9},
        {
            "loss.dac_mel.weight": 1.0,
            "data.sample_rate": 4000,
            "representation.name": "mdct",
        },
        {"augment.noise": "folder", "augment.noise_path": "rain"},
        {"augment.noise": "white", "augment.target": "clean", "loss.si_sdr.weight": 0.1},
        {"augment.seen_stretch": (0.8, 1.2), "augment.seen_eq_db": 3.0},
        {"data.include": ("*.wav",), "data.path": "rain", "data.labels": "labels.csv"},
        {"data.validation_fraction": 0.5, "data.test_fraction": 0.49},
        {"train.optimizer": "sgd"},
        {"model.encoder": "linear", "train.weight_decay": 0.0},
        {"model.encoder": "linear", "train.weight_decay": 5.0, "model.pca_start": False},
        {"train.optimizer": "lion", "train.adam_b2": 0.9},
    ],
    ids=lambda x: str(x)[:60],
)
def test_what_lies_just_within_the_bounds_is_taken(changes):
    config_module.validate(configured(changes))


# Another value for each key that some choice has no use for.
OTHER = {
    "representation.n_fft": 2048,
    "representation.win_length": 512,
    "representation.hop_length": 128,
    "representation.n_mels": 40,
    "representation.fmin": 10.0,
    "representation.fmax": 7000.0,
    "representation.floor_db": -50.0,
    "representation.griffin_lim_iterations": 3,
    "representation.compression": 0.4,
    "model.width": 192,
    "model.depth": 3,
    "model.decoder_width": 192,
    "model.decoder_depth": 3,
    "model.dropout": 0.2,
    "model.kernel_size": 5,
    "model.heads": 4,
    "model.cut": 7,
    "model.strides": (8, 8, 4),
}
KINDS = [
    *(("representation", "name", name) for name in REPRESENTATIONS),
    *(("model", "encoder", name) for name in ENCODERS),
]


def test_a_value_for_every_key_of_representations_and_encoders():
    used = {f"representation.{key}" for keys in REPRESENTATIONS.values() for key in keys}
    assert used | {f"model.{key}" for keys in ENCODERS.values() for key in keys} == OTHER.keys()


@pytest.mark.parametrize(
    ("room", "kind", "name", "key"),
    [(*kind, key) for kind in KINDS for key in OTHER if key.startswith(kind[0])],
)
def test_a_key_is_taken_by_its_own_kinds_and_refused_by_all_others(room, kind, name, key):
    changes = {"wave_conv": WAVE_CONV, "mask": MASK}.get(name, {f"{room}.{kind}": name})
    changes = {**changes, key: OTHER[key]}
    taken = REPRESENTATIONS[name] if room == "representation" else ENCODERS[name]
    if key.removeprefix(f"{room}.") in taken:
        config_module.validate(configured(changes))
    else:
        message = refusal(changes)
        assert f"config.{key}={OTHER[key]!r} means nothing to {room}.{kind}={name}" in message


@pytest.mark.parametrize("name", BOTTLENECKS)
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tanh.bound", 2.0),
        ("noise.level", 0.2),
        ("vae.kl_weight", 0.1),
        ("fsq.levels", (5,)),
        ("vq.codebook_size", 64),
        ("rvq.codebook_size", 64),
    ],
)
def test_the_keys_of_a_bottleneck_are_taken_by_it_alone(name, key, value):
    changes = {"model.bottleneck": name, f"model.{key}": value}
    if key.startswith(f"{name}."):
        config_module.validate(configured(changes))
    else:
        message = refusal(changes)
        assert f"config.model.{key}={value!r} means nothing to model.bottleneck={name}" in message


CHOICES = {
    "representation.name": tuple(REPRESENTATIONS),
    "model.encoder": tuple(ENCODERS),
    "model.bottleneck": BOTTLENECKS,
    "train.optimizer": config_module.OPTIMIZERS,
    "train.schedule": config_module.SCHEDULES,
    "train.dtype": ("float32", "bfloat16"),
    "data.channels": ("mono", "first", "stereo", "each"),
    "data.split_by": ("file", "folder"),
    "data.weighting": ("duration", "equal"),
    "data.worker_kind": ("thread", "process"),
    "augment.noise": ("none", "white", "pink", "folder"),
}


@pytest.mark.parametrize(("key", "choices"), CHOICES.items(), ids=CHOICES)
def test_an_unknown_name_lists_the_choices(key, choices):
    message = refusal({key: "xyzzy"})
    assert message == f"config.{key}='xyzzy' must be one of {', '.join(choices)}"
    near = refusal({key: choices[-1] + "s"})
    assert near.endswith("?")
    assert f"did you mean {choices[-1]}?" in near


@pytest.mark.parametrize("representation", REPRESENTATIONS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_other_combination_is_taken(encoder, representation):
    for bottleneck, channels in itertools.product(BOTTLENECKS, ("mono", "stereo")):
        only = {"wave_conv": "waveform", "mask": "complex_spectrogram"}.get(encoder)
        if only and (representation != only or channels == "stereo"):
            continue
        changes = WAVE_CONV if encoder == "wave_conv" else {}
        recurrent_over_samples = encoder in ("lstm", "gru") and representation == "waveform"
        config_module.validate(
            configured(
                {
                    **changes,
                    "model.encoder": encoder,
                    "model.bottleneck": bottleneck,
                    "model.pca_start": not recurrent_over_samples,
                    "representation.name": representation,
                    "data.channels": channels,
                }
            )
        )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("representation", REPRESENTATIONS)
def test_every_loss_goes_with_what_can_be_undone(name, representation):
    changes = {f"loss.{name}.weight": 2.0, "representation.name": representation}
    if name in config_module.AUDIO_LOSSES and representation in ("mel", "spectrogram"):
        assert "has no exact way back" in refusal(changes)
    else:
        config_module.validate(configured(changes))
