"""The command line: bad input gets one line, and a killed run goes on bit for bit."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, most_slow

from aejax.main import main
from aejax.runtime.errors import UserError

SMALL = [
    "--config.data.synthetic.clips=40",
    "--config.data.synthetic.seconds=1.0",
    "--config.data.excerpt_seconds=0.5",
    "--config.representation.mel.griffin_lim_iterations=2",
    "--config.model.conv.width=32",
    "--config.model.conv.depth=1",
    "--config.model.latent_dim=8",
    "--config.train.batch_size=8",
    "--config.train.validate_every=20",
    "--config.evaluate.example_clips=1",
]


def command(*arguments, config="experiments/mel_conv.py"):
    return [sys.executable, "-m", "aejax.main", f"--config={config}", *map(str, arguments)]


@pytest.fixture
def run(environment):
    def run(*arguments, **options):
        return subprocess.run(
            command(*arguments, **options),
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.fixture
def bad(tmp_path):
    """Folders and files that cannot be used."""
    for name in ("nothing", "short", "one"):
        (tmp_path / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(20):
        soundfile.write(tmp_path / "short" / f"{index}.wav", rng.uniform(-1, 1, 1000), 16000)
    soundfile.write(tmp_path / "one" / "a.wav", rng.uniform(-1, 1, 50000), 16000)
    (tmp_path / "file").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config.model.latent_dims=3"], "did you mean model.latent_dim"),
        (["--config.model.latent_dim=many"], "latent_dim"),
        (["--config.model.latent_dim=641"], "more than the numbers in a block"),
        (["--config.train.learning_rate=-1"], "must be above 0"),
        (["--config.representation.mel.fmax=9000.0"], "above 8000 Hz"),
        (["--config.representation.mel.n_mels=400"], "at least n_fft=1064"),
        (["--config.data.path={bad}/nowhere"], "does not exist"),
        (["--config.data.path={bad}/nothing"], "no audio files"),
        (["--config.data.path={bad}/one"], "too small for its splits"),
        (["--config.data.path={bad}/short"], "every clip is shorter than an excerpt"),
        (["--workdir={bad}/file"], "is a file"),
        (["--workdir={bad}/file/run"], "cannot write"),
        (["extra"], "unexpected argument"),
        (["--nonsense=1"], "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("flags")
def test_bad_input_gets_one_line(bad, capfd, monkeypatch, arguments, says):
    arguments = [argument.format(bad=bad) for argument in arguments]
    if not any("workdir" in argument for argument in arguments):
        arguments.append(f"--workdir={bad}/run")
    # ml-collections looks for keys of the config there.
    monkeypatch.setattr(sys, "argv", ["aejax", "--config=experiments/mel_conv.py", *arguments])
    assert main(sys.argv) == 1
    lines = [line for line in capfd.readouterr().err.splitlines() if "file/s" not in line]
    assert lines[-1].startswith("error: ")
    assert says in lines[-1]
    assert len([line for line in lines if line.strip()]) == 1
    assert not (bad / "run").exists()


@pytest.mark.parametrize("form", ["--config={}", "-config={}", "--config {}"])
def test_a_missing_experiment_is_named(form, capsys):
    assert main(["aejax", *form.format("experiments/mel_cone.py").split()]) == 1
    assert capsys.readouterr().err == (
        "error: --config=experiments/mel_cone.py: no such experiment file\n"
    )


def test_without_arguments_it_says_what_to_give(capsys):
    assert main(["aejax"]) == 1
    assert capsys.readouterr().err.startswith("error: an experiment is missing: --config=")


def test_help_is_help(capsys):
    assert main(["aejax", "--help"]) == 0
    printed = capsys.readouterr().out
    assert "--config=experiments/mel_conv.py" in printed
    assert "--config.model.latent_dim=32" in printed


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (OSError(28, "No space left on device", "runs/x"), 1, "No space left on device: runs/x"),
        (UserError("a\nb\x1b[31m is bad"), 1, "a\\nb\\x1b[31m is bad"),
        (KeyboardInterrupt(), 130, "run the same command to resume"),
    ],
    ids=["disk", "name", "ctrl-c"],
)
def test_every_end_is_one_line(monkeypatch, capsys, error, code, says):
    def fail(*_):
        raise error

    monkeypatch.setattr("aejax.arguments.parse", fail)
    assert main(["aejax"]) == code
    printed = capsys.readouterr().err
    assert says in printed
    assert printed.count("\n") == 1


def digest(workdir):
    """The final checkpoint's arrays and the results, as one hash."""
    from orbax.checkpoint import v1 as ocp

    step = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    tree = ocp.load(workdir / "checkpoints" / str(step))
    results = json.loads((workdir / "results.json").read_text())
    assert f"--workdir={workdir}" in results.pop("command")
    total = hashlib.sha256(json.dumps(results).encode())
    for name in sorted(tree):
        total.update(name.encode() + np.asarray(tree[name]).tobytes())
    return step, total.hexdigest()


def logged(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def kill_when(environment, arguments, ready, number):
    """Starts a run and sends it a signal as soon as ``ready()``."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not ready() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


# Only this test restores without saying where to.
@pytest.mark.filterwarnings("ignore:Sharding info not provided")
@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_nothing_changes(run, environment, tmp_path):
    options = [*SMALL, "--config.train.steps=120", "--config.train.log_every=10"]
    options.append("--config.model.conv.dropout=0.1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = run(*options, f"--workdir={whole}")
    assert done.returncode == 0, done.stderr

    def has(*names):
        return lambda: all(any(killed.glob(name)) for name in names)

    def lines(count):
        def ready():
            path = killed / "metrics.jsonl"
            return path.exists() and len(path.read_text().splitlines()) >= count

        return ready

    moments = [has("corpus.json"), has("pca.npz"), has("checkpoints/*tmp*"), lines(4)]
    moments += [has("checkpoints/60*"), lines(12), has("audio"), has("results.json")]
    codes = []
    for ready in moments:
        code, output = kill_when(
            environment, [*options, f"--workdir={killed}"], ready, signal.SIGKILL
        )
        assert "Traceback" not in output
        codes.append(code)
    assert codes.count(-signal.SIGKILL) >= 5
    assert run(*options, f"--workdir={killed}").returncode == 0
    assert digest(killed) == digest(whole)
    assert logged(killed) == logged(whole)


@pytest.mark.parametrize("number", most_slow([signal.SIGTERM, signal.SIGINT], signal.SIGTERM))
def test_asked_to_stop_a_run_saves_and_goes_on(run, environment, tmp_path, number):
    options = [*SMALL, "--config.train.steps=100000", "--config.train.log_every=5"]
    workdir = tmp_path / "run"

    def running():
        path = workdir / "metrics.jsonl"
        return path.exists() and len(path.read_text().splitlines()) >= 3

    code, output = kill_when(environment, [*options, f"--workdir={workdir}"], running, number)
    assert code == 128 + number
    assert "error: stopped after step" in output
    assert "Traceback" not in output
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    assert f"after step {saved};" in output


def assert_same_losses(one, other):
    """The linear part begins at its optimum, where gradients are mostly rounding, so that weights
    differ by more than losses do; at this rate losses still agree to 1e-4, at three times the rate
    to 2e-2.
    """
    for line, theirs in zip(one, other, strict=True):
        for name in line:
            if name.startswith("loss/") or name.endswith("rmse_db"):
                assert theirs[name] == pytest.approx(line[name], rel=1e-3)


EIGHT = """
import os, json, sys
import jax
from aejax.main import main
assert jax.local_device_count() == int(os.environ["EXPECTED_DEVICES"])
sys.exit(main(["aejax", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one_and_take_over_its_checkpoint(environment, tmp_path):
    def run_on(devices, workdir, steps):
        eight = f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
        arguments = ["--config=experiments/mel_conv.py", f"--workdir={workdir}", *SMALL]
        arguments += [f"--config.train.steps={steps}", "--config.train.log_every=1"]
        arguments += ["--config.train.validate_every=4", "--config.train.learning_rate=0.03"]
        # Not Adam, which makes whole steps out of gradients that are all rounding.
        arguments.append("--config.train.optimizer=sgd")
        done = subprocess.run(
            [sys.executable, "-c", EIGHT, *arguments],
            cwd=REPOSITORY,
            # NPROC: XLA's pool must have a thread for each device, or collectives wait for ever.
            env=environment | {"XLA_FLAGS": eight, "NPROC": "16", "EXPECTED_DEVICES": str(devices)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run_on(1, tmp_path / "one", 8)
    out = run_on(8, tmp_path / "eight", 8)
    assert out.startswith("device: 8 x")
    one, eight = logged(tmp_path / "one"), logged(tmp_path / "eight")
    assert [line["step"] for line in one] == [line["step"] for line in eight]
    assert eight[:3] == [pytest.approx(line, rel=1e-4, abs=1e-5) for line in one[:3]]
    assert_same_losses(one, eight)
    # A checkpoint moves: what eight devices saved, one trains on from, and the other way.
    for source, devices in (("eight", 1), ("one", 8)):
        workdir = tmp_path / f"{source}_moved"
        shutil.copytree(tmp_path / source, workdir)
        shutil.rmtree(workdir / "checkpoints" / "8")
        (workdir / "results.json").unlink()
        assert "resuming from step 4" in run_on(devices, workdir, 8)
        assert [line["step"] for line in logged(workdir)] == [line["step"] for line in one]
        assert_same_losses(one, logged(workdir))


def test_main_imports_in_good_time():
    """Heavy parts wait until they are used: matplotlib, TensorBoard."""
    script = (
        "import sys, aejax.main\n"
        "heavy = {'matplotlib', 'tensorboardX', 'scipy.signal', 'sklearn', 'librosa'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
