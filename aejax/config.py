"""Every config key with its default, unit and meaning; bad values are refused here."""

import difflib
import functools
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ml_collections import ConfigDict

from aejax.errors import UserError
from aejax.runtime import files

# What an encoder and its decoder take of config.model, beside the keys that all do.
_SIZES = ("width", "depth", "decoder_width", "decoder_depth", "dropout")
ENCODERS: dict[str, tuple[str, ...]] = {
    "linear": (),
    "mlp": _SIZES,
    "conv": (*_SIZES, "kernel_size"),
    "mask": ("width", "depth", "dropout", "kernel_size"),
    "lstm": (*_SIZES, "cut"),
    "gru": (*_SIZES, "cut"),
    "transformer": (*_SIZES, "heads"),
    "wave_conv": ("width", "decoder_width", "dropout", "strides"),
}
LINEAR_DECODERS = ("linear", "mask")
BOTTLENECKS = ("none", "tanh", "noise", "vae", "ordered", "fsq", "vq", "rvq")
QUANTIZED = ("fsq", "vq", "rvq")
# What a representation takes of config.representation.
REPRESENTATIONS: dict[str, tuple[str, ...]] = {
    "waveform": ("hop_length",),
    "spectrogram": ("n_fft", "win_length", "hop_length", "floor_db", "griffin_lim_iterations"),
    "complex_spectrogram": ("n_fft", "win_length", "hop_length", "compression"),
    "mel": ("n_fft", "win_length", "hop_length", "n_mels", "fmin", "fmax", "floor_db")
    + ("griffin_lim_iterations",),
    "mdct": ("hop_length", "compression"),
}
# Of features, and of audio, which takes a representation that can be undone exactly.
FEATURE_LOSSES = ("l1", "l2")
AUDIO_LOSSES = (
    "waveform_l1",
    "si_sdr",
    "multi_resolution_stft",
    "auraloss_multi_resolution_stft",
    "multi_scale_mel",
    "dac_mel",
    "a_weighted",
)
LOSSES = FEATURE_LOSSES + AUDIO_LOSSES
OPTIMIZERS = ("adamw", "nadamw", "lamb", "lion", "rmsprop", "sgd")
SCHEDULES = ("cosine", "linear", "exponential", "constant")


def default() -> ConfigDict:
    """A new config with every key there is. An experiment changes some of them."""
    config = ConfigDict()
    config.name = "experiment"  # of the run: its directory and its row in the table
    config.seed = 0  # of what is random in the step: weights, dropout, augmentation, codebooks

    config.data = data = ConfigDict()
    data.path = ""  # folder of audio, or what `aejax pack` made of one; "" is the built-in corpus
    data.include = ("*",)  # glob patterns; a file counts if its path below data.path matches one
    data.labels = ""  # table of labels; "" is labels.csv, .tsv or .parquet in data.path, if there
    data.sample_rate = 16_000  # Hz; everything is resampled to it
    data.channels = "mono"  # "mono": mean of all channels; "first": the first one alone; "stereo":
    # two, each with its own features; "each": every channel is a clip
    data.split_by = "file"  # "file", or "folder": each top-level folder is in one split
    data.seed = 0  # of order, excerpts, and the built-in corpus
    data.split_seed = 0  # another number draws other files or folders into each split
    data.validation_fraction = 0.1  # of files or folders
    data.test_fraction = 0.1  # of files or folders
    data.excerpt_seconds = 2.0  # of each training excerpt at most; whole latent frames
    data.weighting = "duration"  # "duration": long clips are drawn more often; "equal": all alike
    data.silence_db = -60.0  # dB re full scale; an excerpt softer than this is drawn again,
    data.silence_redraws = 0  # at most so many times
    data.workers = 4  # who read audio ahead of the device; 0 for none
    data.worker_kind = "thread"  # "thread" or "process"; the batches are the same
    data.cache_megabytes = 256  # of decoded audio that stays in memory, in each worker process
    data.synthetic = synthetic = ConfigDict()  # the built-in corpus
    synthetic.clips = 1000
    synthetic.seconds = 2.0  # of each clip

    config.representation = representation = ConfigDict()
    representation.name = "mel"  # "waveform", "spectrogram", "complex_spectrogram", "mel" or "mdct"
    representation.n_fft = 1024  # samples; of all but waveform and mdct
    representation.win_length = 0  # samples; 0 is n_fft
    representation.hop_length = 256  # samples; of mdct, half of a window
    representation.n_mels = 80
    representation.fmin = 0.0  # Hz; of mel
    representation.fmax = 0.0  # Hz; 0 is half the sample rate
    representation.floor_db = -60.0  # dB; power below this counts as silence; of mel, spectrogram
    representation.griffin_lim_iterations = 32
    representation.compression = 0.5  # power of magnitudes; of complex_spectrogram and mdct

    config.model = model = ConfigDict()
    model.encoder = "conv"  # a key of ENCODERS; the decoder mirrors it
    model.bottleneck = "none"  # a key of BOTTLENECKS
    model.downsampling = 8  # frames in a block, which becomes one latent frame
    model.latent_dim = 32  # floats in a latent frame
    model.width = 384  # channels inside; of wave_conv, at the rate of the samples
    model.depth = 4  # layers, or residual blocks
    model.decoder_width = 0  # of the decoder; 0 is as wide as the encoder
    model.decoder_depth = 0  # of the decoder; 0 is as deep as the encoder
    model.kernel_size = 3  # latent frames that each residual block of conv sees
    model.heads = 8  # of attention; of transformer
    model.cut = 0  # steps after which back-propagation is cut, 0 for never; of lstm and gru
    model.strides = (4, 8, 8)  # of the stages of wave_conv; their product is the samples in a block
    model.dropout = 0.1  # fraction
    model.speaker_label = ""  # label that the decoder is told, so that latents can do without it
    model.adversary = 0.0  # how strongly latents are kept from telling speakers; 0 for not at all
    model.pca_start = True  # begin as PCA, exactly: a linear path beside the network
    model.tanh = tanh = ConfigDict()
    tanh.bound = 3.0  # of latents that begin with unit variance
    model.noise = noise = ConfigDict()
    noise.bound = 3.0  # as above
    noise.level = 0.1  # standard deviation of the noise in training
    model.vae = vae = ConfigDict()
    vae.kl_weight = 1e-3  # against one mean square; of the KL divergence per latent, in nats
    vae.warmup_steps = 200  # over which the weight rises from 0; batches
    vae.free_bits = 0.0  # of each latent
    model.fsq = fsq = ConfigDict()
    fsq.bound = 3.0  # the outermost levels
    fsq.levels = (8,)  # of the first latent, the second ..., and from the start again
    model.vq = vq = ConfigDict()
    model.rvq = rvq = ConfigDict()
    for quantiser in (vq, rvq):
        quantiser.codebook_size = 1024
        quantiser.commitment = 0.25  # weight of the distance of latents from their entries
        quantiser.decay = 0.99  # of the moving average that entries are
        quantiser.dead_share = 0.03  # of an equal share: an entry used less is replaced
    rvq.num_quantizers = 8  # codebooks
    rvq.quantizer_dropout = 0.5  # how often an excerpt uses a random number of them only

    config.loss = loss = ConfigDict()  # weights; the sum is what is learnt from
    for name in LOSSES:
        loss[name] = ConfigDict({"weight": 0.0})
    loss.l2.weight = 1.0

    config.train = train = ConfigDict()
    train.batch_size = 16  # excerpts
    train.steps = 1000
    train.optimizer = "adamw"  # a key of OPTIMIZERS
    train.schedule = "cosine"  # a key of SCHEDULES, after the warm-up
    train.learning_rate = 1e-3  # the highest
    train.warmup_steps = 50  # updates over which the learning rate rises from 0
    train.adam_b2 = 0.99  # decay of the second moment
    train.weight_decay = 0.1
    train.clip_norm = 1.0  # largest global norm of the gradients
    train.accumulate = 1  # batches, each of them a step, whose gradients make one update
    train.ema_decay = 0.0  # of a moving average of the parameters, measured beside them; 0 for none
    train.dtype = "float32"  # "float32" or "bfloat16", of the networks; the rest is float32
    train.validate_every = 200  # steps; a checkpoint is saved then too
    train.log_every = 20  # steps

    config.augment = augment = ConfigDict()  # of each training excerpt, in the compiled step
    # Played faster or slower, pitch and all, log-uniform; (1.0, 1.0) is off.
    augment.speed = (0.6, 1.6)
    augment.speed_probability = 0.75  # of playing an excerpt at another speed than its own at all
    augment.mix_probability = 0.5  # of mixing another excerpt in, 0 to 40 dB softer
    augment.noise = "none"  # "white", "pink", or "folder"; its level goes by noise_snr_db
    augment.noise_path = ""  # for "folder": of noise
    augment.noise_probability = 0.5  # of adding noise to an excerpt
    augment.noise_snr_db = (0.0, 30.0)  # signal-to-noise ratio, dB, uniform
    augment.target = "noisy"  # what is to be given back; "clean": all but the noise
    augment.eq_db = 3.0  # spread of the response of a random equaliser, dB
    augment.gain_db = 6.0  # louder or softer by up to this, dB
    augment.polarity_probability = 0.0  # of turning an excerpt over
    augment.cut_probability = 0.1  # of beginning and ending abruptly, in silence
    # What the model sees, but does not give back: its bins stretched by a log-uniform factor, as by
    augment.seen_stretch = (1.0, 1.0)  # another throat; of mel and spectrogram
    augment.seen_eq_db = 0.0  # and through another random equaliser, dB
    augment.time_masks = 0  # stretches of frames that the model does not see but has to give back,
    augment.time_mask_frames = 8  # of at most so many frames
    augment.frequency_masks = 0  # the same, of bins
    augment.frequency_mask_bins = 8

    config.evaluate = evaluate = ConfigDict()
    evaluate.listen_clips = 4  # test clips that are written as audio and drawn
    evaluate.cuts = ()  # rows of their own: the first so many latents of ordered, codebooks of rvq
    evaluate.refine_steps = 0  # of improving latents through the decoder, as a row of its own
    evaluate.probes = False  # what latents know of the corpus's labels; needs scikit-learn
    return config


_MOST = 2**31 - 1  # of numbers without a bound of their own: what int32 holds


def _at_least(low: float, most: float = _MOST) -> Callable[[Any], str]:
    def rule(value: Any) -> str:
        if value < low:
            return f"must be at least {low:g}"
        return "" if value <= most else f"must be at most {most:g}"

    return rule


def _above(low: float, most: float = _MOST) -> Callable[[Any], str]:
    return lambda value: f"must be above {low:g}" if value <= low else _at_least(low, most)(value)


def _between(low: float, high: float) -> Callable[[Any], str]:
    """From ``low`` up to but not ``high``."""
    return lambda value: (
        "" if low <= value < high else f"must be at least {low:g} and below {high:g}"
    )


def _fraction(value: float) -> str:
    return "" if 0 <= value <= 1 else "must be from 0 to 1"


def _one_of(*known: str) -> Callable[[Any], str]:
    def rule(value: Any) -> str:
        if value in known:
            return ""
        near = difflib.get_close_matches(str(value), known, n=1)
        return f"must be one of {', '.join(known)}" + (f"; did you mean {near[0]}?" if near else "")

    return rule


def _name(value: str) -> str:
    if value in ("original", "noisy", "pca", "pca_context", "representation_only"):
        return "is the name of another row; give another"
    good = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value)
    return (
        "" if good else "must be letters, digits, '-', '_' and '.', beginning with one of the first"
    )


def _pair(low: float, high: float) -> Callable[[Any], str]:
    """Two numbers, the second not below the first."""

    def rule(value: Any) -> str:
        good = len(value) == 2 and all(_is_number(x) for x in value)
        good = good and low <= value[0] <= value[1] <= high
        return "" if good else f"must be two numbers from {low:g} to {high:g}, the lower one first"

    return rule


_MOST_INTEGERS = 4096


def _integers(low: int, high: int) -> Callable[[Any], str]:
    """One or more integers."""

    def rule(value: Any) -> str:
        good = 0 < len(value) <= _MOST_INTEGERS and all(
            isinstance(x, int) and not isinstance(x, bool) and low <= x <= high for x in value
        )
        return "" if good else f"must be one or more integers from {low} to {high}"

    return rule


def _cuts(value: tuple[int, ...]) -> str:
    if not len(value):
        return ""
    return _integers(1, 2**16)(value) or (
        "" if len(set(value)) == len(value) else "must not have the same number twice"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _patterns(value: tuple[str, ...]) -> str:
    good = len(value) and all(isinstance(pattern, str) for pattern in value)
    return "" if good else "must be one or more glob patterns"


_RULES: dict[str, Callable[[Any], str]] = {
    "name": _name,
    "seed": _between(0, 2**32),
    "data.include": _patterns,
    "data.sample_rate": _between(1000, 1_000_000),
    "data.channels": _one_of("mono", "first", "stereo", "each"),
    "data.split_by": _one_of("file", "folder"),
    "data.seed": _between(0, 2**32),
    "data.split_seed": _between(0, 2**32),
    "data.validation_fraction": _between(0.001, 0.9),
    "data.test_fraction": _between(0.001, 0.9),
    "data.excerpt_seconds": _above(0, 3600),
    "data.weighting": _one_of("duration", "equal"),
    "data.silence_db": _between(-200, 1),
    "data.silence_redraws": _between(0, 1000),
    "data.workers": _between(0, 257),
    "data.worker_kind": _one_of("thread", "process"),
    "data.cache_megabytes": _at_least(0, 10**7),
    "data.synthetic.clips": _at_least(3, 10**7),
    "data.synthetic.seconds": _between(0.1, 60),
    "representation.name": _one_of(*REPRESENTATIONS),
    "representation.n_fft": _between(16, 2**20),
    "representation.win_length": _at_least(0),
    "representation.hop_length": _at_least(1, 2**19),
    "representation.n_mels": _at_least(1, 2**13),
    "representation.fmin": _at_least(0),
    "representation.fmax": _at_least(0),
    "representation.floor_db": _between(-300, 100),
    "representation.griffin_lim_iterations": _at_least(1, 10_000),
    "representation.compression": _above(0, 100),
    "model.encoder": _one_of(*ENCODERS),
    "model.bottleneck": _one_of(*BOTTLENECKS),
    "model.downsampling": _at_least(1, 2**16),
    "model.latent_dim": _at_least(1, 2**16),
    "model.width": _between(1, 2**16),
    "model.depth": _at_least(0, 256),
    "model.decoder_width": _between(0, 2**16),
    "model.decoder_depth": _at_least(0, 256),
    "model.kernel_size": _at_least(1, 2**12),
    "model.heads": _at_least(1, 2**12),
    "model.cut": _at_least(0),
    "model.strides": _integers(2, 4096),
    "model.dropout": _between(0, 1),
    "model.adversary": _at_least(0),
    "model.tanh.bound": _above(0),
    "model.noise.bound": _above(0),
    "model.noise.level": _above(0),
    "model.vae.kl_weight": _at_least(0),
    "model.vae.warmup_steps": _at_least(0),
    "model.vae.free_bits": _at_least(0),
    "model.fsq.bound": _above(0),
    "model.fsq.levels": _integers(2, 2**16),
    **{
        f"model.{kind}.{key}": rule
        for kind in ("vq", "rvq")
        for key, rule in {
            "codebook_size": _at_least(2, 2**18),
            "commitment": _at_least(0),
            "decay": _between(0, 1),
            "dead_share": _between(0, 1),
        }.items()
    },
    "model.rvq.num_quantizers": _between(1, 129),
    "model.rvq.quantizer_dropout": _fraction,
    **{f"loss.{name}.weight": _at_least(0) for name in LOSSES},
    "train.batch_size": _at_least(1, 2**20),
    "train.steps": _at_least(0),
    "train.optimizer": _one_of(*OPTIMIZERS),
    "train.schedule": _one_of(*SCHEDULES),
    "train.learning_rate": _above(0, 1e38),  # which costs neither time nor memory
    "train.warmup_steps": _at_least(0),
    "train.adam_b2": _between(0, 1),
    "train.weight_decay": _at_least(0),
    "train.clip_norm": _above(0),
    "train.accumulate": _at_least(1),
    "train.ema_decay": _between(0, 1),
    "train.dtype": _one_of("float32", "bfloat16"),
    "train.validate_every": _at_least(1),
    "train.log_every": _at_least(1),
    "augment.speed": _pair(0.25, 4),
    "augment.speed_probability": _fraction,
    "augment.mix_probability": _fraction,
    "augment.noise": _one_of("none", "white", "pink", "folder"),
    "augment.noise_probability": _fraction,
    "augment.noise_snr_db": _pair(-100, 200),
    "augment.target": _one_of("noisy", "clean"),
    "augment.eq_db": _at_least(0),
    "augment.gain_db": _at_least(0),
    "augment.polarity_probability": _fraction,
    "augment.cut_probability": _fraction,
    "augment.seen_stretch": _pair(0.25, 4),
    "augment.seen_eq_db": _at_least(0),
    "augment.time_masks": _between(0, 100),
    "augment.time_mask_frames": _at_least(1),
    "augment.frequency_masks": _between(0, 100),
    "augment.frequency_mask_bins": _at_least(1),
    "evaluate.listen_clips": _at_least(1, 10_000),
    "evaluate.cuts": _cuts,
    "evaluate.refine_steps": _at_least(0, 10**6),
}


def flatten(config: ConfigDict) -> dict[str, Any]:
    """Dotted keys to values: ``{"model.latent_dim": 32}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            flat |= {f"{key}.{inner}": leaf for inner, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def override(config: ConfigDict, overrides: Mapping[str, Any]) -> ConfigDict:
    """A copy with some keys changed: ``override(config, {"model.latent_dim": 8})``.

    An integer becomes a float and a list a tuple where the key has one. The whole is for
    `validate` to judge.

    Args:
      config: stays as it is.
      overrides: dotted keys to values.

    Raises:
      UserError: there is no such key, or its value is of another type.
    """
    known = flatten(config)
    changed = config.copy_and_resolve_references()
    for key, value in overrides.items():
        check_known(key, known)
        if isinstance(known[key], float) and type(value) is int:
            value = float(value)
        if isinstance(known[key], tuple) and isinstance(value, list):
            value = tuple(value)
        _check_type(key, value, known[key])
        *rooms, name = key.split(".")
        functools.reduce(operator.getitem, rooms, changed)[name] = value
    return changed


# Keys of files and folders.
PATHS = ("data.path", "data.labels", "augment.noise_path")


def expand_paths(config: ConfigDict) -> ConfigDict:
    """A copy whose paths are as `aejax.runtime.files.expand` has them: however a path is written,
    it is the same run.

    Raises:
      UserError: nobody is called as a path says.
    """
    flat = flatten(config)
    return override(config, {key: str(files.expand(flat[key])) for key in PATHS if flat[key]})


def check_known(key: str, known: Collection[str]) -> None:
    """Refuses a key that is not one of these.

    Raises:
      UserError: naming those that are spelt alike.
    """
    if key not in known:
        near = difflib.get_close_matches(key, known, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown config key {key}{hint}")


def validate(config: ConfigDict) -> None:
    """Refuses a config that cannot work, before anything is read or written.

    Raises:
      UserError: naming the key, its value, and what it must be.
    """
    known, flat = flatten(default()), flatten(config)
    for key in flat:
        check_known(key, known)
    for key in known.keys() - flat.keys():
        raise UserError(f"config key {key} is missing; begin with aejax.config.default()")
    for key, value in flat.items():
        _check_type(key, value, known[key])
        problem = _RULES[key](value) if key in _RULES else ""
        if problem:
            raise UserError(f"config.{key}={value!r} {problem}")
    _check_together(config)


def _check_type(key: str, value: Any, example: Any) -> None:
    kinds = (int, float) if isinstance(example, float) else (type(example),)
    if not isinstance(value, kinds) or (isinstance(value, bool) and not isinstance(example, bool)):
        raise UserError(f"config.{key}={value!r} must be of type {type(example).__name__}")
    if isinstance(value, float) and not abs(value) < float("inf"):
        raise UserError(f"config.{key}={value!r} must be finite")


def _check_together(config: ConfigDict) -> None:
    _check_unused(config)
    _check_sizes(config)
    _check_representation(config)
    _check_seen(config)
    _check_refined(config)
    _check_model(config)
    _check_loss(config)
    _check_data(config)
    _check_train(config)


# What these mean is decided by another key: it, and what it has to be.
_DECIDED: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "augment.speed_probability": ("augment.speed", lambda speed: tuple(speed) != (1.0, 1.0)),
    "augment.noise_probability": ("augment.noise", lambda kind: kind != "none"),
    "augment.noise_snr_db": ("augment.noise", lambda kind: kind != "none"),
    "model.adversary": ("model.speaker_label", bool),
    "augment.target": ("augment.noise", lambda kind: kind != "none"),
    "augment.time_mask_frames": ("augment.time_masks", bool),
    "augment.frequency_mask_bins": ("augment.frequency_masks", bool),
    "model.rvq.quantizer_dropout": ("model.rvq.num_quantizers", lambda count: count > 1),
    "train.adam_b2": ("train.optimizer", lambda name: name != "sgd"),
    "train.dtype": ("model.encoder", lambda name: name != "linear"),
}


def _check_unused(config: ConfigDict) -> None:
    """Refuses what was set and would do nothing."""
    flat, usual = flatten(config), flatten(default())
    taken = {
        ("representation", "name"): {"name", *REPRESENTATIONS[config.representation.name]},
        ("model", "encoder"): {"encoder", "bottleneck", "downsampling", "latent_dim", "pca_start"}
        | ({"speaker_label", "adversary"} if config.model.encoder not in LINEAR_DECODERS else set())
        | set(ENCODERS[config.model.encoder]),
    }
    for (room, kind), keys in taken.items():
        for key in config[room]:
            full = f"{room}.{key}"
            if key not in keys and full in flat and flat[full] != usual[full]:
                raise UserError(
                    f"config.{full}={flat[full]!r} means nothing to"
                    f" {room}.{kind}={config[room][kind]}; leave it out"
                )
    for full, value in flat.items():
        parts = full.split(".")
        of_bottleneck = parts[0] == "model" and len(parts) == 3
        if of_bottleneck and value != usual[full] and parts[1] != config.model.bottleneck:
            raise UserError(
                f"config.{full}={value!r} means nothing to"
                f" model.bottleneck={config.model.bottleneck}; leave it out"
            )
    for full, (other, used) in _DECIDED.items():
        if flat[full] != usual[full] and not used(flat[other]):
            raise UserError(
                f"config.{full}={flat[full]!r} means nothing to {other}={flat[other]}; leave it out"
            )
    if config.model.encoder == "linear" and config.model.pca_start:
        full = "train.weight_decay"
        if flat[full] not in (usual[full], 0):
            raise UserError(
                f"config.{full}={flat[full]:g} means nothing to model.encoder=linear with"
                " model.pca_start=True, since what begins at PCA does not decay; leave it out"
            )


# Samples of an excerpt, numbers of a filter bank, and features in a block.
_MOST_SAMPLES, _MOST_FILTERS, _MOST_BLOCK = 2**28, 2**26, 2**20


def _check_sizes(config: ConfigDict) -> None:
    """Refuses what no machine has the memory for: a config may come from anyone."""
    data, representation = config.data, config.representation
    filters = representation.n_mels * (representation.n_fft // 2 + 1)
    number, words = bins(config)
    for size, most, what in (
        (
            data.excerpt_seconds * data.sample_rate,
            _MOST_SAMPLES,
            f"data.excerpt_seconds x data.sample_rate ({data.excerpt_seconds:g} s at"
            f" {data.sample_rate} Hz)",
        ),
        (
            filters if representation.name == "mel" else 0,
            _MOST_FILTERS,
            "representation.n_mels x (representation.n_fft / 2 + 1)",
        ),
        (
            config.model.downsampling * number,
            _MOST_BLOCK,
            f"model.downsampling x representation's {words}",
        ),
    ):
        if size > most:
            raise UserError(f"config: {what} comes to {size:g}, and may be {most:g} at most")


def _check_representation(config: ConfigDict) -> None:
    data, representation = config.data, config.representation
    nyquist = data.sample_rate / 2
    if representation.fmax > nyquist:
        raise UserError(
            f"config.representation.fmax={representation.fmax:g} is above {nyquist:g} Hz, half of"
            f" data.sample_rate={data.sample_rate}; lower it, or 0 for the highest"
        )
    if representation.fmin >= (representation.fmax or nyquist):
        raise UserError(
            f"config.representation.fmin={representation.fmin:g} must be below"
            f" representation.fmax ({representation.fmax or nyquist:g} Hz)"
        )
    if representation.name == "mdct" and representation.hop_length % 2:
        raise UserError(
            f"config.representation.hop_length={representation.hop_length} must be even for"
            " representation.name=mdct"
        )
    if "n_fft" not in REPRESENTATIONS[representation.name]:
        return
    if representation.n_fft % 2:
        raise UserError(f"config.representation.n_fft={representation.n_fft} must be even")
    if representation.win_length > representation.n_fft:
        raise UserError(
            f"config.representation.win_length={representation.win_length} must be at most"
            f" representation.n_fft={representation.n_fft}"
        )
    key = "win_length" if representation.win_length else "n_fft"
    if representation.hop_length > representation[key] // 2:
        raise UserError(
            f"config.representation.hop_length={representation.hop_length} must be at most half of"
            f" representation.{key}={representation[key]}, or the way back to audio has gaps"
        )


def _check_seen(config: ConfigDict) -> None:
    augment, name = config.augment, config.representation.name
    if tuple(augment.seen_stretch) != (1.0, 1.0) and name not in ("mel", "spectrogram"):
        raise UserError(
            f"config.augment.seen_stretch={tuple(augment.seen_stretch)} is of levels along"
            f" frequency, which representation.name={name!r} does not have; mel and spectrogram do"
        )
    if augment.target == "clean" and augment.seen_eq_db:
        raise UserError(
            f"config.augment.seen_eq_db={augment.seen_eq_db:g} does not go with"
            " augment.target='clean', which gives back what is heard without its noise"
        )


def _check_refined(config: ConfigDict) -> None:
    """Latents are improved by what the model hears, as nobody says it."""
    for used, key in (
        (config.augment.target == "clean", "augment.target='clean'"),
        (config.model.speaker_label, f"model.speaker_label={config.model.speaker_label!r}"),
    ):
        if config.evaluate.refine_steps and used:
            raise UserError(
                f"config.evaluate.refine_steps={config.evaluate.refine_steps} brings what comes"
                f" back nearer to what is heard, and {key} wants something else; leave one out"
            )


def bins(config: ConfigDict) -> tuple[int, str]:
    """Features in a frame, and the keys that say so."""
    representation = config.representation
    half = representation.n_fft // 2 + 1
    number, words = {
        "waveform": (representation.hop_length, "hop_length"),
        "spectrogram": (half, "n_fft / 2 + 1"),
        "complex_spectrogram": (2 * half, "2 (n_fft / 2 + 1)"),
        "mel": (representation.n_mels, "n_mels"),
        "mdct": (representation.hop_length, "hop_length"),
    }[representation.name]
    if config.data.channels == "stereo":
        return 2 * number, f"{words} x 2 channels"
    return number, words


def _check_model(config: ConfigDict) -> None:
    model, representation = config.model, config.representation
    number, words = bins(config)
    block = model.downsampling * number
    if model.latent_dim > block:
        raise UserError(
            f"config.model.latent_dim={model.latent_dim} is more than a block holds:"
            f" model.downsampling x {words} = {model.downsampling} x {number} = {block}"
        )
    wave = representation.name == "waveform"
    if model.encoder == "wave_conv":
        if not wave:
            raise UserError(
                "config.model.encoder='wave_conv' takes representation.name='waveform', not"
                f" {representation.name!r}"
            )
        if config.data.channels == "stereo":
            raise UserError(
                "config.model.encoder='wave_conv' takes one channel, and data.channels='stereo'"
                " gives two; 'mono' or 'each' does"
            )
        if math.prod(model.strides) != block:
            raise UserError(
                f"config.model.strides={tuple(model.strides)} make blocks of"
                f" {math.prod(model.strides)} samples, representation.hop_length x"
                f" model.downsampling = {block}; they have to be the same"
            )
    if model.encoder == "mask":
        if representation.name != "complex_spectrogram":
            raise UserError(
                "config.model.encoder='mask' hears magnitudes and masks complex numbers, so that it"
                " takes representation.name='complex_spectrogram', not"
                f" {representation.name!r}"
            )
        if config.data.channels == "stereo":
            raise UserError(
                "config.model.encoder='mask' takes one channel, and data.channels='stereo' gives"
                " two; 'mono' or 'each' does"
            )
    if model.encoder in ("lstm", "gru") and wave and model.pca_start:
        raise UserError(
            f"config.model.pca_start=True does not go with model.encoder={model.encoder!r} over"
            " samples (representation.name='waveform'): set pca_start to False"
        )
    if model.encoder in ("lstm", "gru") and not model.depth:
        raise UserError(
            f"config.model.depth=0 leaves model.encoder={model.encoder!r} without cells"
        )
    for key in ("width", "decoder_width"):
        if model.encoder == "transformer" and model[key] % (2 * model.heads):
            raise UserError(
                f"config.model.{key}={model[key]} must be a multiple of 2 x model.heads"
                f" = {2 * model.heads}"
            )
    _check_cuts(config)
    if model.bottleneck in (*QUANTIZED, "tanh", "noise") and config.evaluate.refine_steps:
        few = "only a few places" if model.bottleneck in QUANTIZED else "no place beyond its bound"
        raise UserError(
            f"config.evaluate.refine_steps={config.evaluate.refine_steps} moves latents about,"
            f" and model.bottleneck={model.bottleneck!r} leaves them {few}"
        )


def _check_cuts(config: ConfigDict) -> None:
    model, cuts = config.model, tuple(config.evaluate.cuts)
    if not cuts:
        return
    if model.bottleneck not in ("ordered", "rvq"):
        raise UserError(
            f"config.evaluate.cuts={cuts} goes with model.bottleneck='ordered' or 'rvq', whose"
            " first latents or codebooks can do without the others, not with"
            f" {model.bottleneck!r}"
        )
    rvq = model.bottleneck == "rvq"
    most = model.rvq.num_quantizers if rvq else model.latent_dim
    if max(cuts) > most:
        key = "model.rvq.num_quantizers" if rvq else "model.latent_dim"
        raise UserError(f"config.evaluate.cuts={cuts} goes beyond {key}={most}")


def _check_loss(config: ConfigDict) -> None:
    used = [name for name in LOSSES if config.loss[name].weight]
    if not used:
        raise UserError(
            f"config.loss has no weight above 0; give one to loss.{'.weight, loss.'.join(LOSSES)}"
            ".weight"
        )
    for name in used:
        exact = config.representation.name in ("waveform", "complex_spectrogram", "mdct")
        # The phase of what is heard then serves what is to be given back.
        exact = exact or config.augment.target == "clean"
        if name in AUDIO_LOSSES and not exact:
            raise UserError(
                f"config.loss.{name}.weight={config.loss[name].weight} is of audio, and"
                f" representation.name={config.representation.name!r} has no exact way back to it;"
                " waveform, complex_spectrogram and mdct have"
            )


def _check_data(config: ConfigDict) -> None:
    data = config.data
    if (config.augment.noise == "folder") != bool(config.augment.noise_path):
        raise UserError(
            f"config.augment.noise={config.augment.noise!r} and"
            f" augment.noise_path={config.augment.noise_path!r} do not go together: noise from a"
            " folder takes noise='folder' and its path, any other noise takes no path"
        )
    if not data.path and tuple(data.include) != ("*",):
        raise UserError(f"config.data.include={tuple(data.include)} needs a data.path to pick from")
    if not data.path and data.labels:
        raise UserError(f"config.data.labels={data.labels!r} needs a data.path that it is about")
    if data.validation_fraction + data.test_fraction >= 1:
        raise UserError(
            "config.data.validation_fraction + data.test_fraction"
            f" = {data.validation_fraction + data.test_fraction:g} leaves nothing to train on"
        )


def _check_train(config: ConfigDict) -> None:
    if config.train.steps % config.train.accumulate:
        raise UserError(
            f"config.train.accumulate={config.train.accumulate} batches make an update, and"
            f" train.steps={config.train.steps} is not a multiple of it: the last would do nothing"
        )


def differences(config: ConfigDict, other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Keys whose values differ from those of a run's ``config.json``, flattened: (ours, theirs)."""
    ours = {key: _plain(value) for key, value in flatten(expand_paths(config)).items()}
    paths = {
        key: other[key] and str(files.expand(other[key]))
        for key in PATHS
        if isinstance(other.get(key), str)
    }
    other = other | paths
    return {
        key: (ours.get(key), other.get(key))
        for key in sorted(ours.keys() | other.keys())
        if ours.get(key) != other.get(key)
    }


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    return list(value) if isinstance(value, tuple) else value


def from_saved(saved: Mapping[str, Any]) -> ConfigDict:
    """A config as `to_json` wrote it, parsed; keys that came to be later have their defaults.

    Raises:
      UserError: it is no such config, or not a valid one.
    """
    config = override(default(), flattened(saved))
    validate(config)
    return config


def flattened(saved: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys to values, as `flatten`, of parsed JSON."""
    flat: dict[str, Any] = {}
    for key, value in saved.items():
        inner = isinstance(value, dict)
        flat |= flattened(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}": value}
    return flat


def to_json(config: ConfigDict) -> str:
    """The whole config, as ``config.json`` has it."""
    return config.to_json_best_effort(indent=2, sort_keys=False) + "\n"
