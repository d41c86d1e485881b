"""What the programs of experiments hold, lowered or compiled for a TPU; nothing runs."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys

import jax
import pytest
from conftest import REPOSITORY, most_slow

# Of the experiments' encoders, bottlenecks and representations, at least one each.
NAMES = [
    "mel_rvq",
    "mel_fsq",
    "mel_lstm",
    "mel_transformer",
    "stft_conv",
    "voice_convert",
    "wave_conv",
]


@pytest.fixture
def programs(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    return importlib.import_module("programs")


def lowered(programs, name, *keys):
    """The text of a step lowered for a TPU, with the names of its layers."""
    with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm promotes on its own
        prepared = programs.experiment(name, batch_size=4, devices=jax.devices()[:1], keys=keys)
        program = programs.traced(prepared).lower(lowering_platforms=("tpu",))
    return program.as_text(debug_info=True)


@pytest.mark.parametrize("name", most_slow(NAMES, "mel_rvq"))
def test_a_step_for_a_tpu_has_no_single_reads(programs, name):
    text = lowered(programs, name)
    assert "stablehlo.dot_general" in text
    assert re.findall(r"stablehlo\.(?:dynamic_)?(?:gather|scatter)\b", text) == []


INSTRUCTION = re.compile(
    r"stablehlo\.(dot_general|convolution|reduce|fft)\b.* : (.*) loc\(#(loc\d+)\)"
)


@pytest.mark.parametrize("name", most_slow(["mel_conv", "wave_conv", "mel_lstm"], "mel_conv"))
def test_bfloat16_reaches_the_products_of_networks_alone(programs, name):
    text = lowered(programs, name, "train.dtype=bfloat16")
    assert re.findall(r"stablehlo\.(?:dynamic_)?(?:gather|scatter)\b", text) == []
    where = dict(re.findall(r"^#(loc\d+) = loc\((.*)\)$", text, re.MULTILINE))
    products, sums, transforms = {}, set(), set()
    for kind, types, line in INSTRUCTION.findall(text):
        inputs = set(re.findall(r"x(f32|bf16)>", types.partition("->")[0]))
        if kind == "reduce":
            sums |= inputs
        elif where[line].startswith('"dot_general"'):  # in a loop, which has no names
            assert len(inputs) == 1
        elif "/network/" in where[line]:
            products.setdefault(kind, set()).update(inputs)
        else:
            transforms |= inputs
    assert products["dot_general"] == {"bf16"}
    assert products.get("convolution", {"bf16"}) == {"bf16"}
    assert transforms == {"f32"}
    assert "bf16" not in sums


def test_bytes_of_collectives_are_read_from_a_program(programs):
    text = """
  %a.1 = (f32[]{:T(128)}, f32[3,4]{1,0}, /*index=2*/bf16[2]{0}) all-reduce(%b, %c, %d), to_apply=%e
  ROOT %f = f32[8]{0} all-reduce-start(%a.1), channel_id=4
  %g = f32[8]{0} all-reduce-done(%f)
  %h = (f32[1,10]{1,0}, f32[1,10]{1,0}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%i)
  %j = (f32[2]{0}, f32[8]{0}) all-gather-start(%k), metadata={op_name="gather(x)"}
  %l = s32[5,1]{1,0} gather(%m, %n), offset_dims={1}
"""
    sizes = {kind: programs.operand_bytes(text, kind) for kind in programs.COLLECTIVES}
    assert sizes == {
        "all-reduce": [4 + 48 + 4, 32],
        "all-gather": [32],
        "all-to-all": [],
        "collective-permute": [40],
        "reduce-scatter": [],
    }
    assert programs.operand_bytes(text, "gather") == [20]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more_keys"),
    [
        ("mel_conv", ["model.encoder=mlp", "model.mlp.width=16"]),
        ("wave_conv", []),
        (
            "mel_rvq",
            ["model.conv.width=16", "model.rvq.num_quantizers=3", "evaluate.nested_sizes=(1,)"],
        ),
    ],
)
def test_devices_exchange_a_gradient_once(environment, name, more_keys):
    """On 4 CPU devices: as many bytes as parameters have, and a few numbers, or the sums for
    codebooks; audio stays where it is, for FFTs too."""
    script = (
        "import jax, programs;"
        f"keys = {['data.excerpt_seconds=0.5', *more_keys]};"
        f"e = programs.experiment('{name}', batch_size=8, devices=jax.devices(), keys=keys);"
        "f = programs.figures(programs.step(e));"
        "size = sum(x.size for x in jax.tree.leaves(programs.snapshot_shapes(e).state.params));"
        "print(size, f.communicated['all-reduce'], f.collectives['all-reduce'],"
        " f.collectives['all-gather'])"
    )
    environment = environment | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=4",
        "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'benchmarks'}",
    }
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    parameters, exchanged, calls, gathers = map(int, run.stdout.split())
    assert calls <= 4
    assert gathers == 0
    assert 4 * parameters <= exchanged
    assert name == "mel_rvq" or exchanged < 4 * parameters + 1000


@pytest.fixture
def for_a_tpu(environment):
    """Runs Python with libtpu, and returns what it prints."""
    libtpu = os.environ.get("AEJAX_LIBTPU", "")
    if not libtpu and importlib.util.find_spec("libtpu") is None:
        pytest.skip("libtpu is not installed: pip install -e '.[tpu]'")
    path = f"{REPOSITORY}:{REPOSITORY / 'benchmarks'}:{libtpu}"

    def run(*arguments):
        run = subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=2400,
        )
        assert run.returncode == 0, run.stderr[-2000:]
        return run.stdout

    return run


@pytest.mark.slow
def test_dead_entries_are_replaced_without_gathering_a_batch(for_a_tpu):
    script = (
        "import jax, numpy, programs;"
        "from aejax.models.bottlenecks.vector_quantizer import RVQ;"
        "mesh = jax.sharding.Mesh(numpy.array(programs.chips('v5e:2x2')), ('batch',));"
        "model = RVQ(16, num_quantizers=8);"
        "shape = lambda *s, dtype='float32': jax.ShapeDtypeStruct(s, dtype);"
        "z, valid = shape(64, 62, 16), shape(64, 62, dtype='bool');"
        "init = lambda k, z: model.init({'params': k, 'latents': k}, z, None, train=True);"
        "variables = jax.eval_shape(init, jax.random.key(0), z);"
        "step = lambda v, z, valid, k: model.apply(v, z, valid, train=True,"
        " mutable=['codebooks', 'losses'], rngs={'latents': k});"
        "one, rows = (jax.NamedSharding(mesh, jax.P(*x)) for x in ((), ('batch',)));"
        "jitted = jax.jit(step, in_shardings=(one, rows, rows, one), out_shardings=None);"
        "f = programs.figures(jitted.lower(variables, z, valid, jax.random.key(0)));"
        "print(f.collectives['all-gather'], f.collectives['all-reduce'])"
    )
    gathers, reductions = map(int, for_a_tpu("-c", script).split())
    assert gathers == 0
    assert 1 <= reductions <= 4


@pytest.mark.slow
def test_gradients_of_recurrent_networks_gather_no_batch(for_a_tpu):
    """Whose first axis is time."""
    script = (
        "import jax, numpy, programs;"
        "from aejax.models.blocks import product;"
        "mesh = jax.sharding.Mesh(numpy.array(programs.chips('v5e:2x2')), ('batch',));"
        "one, rows = (jax.NamedSharding(mesh, jax.P(*x)) for x in ((), (None, 'batch')));"
        "shape = lambda *s: jax.ShapeDtypeStruct(s, 'float32');"
        "grad = jax.grad(lambda kernel, x: jax.numpy.tanh(product(x, kernel)).sum());"
        "jitted = jax.jit(grad, in_shardings=(one, rows), out_shardings=one);"
        "f = programs.figures(jitted.lower(shape(1, 256), shape(3840, 64, 1)));"
        "print(f.collectives['all-gather'], f.collectives['all-reduce'])"
    )
    assert for_a_tpu("-c", script).split() == ["0", "1"]


@pytest.mark.slow
def test_mel_conv_as_a_tpu_would_run_it(for_a_tpu):
    """Figures of the step, compiled ahead of time; where they get better, write the new ones."""
    script = REPOSITORY / "benchmarks" / "accelerator.py"
    arguments = ["--aot=v5e:2x2", "--experiments", "mel_conv", "--programs", "step"]
    _, name, accessed, flops, _, temporary, _, instructions, _ = (
        cell.strip() for cell in for_a_tpu(script, *arguments).splitlines()[-1].split("|")
    )
    assert name == "`mel_conv`"
    assert float(accessed) == pytest.approx(1.67, rel=0.1)
    assert float(flops) == pytest.approx(21.7, rel=0.1)
    assert float(temporary) == pytest.approx(25, rel=0.1)
    assert instructions == "2 all-reduce, 2 collective-permute"
