"""Keys that do not go together are refused by name, and those that do are not."""

import itertools

import pytest

from aejax import config as config_module
from aejax import optimizers, parts
from aejax.losses import AudioLoss
from aejax.representations import STFTRepresentation
from aejax.runtime.errors import UserError

OVER_STFT = [
    name for name, part in parts.representations.items() if issubclass(part, STFTRepresentation)
]
AUDIO_LOSSES = [name for name, part in parts.losses.items() if issubclass(part, AudioLoss)]


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
    "representation.waveform.hop_length": 1,
    "model.downsampling": 256,
    "model.wave_conv.strides": (4, 8, 8),
}

# What is set, and which keys the refusal names.
TOGETHER = [
    ({"representation.mel.fmax": 8001.0}, ["representation.mel.fmax", "data.sample_rate"]),
    (
        {"representation.mel.fmax": 5000.0, "data.sample_rate": 8000},
        ["representation.mel.fmax=5000", "data.sample_rate=8000"],
    ),
    (
        {"representation.mel.fmin": 300.0, "representation.mel.fmax": 300.0},
        ["representation.mel.fmin=300", "fmax"],
    ),
    ({"representation.mel.fmin": 8000.0}, ["representation.mel.fmin", "fmax"]),
    (
        {"representation.name": "mdct", "representation.mdct.hop_length": 255},
        ["representation.mdct.hop_length=255", "must be even"],
    ),
    *(
        (
            {"representation.name": name} | {f"representation.{name}.{key}": x for key, x in own},
            says,
        )
        for name in OVER_STFT
        for own, says in (
            (
                [("win_length", 1026)],
                [f"representation.{name}.win_length=1026", "n_fft=1024"],
            ),
            (
                [("hop_length", 513)],
                [f"representation.{name}.hop_length=513", "n_fft=1024"],
            ),
            (
                [("hop_length", 257), ("win_length", 512)],
                [f"representation.{name}.hop_length=257", "win_length=512"],
            ),
            ([("n_fft", 1023)], [f"representation.{name}.n_fft=1023", "must be even"]),
        )
    ),
    ({"model.latent_dim": 641}, ["model.latent_dim", "model.downsampling", "n_mels"]),
    (
        {"model.latent_dim": 9, "model.downsampling": 2, "representation.mel.n_mels": 4},
        ["model.latent_dim", "model.downsampling x representation's n_mels = 2 x 4 = 8"],
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
        {**WAVE_CONV, "model.wave_conv.strides": (4, 8)},
        [
            "model.wave_conv.strides=(4, 8)",
            "representation.waveform.hop_length",
            "model.downsampling",
        ],
    ),
    (
        {"model.encoder": "lstm", "representation.name": "waveform"},
        ["model.pca_start", "model.encoder='lstm'", "representation.name='waveform'"],
    ),
    (
        {"model.encoder": "gru", "representation.name": "waveform"},
        ["model.pca_start", "model.encoder='gru'", "representation.name='waveform'"],
    ),
    *(
        (
            {"model.encoder": name, f"model.{name}.depth": 0},
            [f"model.{name}.depth=0", f"model.encoder={name!r}"],
        )
        for name in ("lstm", "gru")
    ),
    *(
        (
            {"model.encoder": "transformer", f"model.transformer.{width}": size}
            | {"model.transformer.heads": heads},
            [f"model.transformer.{width}={size}", f"2 x heads = {2 * heads}"],
        )
        for width, size, heads in (("width", 40, 8), ("decoder_width", 40, 8), ("width", 48, 5))
    ),
    (
        {"model.encoder": "wave_conv", "representation.name": "waveform"}
        | {"model.conv.decoder_depth": 2},
        ["model.conv.decoder_depth=2", "model.encoder=wave_conv"],
    ),
    ({"model.decoder": "conv"}, ["model.decoder='conv'", "mirrors the encoder"]),
    (
        {"model.decoder": "wave_conv"},
        ["model.encoder='wave_conv'", "representation.name='waveform'"],
    ),
    (
        {"model.decoder": "transformer", "model.transformer.width": 40},
        ["model.transformer.width=40", "2 x heads = 16"],
    ),
    (
        {"model.decoder": "mlp", "model.lstm.width": 40},
        ["model.lstm.width=40", "model.encoder=conv,mlp"],
    ),
    (
        {"model.decoder": "linear", "model.speaker_label": "folder"},
        ["model.speaker_label='folder'", "model.decoder=linear"],
    ),
    ({"model.adversary": 0.5}, ["model.adversary=0.5", "model.speaker_label"]),
    *(
        (
            {"model.bottleneck": name, "evaluate.refine_steps": 1},
            ["evaluate.refine_steps=1", f"model.bottleneck={name!r}"],
        )
        for name, part in parts.bottlenecks.items()
        if part.quantises
    ),
    *(
        (
            {"model.bottleneck": name, "evaluate.nested_sizes": (2,)},
            ["evaluate.nested_sizes=(2,)", "model.bottleneck", repr(name)],
        )
        for name in parts.bottlenecks
        if name not in ("ordered", "rvq")
    ),
    (
        {"model.bottleneck": "ordered", "evaluate.nested_sizes": (4, 33)},
        ["evaluate.nested_sizes=(4, 33)", "model.latent_dim=32"],
    ),
    (
        {"model.bottleneck": "rvq", "evaluate.nested_sizes": (9,)},
        ["evaluate.nested_sizes=(9,)", "model.rvq.num_quantizers=8"],
    ),
    ({"loss.l2.weight": 0.0}, ["config.loss", *(f"loss.{name}.weight" for name in parts.losses)]),
    *(
        (
            {f"loss.{name}.weight": 0.5, "representation.name": representation},
            [f"loss.{name}.weight=0.5", f"representation.name={representation!r}"],
        )
        for name in AUDIO_LOSSES
        for representation in ("mel", "spectrogram")
    ),
    ({"augment.noise.kind": "folder"}, ["augment.noise.kind='folder'", "augment.noise.path=''"]),
    (
        {"augment.noise.kind": "white", "augment.noise.path": "rain"},
        ["augment.noise.kind='white'", "augment.noise.path='rain'"],
    ),
    (
        {"augment.noise.kind": "pink", "task": "denoise", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "task='denoise'"],
    ),
    (
        {"model.speaker_label": "folder", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "model.speaker_label='folder'"],
    ),
    ({"task": "denoise"}, ["task='denoise'", "augment.noise.kind=none"]),
    (
        {"augment.noise.kind": "white", "task": "denoise", "augment.input_eq.db": 3.0},
        ["augment.input_eq.db=3", "task='denoise'"],
    ),
    (
        {"augment.vtlp.range": (0.8, 1.2), "representation.name": "mdct"},
        ["augment.vtlp.range", "representation.name='mdct'", "mel and spectrogram do"],
    ),
    (
        {"model.encoder": "linear", "model.speaker_label": "folder"},
        ["model.speaker_label='folder'", "model.encoder=linear"],
    ),
    ({"augment.noise.path": "rain"}, ["augment.noise.kind='none'", "augment.noise.path='rain'"]),
    ({"data.include": ("*.wav",)}, ["data.include", "data.path"]),
    ({"data.labels": "labels.csv"}, ["data.labels", "data.path"]),
    (
        {"data.validation_fraction": 0.5, "data.test_fraction": 0.5},
        ["data.validation_fraction", "data.test_fraction", "leaves nothing to train on"],
    ),
    (
        {"train.optimizer": "sgd", "train.adamw.beta2": 0.9},
        ["train.adamw.beta2", "train.optimizer=sgd"],
    ),
    ({"model.latent_dim": 641, "model.pca_start": False}, ["model.latent_dim=641"]),
    (
        {"train.grad_accum_steps": 3, "train.steps": 100},
        ["train.grad_accum_steps=3", "train.steps=100"],
    ),
    (
        {"train.grad_accum_steps": 50, "train.steps": 6},
        ["train.grad_accum_steps=50", "train.steps=6"],
    ),
    (
        {"model.bottleneck": "tanh", "evaluate.refine_steps": 5},
        ["evaluate.refine_steps=5", "model.bottleneck='tanh'", "bound"],
    ),
    ({"augment.noise.snr_db": (0.0, 9.0)}, ["augment.noise.snr_db", "augment.noise.kind=none"]),
    (
        {"augment.speed.range": (1.0, 1.0), "augment.speed.probability": 0.5},
        ["augment.speed.probability=0.5", "augment.speed.range=(1.0, 1.0)"],
    ),
    (
        {"augment.noise.probability": 0.6},
        ["augment.noise.probability=0.6", "augment.noise.kind=none"],
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
    (
        {"augment.time_masks.frames": 3},
        ["augment.time_masks.frames=3", "augment.time_masks.count=0"],
    ),
    (
        {"augment.frequency_masks.bins": 3},
        ["augment.frequency_masks.bins=3", "augment.frequency_masks.count=0"],
    ),
    ({"augment.chain": ("mix", "speed")}, ["augment.chain=('mix', 'speed')", "speed", "first"]),
    ({"augment.chain": ("mix", "mix")}, ["augment.chain=('mix', 'mix')", "not repeat a name"]),
    ({"augment.chain": ("gains",)}, ["augment.chain=('gains',)", "did you mean gain?"]),
    (
        {"augment.chain": ("gain",), "augment.noise.kind": "white"},
        ["augment.noise.kind='white'", "augment.chain=gain"],
    ),
    (
        {"augment.chain": ("gain",), "task": "denoise"},
        ["task='denoise'", "augment.noise.kind=none"],
    ),
    (
        {"representation.mel.n_mels": 8192, "representation.mel.n_fft": 2**14},
        ["representation.mel.n_mels x (representation.mel.n_fft / 2 + 1)"],
    ),
    (
        {"data.excerpt_seconds": 3600.0, "data.sample_rate": 96_000},
        ["data.excerpt_seconds x data.sample_rate"],
    ),
    (
        {"model.downsampling": 2**16, "representation.mel.n_mels": 17},
        ["model.downsampling x representation's n_mels"],
    ),
    (
        {"model.bottleneck": "rvq", "evaluate.nested_sizes": (2, 2)},
        ["evaluate.nested_sizes=(2, 2)", "not repeat a number"],
    ),
    ({"name": "pca_context"}, ["name='pca_context'", "a row in the results"]),
]


@pytest.mark.parametrize(("changes", "named"), TOGETHER, ids=lambda x: str(x)[:60])
def test_what_does_not_go_together_is_refused_by_all_its_names(changes, named):
    message = refusal(changes)
    for name in named:
        assert name in message


@pytest.mark.parametrize(
    "changes",
    [
        {"representation.mel.fmax": 8000.0, "representation.mel.fmin": 7999.0},
        {"representation.mel.hop_length": 512},
        {"representation.mel.win_length": 1024},
        {"representation.name": "mdct", "representation.mdct.hop_length": 254},
        {"representation.name": "waveform", "representation.waveform.hop_length": 255},
        {"model.latent_dim": 640},
        {"model.latent_dim": 1280, "data.channels": "stereo"},
        {**WAVE_CONV, "data.channels": "each"},
        {"model.encoder": "lstm", "representation.name": "waveform", "model.pca_start": False},
        {"model.encoder": "transformer", "model.transformer.width": 48},
        {"model.bottleneck": "ordered", "evaluate.nested_sizes": (1, 32)},
        {"model.bottleneck": "rvq", "evaluate.nested_sizes": (1, 8)},
        {"loss.l2.weight": 0.0, "loss.l1.weight": 1e-9},
        {
            "loss.dac_mel.weight": 1.0,
            "data.sample_rate": 4000,
            "representation.name": "mdct",
        },
        {"augment.noise.kind": "folder", "augment.noise.path": "rain"},
        {"augment.noise.kind": "white", "task": "denoise", "loss.si_sdr.weight": 0.1},
        {"augment.vtlp.range": (0.8, 1.2), "augment.input_eq.db": 3.0},
        {"data.include": ("*.wav",), "data.path": "rain", "data.labels": "labels.csv"},
        {"data.validation_fraction": 0.5, "data.test_fraction": 0.49},
        {"train.optimizer": "sgd"},
        {"model.encoder": "linear", "train.weight_decay": 0.0},
        {"model.encoder": "linear", "train.weight_decay": 5.0, "model.pca_start": False},
        {"train.optimizer": "sgd", "train.sgd.momentum": 0.0},
        {"model.encoder": "linear", "model.decoder": "conv", "train.dtype": "bfloat16"},
        {"model.decoder": "transformer", "model.transformer.width": 48, "model.conv.width": 40},
        {"augment.chain": (), "augment.gain.db": 6.0},
        {"augment.chain": ("speed", "gain", "mix")},
    ],
    ids=lambda x: str(x)[:60],
)
def test_what_lies_just_within_the_bounds_is_taken(changes):
    config_module.validate(configured(changes))


# Another value for each key of parts of which one is chosen, by the end of its name.
OTHER = {
    "n_fft": 2048,
    "win_length": 512,
    "hop_length": 128,
    "n_mels": 40,
    "fmin": 10.0,
    "fmax": 7000.0,
    "floor_db": -50.0,
    "griffin_lim_iterations": 3,
    "compression": 0.4,
    "width": 192,
    "depth": 3,
    "decoder_width": 192,
    "decoder_depth": 3,
    "dropout": 0.2,
    "kernel_size": 5,
    "heads": 4,
    "truncated_bptt_steps": 7,
    "strides": (8, 8, 4),
    "bound": 2.0,
    "level": 0.2,
    "kl_weight": 0.1,
    "warmup_steps": 5,
    "free_bits": 0.5,
    "levels": (5,),
    "codebook_size": 64,
    "commitment": 0.5,
    "decay": 0.9,
    "dead_code_threshold": 0.1,
    "num_quantizers": 4,
    "quantizer_dropout": 0.3,
    "beta2": 0.9,
    "momentum": 0.8,
}
CHOSEN = [parts.representations, parts.encoders, parts.bottlenecks, parts.optimizers]


def test_a_value_for_every_key_of_parts_of_which_one_is_chosen():
    used = {
        key for registry in CHOSEN for _, part in registry.items() for key in parts.keys_of(part)
    }
    assert used == OTHER.keys()


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        pytest.param(registry, name, id=f"{registry.room}.{name}")
        for registry in CHOSEN
        for name in registry
    ],
)
def test_a_key_is_taken_by_its_own_part_and_refused_by_all_others(registry, name):
    choice = f"{registry.room}.{registry.choice}"
    changes = WAVE_CONV if name == "wave_conv" else {choice: name}
    for other, part in registry.items():
        for own in parts.keys_of(part):
            key, value = f"{registry.room}.{other}.{own}", OTHER[own]
            if other == name:
                config_module.validate(configured({**changes, key: value}))
            else:
                message = refusal({**changes, key: value})
                assert f"config.{key}={value!r} has no effect with {choice}={name}" in message


@pytest.mark.parametrize("name", list(parts.encoders))
def test_the_keys_of_a_decoder_of_its_own_are_taken(name):
    encoder = "mlp" if name == "conv" else "conv"
    changes = {**(WAVE_CONV if name == "wave_conv" else {}), "model.encoder": encoder}
    for own in parts.keys_of(parts.encoders[name]):
        key = f"model.{name}.{own}"
        config_module.validate(configured({**changes, "model.decoder": name, key: OTHER[own]}))
        message = refusal({**changes, key: OTHER[own]})
        assert f"config.{key}={OTHER[own]!r} has no effect with model.encoder={encoder}" in message


# What a network has no use for is no key of it.
USELESS = {
    "linear": ("width", "depth", "dropout"),
    "mlp": ("kernel_size", "heads", "truncated_bptt_steps", "strides"),
    "conv": ("heads", "truncated_bptt_steps", "strides"),
    "lstm": ("kernel_size", "heads", "strides"),
    "gru": ("kernel_size", "heads", "strides"),
    "transformer": ("kernel_size", "truncated_bptt_steps", "strides"),
    "wave_conv": ("depth", "decoder_depth", "kernel_size", "heads", "truncated_bptt_steps"),
    "waveform": ("n_fft", "win_length", "n_mels", "fmin", "fmax", "floor_db", "compression"),
    "spectrogram": ("n_mels", "fmin", "fmax", "compression"),
    "complex_spectrogram": ("n_mels", "fmin", "fmax", "floor_db", "griffin_lim_iterations"),
    "mel": ("compression",),
    "mdct": ("n_fft", "win_length", "n_mels", "fmin", "fmax", "floor_db"),
    "none": ("bound", "levels"),
    "vq": ("num_quantizers", "quantizer_dropout"),
    "adamw": ("momentum",),
    "sgd": ("beta2",),
}


@pytest.mark.parametrize(("name", "useless"), USELESS.items(), ids=USELESS)
def test_what_a_part_has_no_use_for_is_no_key_of_it(name, useless):
    (room,) = {registry.room for registry in CHOSEN if name in registry}
    for own in useless:
        with pytest.raises(UserError, match="unknown config key") as caught:
            config_module.override(config_module.default(), {f"{room}.{name}.{own}": OTHER[own]})
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(parts.augmentations))
def test_the_keys_of_an_augmentation_are_refused_where_it_is_not_in_the_chain(name):
    other = "gain" if name == "polarity" else "polarity"
    for own, (usual, _) in parts.keys_of(parts.augmentations[name]).items():
        value = {
            str: "pink" if own == "kind" else "rain",
            float: 0.25,
            int: 3,
            tuple: (1.0, 1.1),
        }[type(usual)]
        key = f"augment.{name}.{own}"
        message = refusal({"augment.chain": (other,), key: value})
        assert f"config.{key}={value!r} has no effect with augment.chain={other}" in message


CHOICES = {
    "task": ("reconstruct", "denoise"),
    "representation.name": tuple(parts.representations),
    "model.encoder": tuple(parts.encoders),
    "model.bottleneck": tuple(parts.bottlenecks),
    "train.optimizer": tuple(parts.optimizers),
    "train.schedule": tuple(optimizers.SCHEDULES),
    "train.dtype": ("float32", "bfloat16"),
    "data.channels": ("mono", "first", "stereo", "each"),
    "data.split_by": ("file", "folder"),
    "data.weighting": ("duration", "equal"),
    "data.worker_kind": ("thread", "process"),
    "augment.noise.kind": ("none", "white", "pink", "folder"),
}


@pytest.mark.parametrize(("key", "choices"), CHOICES.items(), ids=CHOICES)
def test_an_unknown_name_lists_the_choices(key, choices):
    message = refusal({key: "xyzzy"})
    assert message == f"config.{key}='xyzzy' must be one of {', '.join(choices)}"
    near = refusal({key: choices[-1] + "s"})
    assert near.endswith("?")
    assert f"did you mean {choices[-1]}?" in near


@pytest.mark.parametrize("representation", list(parts.representations))
@pytest.mark.parametrize("encoder", list(parts.encoders))
def test_every_other_combination_is_taken(encoder, representation):
    for bottleneck, channels in itertools.product(parts.bottlenecks, ("mono", "stereo")):
        if encoder == "wave_conv" and (representation != "waveform" or channels == "stereo"):
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


@pytest.mark.parametrize("encoder", list(parts.encoders))
def test_every_pair_of_encoder_and_decoder_is_taken(encoder):
    for decoder in parts.encoders:
        if decoder == encoder:
            continue
        changes = WAVE_CONV if "wave_conv" in (encoder, decoder) else {}
        recurrent = {"lstm", "gru"} & {encoder, decoder}
        own = {"model.encoder": encoder, "model.decoder": decoder}
        own["model.pca_start"] = not (changes and recurrent)
        config_module.validate(configured({**changes, **own}))


@pytest.mark.parametrize("name", list(parts.losses))
@pytest.mark.parametrize("representation", list(parts.representations))
def test_every_loss_goes_with_what_can_be_undone(name, representation):
    changes = {f"loss.{name}.weight": 2.0, "representation.name": representation}
    if name in AUDIO_LOSSES and representation in ("mel", "spectrogram"):
        assert "is not exactly invertible" in refusal(changes)
    else:
        config_module.validate(configured(changes))
