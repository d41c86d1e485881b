"""The command `aejax`: what it says, and what it says when something is wrong."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY
from report_runs import make_run
from trained_runs import model_of, write_run

import aejax
from aejax import arguments
from aejax import main as main_module
from aejax.cli import main
from aejax.commands import parts
from aejax.data.preflight import preflight, report
from aejax.evaluation import entropy_coding

RNG = np.random.default_rng(0)


@pytest.fixture
def messy(audio_folder):
    """One of everything that may be wrong with a file."""
    (audio_folder / "empty.wav").write_bytes(b"")
    (audio_folder / "text.wav").write_text("no audio at all, and long enough to be looked at")
    (audio_folder / "notes.txt").write_text("no audio either")
    whole = (audio_folder / "a" / "wav.wav").read_bytes()
    (audio_folder / "cut \n'short'.wav").write_bytes(whole[:5000])
    (audio_folder / "copy.wav").write_bytes(whole)
    soundfile.write(audio_folder / "silent.wav", np.zeros(16000), 16000)
    loud = np.clip(5 * np.sin(np.arange(16000) / 10), -1, 1)
    soundfile.write(audio_folder / "clipped.wav", loud, 16000)
    side = 0.1 * RNG.standard_normal(16000)
    soundfile.write(audio_folder / "anti.wav", np.stack([side, -side], axis=1), 16000)
    bad = np.ones(100)
    bad[3] = np.nan
    soundfile.write(audio_folder / "nan.wav", bad, 16000, subtype="FLOAT")
    return audio_folder


def test_train_takes_names_and_keys(monkeypatch, capsys):
    called = []
    monkeypatch.setattr("aejax.main.run", lambda argv, command: called.append((argv[1:], command)))
    path = str(REPOSITORY / "experiments" / "mel_conv.py")
    assert main(["train", "mel_conv", "train.steps=5", "--workdir=x"]) == 0
    assert main(["train", path, "--sweep"]) == 0
    named = "aejax train mel_conv train.steps=5 --workdir=x"
    assert called == [
        ([f"--config={path}", "--config.train.steps=5", "--workdir=x"], named),
        ([f"--config={path}", "--sweep"], f"aejax train {path} --sweep"),
    ]
    assert main(["train", "mel_convv"]) == 1
    assert "no experiment mel_convv" in capsys.readouterr().err


def test_whole_numbers_may_be_scientific():
    given = ["--config.train.steps=1e3", "--config.train.learning_rate=1e-3", "--config.a=2.5e1"]
    assert list(arguments.words(given)) == ["--config.train.steps=1000", given[1], "--config.a=25"]


def test_experiments_and_runs_are_listed(tmp_path, capsys):
    make_run(tmp_path / "runs" / "small")
    assert main(["list", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("  mel_conv ") for line in lines)
    assert lines[-1].startswith("  small  ")
    assert lines[-1].endswith("latent floats/s")
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert "aejax 0." in capsys.readouterr().out


def test_inspect_shows_what_is_there_and_what_is_wrong(messy, capsys):
    assert main(["inspect", str(messy)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "12 clips, 12.0 seconds, read at 16000 Hz",
        "sample rates (Hz)  16000: 6, 22050: 3, 44100: 3",
        "channels           1: 8, 2: 4",
        "5 files left out: 1 empty, 1 truncated, 1 non-finite, 1 duplicate, 1 unreadable",
        "empty.wav: empty file",
        "text.wav: unreadable: Format not recognised",
        "cut \\n'short'.wav: truncated: ",
        "copy.wav: the same sound as a/wav.wav",
        "nan.wav: non-finite samples",
        "3 files used, with remarks: 1 silent, 1 clipped, 1 anti-phase",
        "silent.wav: its peak is -200 dB",
        "anti.wav: the mean of its channels is",
        "1 other file, not audio",
        "train",
    ):
        assert line in printed, line


def test_inspect_as_json(messy, capsys):
    assert main(["inspect", str(messy), "--json", "--split_by=folder"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["clips"] == 12
    assert found["left_out"]["duplicate"] == {"copy.wav": "the same sound as a/wav.wav"}
    assert found["left_out"].keys() >= {"empty", "truncated", "unreadable", "non-finite"}
    assert found["noticed"].keys() == {"silent", "clipped", "anti-phase"}
    folders = [set(part["folders"]) for part in found["splits"].values()]
    assert set.union(*folders) == {"a", "b", "c"}
    assert sum(map(len, folders)) == 3
    assert sum(part["clips"] for part in found["splits"].values()) == 12
    assert sum(count for _, _, count in found["durations"]) == 12
    assert found["formats"]["WAV PCM_16"] == 6
    assert found["labels"] == {"folder": [3, 3]}


def test_what_is_sound_has_nothing_wrong(audio_folder, open_folder):
    assert "nothing wrong with any file" in report(preflight(open_folder(audio_folder)))


def test_pack_then_inspect(messy, tmp_path, capsys):
    out = tmp_path / "packed audio"
    assert main(["pack", str(messy), str(out), "--encoding=flac", "--sample_rate=8000"]) == 0
    printed = capsys.readouterr().out
    assert f"--config.data.path='{out}' --config.data.sample_rate=8000" in printed
    assert main(["inspect", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "12 clips, 12.0 seconds, read at 8000 Hz" in printed
    shard = next(out.glob("*.array_record"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert main(["inspect", str(out)]) == 1
    caught = capsys.readouterr()
    assert "its checksum does not match" in caught.out
    assert "has 1 damaged shard" in caught.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["inspect", "{}/nowhere"], "does not exist"),
        (["inspect", "{}", "--test_fraction=2"], "config.data.test_fraction=2.0 must be"),
        (["inspect", "{}", "--sample_rate=7"], "config.data.sample_rate=7 must be"),
        (["inspect", "{}", "--labels=no.csv"], "data.labels=no.csv does not exist"),
        (["inspect", "{}", "--include=*.xyz"], "no audio files that match"),
        (["pack", "{}", "{}/a"], "exists and is not a pack"),
        (["pack", "{}", "{}/out", "--jobs=0"], "must be at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line(audio_folder, capsys, arguments, says):
    assert main([argument.format(audio_folder) for argument in arguments]) == 1
    lines = [x for x in capsys.readouterr().err.splitlines() if "file/s" not in x and x.strip()]
    assert lines[-1].split("\r")[-1].strip().startswith("error: ")
    assert says in lines[-1]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["pack", "--help"], ["inspect", "--help"]])
def test_help_is_help(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == (0 if arguments else 2)
    printed = capsys.readouterr()
    assert "usage: aejax" in printed.out + printed.err


def test_it_needs_no_jax(audio_folder):
    """Looking at a folder should not take the seconds that importing JAX does."""
    script = (
        "import sys; from aejax.cli import main; assert main(sys.argv[1:]) == 0;"
        "assert 'jax' not in sys.modules, 'jax was imported'"
    )
    subprocess.run(
        [sys.executable, "-c", script, "inspect", str(audio_folder)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.DEVNULL,
    )


def test_a_reader_that_has_seen_enough_is_no_error(audio_folder):
    done = subprocess.run(
        f"{sys.executable} -m aejax.cli inspect '{audio_folder}' | head -1",
        shell=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr


# What a trained model is for, as processes, on real recordings.


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    small = {"model.mlp.width": 8, "model.latent_dim": 4}
    noise = {"augment.noise.kind": "white", "task": "denoise"}
    speakers = {"speakers": ("ann", "bob"), "model.speaker_label": "folder"}
    for name, changes in (("plain", {}), ("denoiser", noise), ("voices", speakers)):
        write_run(root / name, model_of("complex_spectrogram", "mlp", **small, **changes))
    model = aejax.load(root / "plain")
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((50, model.config.model.latent_dim))
    entropy_coding.save(
        root / "plain" / entropy_coding.FILE, model=entropy_coding.fit([frames], np.ones(4))
    )
    return root


def as_process(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "aejax.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        **options,
    )


@pytest.mark.slow
def test_the_tasks_on_real_recordings(runs, real_audio, tmp_path):
    sources = [
        next((real_audio / "speech" / "vctk_p225").iterdir()),
        next((real_audio / "music" / "grand_piano").iterdir()),
    ]
    for source in sources:
        facts = soundfile.info(source)
        tasks = {
            "reconstruct": ("plain", ".flac", ()),
            "denoise": ("denoiser", ".wav", ()),
            "convert": ("voices", ".wav", ("--to=bob",)),
        }
        for task, (run, suffix, more) in tasks.items():
            target = tmp_path / f"{source.stem}_{task}{suffix}"
            done = as_process(task, runs / run, source, target, *more)
            assert done.returncode == 0, done.stderr
            found = soundfile.info(target)
            for fact in ("frames", "samplerate", "channels"):
                assert getattr(found, fact) == getattr(facts, fact)
        small, back = tmp_path / f"{source.stem}.aej", tmp_path / f"{source.stem}_back.wav"
        done = as_process("compress", runs / "plain", source, small, "--kbps=8")
        assert done.returncode == 0, done.stderr
        assert small.stat().st_size < source.stat().st_size / 4
        done = as_process("decompress", runs / "plain", small, back)
        assert done.returncode == 0, done.stderr
        assert soundfile.info(back).frames == facts.frames
        done = as_process("decompress", runs / "denoiser", small, tmp_path / "no.wav")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_an_hour_takes_little_memory(runs, tmp_path):
    source, target = tmp_path / "hour.flac", tmp_path / "back.flac"
    second = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    with soundfile.SoundFile(source, "w", 16_000, 1) as file:
        for _ in range(3600):
            file.write(second)
    # Not of `RUSAGE_CHILDREN`: a child's peak there begins at that of the process it came from.
    script = (
        "import re, sys\n"
        "from aejax.cli import main\n"
        "code = main()\n"
        "print(re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())[1])\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "reconstruct", runs / "plain", source, target],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert soundfile.info(target).frames == 3600 * 16_000
    assert int(done.stdout.split()[-1]) < 600_000  # KiB; the hour is 230 MB as floats


@pytest.mark.parametrize(
    ("key", "near"), [("model.width", "model.conv.width"), ("n_mels", "representation.mel.n_mels")]
)
def test_a_misspelt_key_is_named_whole_and_the_right_ones_are_suggested(key, near, flags, capsys):
    assert (
        main_module.main(["aejax", "--config=experiments/mel_conv.py", f"--config.{key}=40"]) == 1
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: unknown config key {key}; did you mean ")
    assert near in line


def test_a_folder_of_runs_that_is_none(capsys):
    assert main(["list", "nowhere"]) == 1
    assert capsys.readouterr().err == "error: nowhere is not a folder of runs\n"


def test_a_repeated_run_needs_no_other_process():
    argv = ["--config=a.py", "--coordinator=b:1", "--processes=2", "--process=0", "--workdir=c"]
    assert arguments.of_one_process(argv) == ["--config=a.py", "--workdir=c"]


def test_what_the_documentation_calls_needs_no_other_import():
    script = "import aejax; print(aejax.config.override(aejax.default(), {'seed': 3}).seed)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "3\n"


def test_a_part_without_a_docstring_has_not_the_one_that_dataclasses_write():
    @dataclasses.dataclass
    class Plain:
        width: int = 3

    assert parts._about(Plain) == ""
