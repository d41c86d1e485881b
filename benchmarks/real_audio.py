"""Gain over PCA on real recordings of speakers, instruments and sounds unseen in training.

    python benchmarks/real_audio.py ../shared/audio/data runs/real_audio

Runs ``python -m aejax.main --config=experiments/mel_conv.py`` on four corpora at four latent sizes
and prints a table in Markdown, with the command of each row. Runs that are finished are not run
again, so it can be stopped and started. The folder must have ``speech/fsdd_*``,
``speech/librispeech_*``, ``speech/vctk_*``, ``music/*`` and ``noise/*`` (Free Spoken Digit Dataset,
LibriSpeech, VCTK; instruments; ESC-10 and field recordings).
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import time

LATENTS = (8, 16, 32, 64)
SPLIT = ["data.split_by=folder", "data.validation_fraction=0.15", "data.test_fraction=0.2"]
FSDD = ["data.sample_rate=8000", "representation.n_fft=512", "representation.hop_length=128"]
CORPORA = {
    "speech, 16 kHz": ["data.path={}/speech", "data.include=('librispeech_*','vctk_*')"],
    "FSDD, 8 kHz": ["data.path={}/speech", "data.include=('fsdd_*',)", *FSDD]
    + ["representation.n_mels=64", "data.excerpt_seconds=0.5"]
    # Two speakers are left to train on: far-off pitches cost more than they teach.
    + ["augment.speed=(0.85,1.18)"],
    "music": ["data.path={}/music"],
    "noise": ["data.path={}/noise"],
}


def command(corpus, latents, options, workdir):
    keys = [key.format(options.audio) for key in CORPORA[corpus]] + SPLIT
    keys += [f"data.split_seed={options.split_seed}"] if options.split_seed else []
    keys += [f"model.latent_dim={latents}", f"train.steps={options.steps}"]
    arguments = ["-m", "aejax.main", "--config=experiments/mel_conv.py", f"--workdir={workdir}"]
    return arguments + [f"--config.{key}" for key in keys]


def run(arguments, workdir):
    """Runs it, or what is left of it; returns the results and the minutes that all of it took."""
    record = workdir.with_name(workdir.name + ".seconds")
    if not (workdir / "results.json").exists():
        before = float(record.read_text()) if record.exists() else 0.0
        begin = time.perf_counter()
        try:
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        finally:
            record.parent.mkdir(parents=True, exist_ok=True)
            record.write_text(f"{before + time.perf_counter() - begin:.1f}")
    return json.loads((workdir / "results.json").read_text()), float(record.read_text()) / 60


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=pathlib.Path)
    parser.add_argument("runs", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--split_seed", type=int, default=0, help="other folders in each split")
    parser.add_argument("--corpora", nargs="+", choices=CORPORA, default=list(CORPORA))
    options = parser.parse_args()
    commands = []
    sizes = " | ".join(f"{size} latents" for size in LATENTS)
    print(f"| gain over PCA (dB) | {sizes} | mean | minutes each |")
    print("|" + "---|" * (len(LATENTS) + 3))
    for corpus in options.corpora:
        gains, minutes = [], []
        for latents in LATENTS:
            workdir = options.runs / f"{corpus.split(',')[0].lower()}_{latents}"
            arguments = command(corpus, latents, options, workdir)
            results, took = run(arguments, workdir)
            gains.append(results["rows"][-1]["gain_over_pca_db"])
            minutes.append(took)
        commands.append(arguments)
        cells = " | ".join(f"{gain:+.2f}" for gain in gains)
        mean = sum(gains) / len(gains)
        span = f"{min(minutes):.1f} to {max(minutes):.1f}"
        print(f"| {corpus} | {cells} | {mean:+.2f} | {span} |", flush=True)
    print("\nThe last column of each row:\n")
    for arguments in commands:
        print(f"    python {shlex.join(arguments)}")


if __name__ == "__main__":
    main()
