"""What trained models are good for: noise removed, sound compressed, voices converted.

    python benchmarks/tasks.py AUDIO RUNS                 # all of it: 45 minutes on two cores
    python benchmarks/tasks.py AUDIO RUNS --only denoise  # or compress, or convert

Trains what is not in RUNS yet, by the commands that it prints, with the CPU time that each took;
then prints tables of docs/results.md, and writes listening examples into the report of each run.
AUDIO must have ``speech/fsdd_*``, ``speech/librispeech_*``, ``speech/vctk_*`` and ``noise/*``
(Free Spoken Digit Dataset, LibriSpeech, VCTK; ESC-10). Takes what ``pip install -e '.[bench]'``
installs.
"""

import argparse
import os
import pathlib
import resource
import shlex
import subprocess
import sys

import numpy as np
import task_compress
import task_convert
import task_denoise

import aejax
from aejax import corpora
from aejax.evaluation import audio_examples
from aejax.prepare import eval_mel as eval_mel_of
from aejax.runtime import files

REPOSITORY = pathlib.Path(__file__).parents[1]
# Settings were chosen by what came of them on split 0; what is reported is of another one.
SPLIT = ["data.split_seed=1"]
SPEECH = [*SPLIT, "data.path=AUDIO/speech", "data.include=('librispeech_*/*','vctk_*/*')"]
UNSEEN = [*SPEECH, "data.split_by=folder", "data.test_fraction=0.2"]
NOISY = [*UNSEEN, "augment.noise.kind=folder", "augment.noise.path=AUDIO/noise"]
CODEC = ["name=codec", *UNSEEN, "train.weight_decay=2.0", "train.steps=3000"]
# Latents, and what each costs against the error: for few bits and for more.
CODECS = {
    "codec_64": ("mel_vae", [*CODEC, "model.latent_dim=64", "model.vae.kl_weight=0.06"]),
    "codec_128": ("mel_vae", [*CODEC, "model.latent_dim=128", "model.vae.kl_weight=0.03"]),
    "codec_256": ("mel_vae", [*CODEC, "model.latent_dim=256", "model.vae.kl_weight=0.02"]),
    "codec_256_fine": ("mel_vae", [*CODEC, "model.latent_dim=256", "model.vae.kl_weight=0.005"]),
}
# By name: the experiment, and what differs from it.
RUNS = {
    "mel_denoise": ("mel_denoise", NOISY),
    **CODECS,
    "digits": (
        "voice_convert",
        [*SPLIT, "data.path=AUDIO/speech", "data.include=('fsdd_*/*',)", "data.sample_rate=8000"]
        + [
            "data.excerpt_seconds=0.6",
            "representation.mel.n_fft=512",
            "representation.mel.hop_length=128",
        ],
    ),
    "sentences": ("voice_convert", [*SPEECH, "train.steps=2000"]),
}


def trained(name, audio, root):
    """The run's directory; trained first, if it is not finished."""
    experiment, keys = RUNS[name]
    path = root / name
    command = [sys.executable, "-m", "aejax.main", f"--config=experiments/{experiment}.py"]
    command += [f"--config.{key}" for key in keys] + [f"--workdir={path}"]
    print(f"\n{shlex.join(['python', *command[1:]])}", flush=True)
    if not (path / "results.json").exists():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        given = [part.replace("AUDIO", str(audio)) for part in command]
        with open(root / f"{name}.log", "w") as log:
            subprocess.run(given, cwd=REPOSITORY, check=True, stdout=log, stderr=log)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        (root / f"{name}.minutes").write_text(f"{spent / 60:.1f}")
    print(f"{(root / f'{name}.minutes').read_text()} CPU-minutes, training and measuring\n")
    return path


def denoise(audio, root):
    runs = [trained(name, audio, root) for name in ("mel_denoise",)]
    task_denoise.compare(runs)
    for run in runs:
        model = aejax.load(run)
        examples = []
        for clean, noisy, ratio in task_denoise.mixtures(model.config, 2):
            if ratio in (0, 10):
                labels = {"use": "aejax denoise", "SNR": f"{ratio} dB"}
                sounds = {"clean": clean, "noisy": noisy, "denoised": model.denoise(noisy)}
                examples.append(
                    audio_examples.Example(f"example {len(examples) + 1}", labels, sounds)
                )
        write(run, model, examples)


def compressed(audio, root):
    runs = [trained(name, audio, root) for name in CODECS]
    task_compress.compare(runs)
    run = root / "codec_128"
    model, codec = task_compress.load(run)
    rate, sounds = model.sample_rate, list(task_compress.clips(model.config, "test"))
    examples = []
    with task_compress.folder() as place:
        for number, sound in enumerate(sounds[:2]):
            versions = {"original": sound}
            for kbps in (0.5, 1.0, 2.0):
                back = task_compress.through_model(codec, sound, rate, kbps, place)[1]
                versions[f"{kbps:g} kbit/s"] = back
            versions["Opus"] = task_compress.through_libsndfile(sound, rate, ".opus", 1.0, place)[1]
            examples.append(
                audio_examples.Example(f"example {number + 1}", {"use": "aejax compress"}, versions)
            )
    first, last = (sound[: 2 * rate] for sound in (sounds[0], sounds[-1]))
    ends = [model.encode(sound) for sound in (first, last)]
    steps = np.linspace(0, 1, 5, dtype=np.float32)
    between = {
        f"{share:.0%}": model.decode((1 - share) * ends[0] + share * ends[1]) for share in steps
    }
    examples.append(
        audio_examples.Example("from one sound to another", {"use": "aejax interpolate"}, between)
    )
    write(run, model, examples)


def convert(audio, root):
    digits = trained("digits", audio, root)
    task_convert.digits(digits)
    sentences = trained("sentences", audio, root)
    task_convert.sentences(sentences)
    for run, targets in ((digits, None), (sentences, ("vctk_p225", "vctk_p226"))):
        model = aejax.load(run)
        corpus = corpora.open_corpus(
            pathlib.Path(model.config.data.path), corpora.settings_of(model.config)
        )
        examples = []
        for clip in corpus.clips.of_split("test").tolist():
            name = corpus.clips.name(clip)
            who = name.partition("/")[0]
            if who in (targets or model.speakers) and len(examples) < 4:
                sound = corpus.read(clip, 0, int(corpus.clips.samples[clip]))
                versions = {who: sound} | {
                    f"as {target}": model.reconstruct(sound, speaker=target)
                    for target in targets or model.speakers
                    if target != who
                }
                labels = {"use": "aejax convert", "synthetic": "all but the first"}
                examples.append(audio_examples.Example(name, labels, versions))
        write(run, model, examples)


def write(run, model, examples):
    eval_mel = eval_mel_of(model.config)
    audio_examples.write_examples(run, eval_mel, model.sample_rate, examples)
    subprocess.run([sys.executable, "-m", "aejax.cli", "report", str(run)], check=True)


TASKS = {"denoise": denoise, "compress": compressed, "convert": convert}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=files.expand, metavar="AUDIO")
    parser.add_argument("runs", type=files.expand, metavar="RUNS")
    parser.add_argument("--only", nargs="+", choices=list(TASKS), default=list(TASKS))
    given = parser.parse_args()
    given.runs.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("TQDM_MININTERVAL", "10")
    for name in given.only:
        TASKS[name](given.audio.resolve(), given.runs.resolve())


if __name__ == "__main__":
    main()
