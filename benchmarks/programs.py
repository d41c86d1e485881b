"""Programs of an experiment, compiled for devices that need not exist, and their figures."""

import contextlib
import dataclasses
import io
import math
import os
import pathlib
import re
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from runs import Run

from aejax import config as configs
from aejax import prepare
from aejax.evaluation import codecs, evaluate
from aejax.runtime.devices import Devices
from aejax.sweeps import members
from aejax.sweeps.population_steps import vmapped
from aejax.training.compile import step_of
from aejax.training.start import snapshot_shapes
from aejax.workdir import Workdir

LOOKUPS = ("gather", "scatter")
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def chips(topology):
    """The chips of a TPU topology such as "v5e:2x2", on a machine that has none."""
    kind, _, shape = topology.partition(":")
    count = math.prod(int(size) for size in shape.split("x"))
    os.environ |= {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_ACCELERATOR_TYPE": f"{kind.replace('v5e', 'v5litepod')}-{count}",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    jax.config.update("jax_platforms", "cpu")  # for what runs
    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def experiment(name, *, batch_size=64, devices=None, keys=(), augmented=True):
    """An experiment on the built-in corpus, for these devices.

    Args:
      name: of a file in experiments/.
      batch_size: rows of all devices together.
      devices: as for `Devices`.
      keys: other keys of its config, as "key=value".
      augmented: False: without augmentations, except for the noise of denoising.

    Griffin-Lim has two iterations.
    """
    run = Run(name, name, ("data.synthetic.clips=60", f"train.batch_size={batch_size}", *keys))
    config = configs.override(configs.default(), run.config())
    if config.model.speaker_label:
        config.model.speaker_label = "family"
    if not augmented:
        chain = ("noise",) if config.task == "denoise" else ()
        plain = configs.default().augment
        if chain:
            plain.noise = config.augment.noise
        config.augment = plain
        config.augment.chain = chain
    own = config.representation.get(config.representation.name, {})
    if "griffin_lim_iterations" in own:
        own.griffin_lim_iterations = 2
    configs.validate(config)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        prepared = prepare.prepare(config, Workdir(pathlib.Path(folder, "run"), config))
    return dataclasses.replace(prepared, devices=Devices(batch_size, devices))


def step(prepared):
    """The train step, lowered for the experiment's devices."""
    return prepared.devices.lower(step_of(prepared), *_arguments(prepared))


def traced(prepared):
    """The train step, to be lowered for any platform."""
    return jax.jit(step_of(prepared)).trace(*jax.tree.map(_shape, _arguments(prepared)))


def _arguments(prepared):
    batch = prepared.with_speakers(prepared.silent_batch())
    return snapshot_shapes(prepared).state, batch


def _shape(x, sharding=None):
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def population(prepared, count):
    """The train step of a population of so many members, lowered."""
    state, batch = _arguments(prepared)
    state = members.repeated(state, count)
    return prepared.devices.lower(vmapped(step_of(prepared)), state, batch)


def evaluation(prepared, devices):
    """The evaluation of the model on a batch, lowered for these devices as one program."""
    codec = codecs.model_codec(prepared.config, prepared.model, None, None)

    def measured(variables, batch):
        evaluator = evaluate.Evaluator(
            representation=prepared.representation,
            eval_mel=prepared.eval_mel,
            downsampling=prepared.downsampling,
            centre=jnp.zeros(prepared.representation.bins),
            device_put=prepared.device_put,
            add_noise=prepared.add_noise,
        )
        return evaluator.measure(dataclasses.replace(codec, variables=variables), batch)[1:]

    mesh = jax.sharding.Mesh(devices, ("batch",))

    def shapes(tree, *axes):
        sharding = jax.NamedSharding(mesh, jax.P(*axes))
        return jax.tree.map(lambda x: _shape(x, sharding), tree)

    state, batch = _arguments(prepared)
    rows = len(batch["clip"])
    audio = np.zeros((rows, prepared.excerpt, *batch["audio"].shape[2:]), np.float32)
    noise = {} if prepared.noise is None else {"noise": audio}
    batch = {**batch, "audio": audio, "start": np.zeros(rows, np.uint32), **noise}
    variables = state.variables
    return jax.jit(measured).lower(shapes(variables), shapes(batch, "batch"))


@dataclasses.dataclass(frozen=True)
class Figures:
    """What a compiled program does on each device.

    Attributes:
      accessed: bytes that its instructions read and write.
      flops: operations by XLA's count, which has what is in a loop once.
      temporary: bytes of memory beside arguments and results.
      seconds: to compile.
      lookups: number of instructions of each of `LOOKUPS`.
      collectives: number of instructions of each of `COLLECTIVES`.
      communicated: bytes of a device's own operands, by kind of collective.
      text: the program.
    """

    accessed: float
    flops: float
    temporary: int
    seconds: float
    lookups: dict[str, int]
    collectives: dict[str, int]
    communicated: dict[str, int]
    text: str = dataclasses.field(repr=False)


def figures(lowered):
    """Compiles a lowered program and reads its figures."""
    begin = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - begin
    cost, text = compiled.cost_analysis(), compiled.as_text()
    return Figures(
        accessed=cost["bytes accessed"],
        flops=cost["flops"],
        temporary=compiled.memory_analysis().temp_size_in_bytes,
        seconds=seconds,
        lookups={kind: len(operand_bytes(text, kind)) for kind in LOOKUPS},
        collectives={kind: len(operand_bytes(text, kind)) for kind in COLLECTIVES},
        communicated={kind: sum(operand_bytes(text, kind)) for kind in COLLECTIVES},
        text=text,
    )


_SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "f32": 4, "s32": 4, "u32": 4, "f64": 8}
_ARRAY = re.compile(rf"\b({'|'.join(_SIZES)})\[([\d,]*)\]")


def operand_bytes(text, kind):
    """Bytes that each instruction of a kind puts out on a device: of an all-reduce and a permute
    as many as it takes in. An asynchronous one counts once, where it starts."""
    sizes = []
    for line in re.findall(rf"^.* = (.*?[ )]{kind}(?:-start)?)\(", text, re.MULTILINE):
        arrays = [
            _SIZES[dtype] * math.prod(int(size) for size in shape.split(",") if size)
            for dtype, shape in _ARRAY.findall(line)
        ]
        # What starts a permute or a gather names operand, result, and two counters.
        paired = line.endswith("-start") and kind != "all-reduce"
        sizes.append(arrays[1] if paired else sum(arrays))
    return sizes
