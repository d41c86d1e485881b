"""The tables and pictures of docs/results.md, measured anew.

    python benchmarks/results.py AUDIO RUNS                      # all of it, which takes hours
    python benchmarks/results.py AUDIO RUNS --sections lead bits

Runs experiments, one after the other, into folders below RUNS, and writes what they gave between
the marks of each section in docs/results.md, with the command of each run. Runs that are finished
are not run again unless their keys have changed, so it can be stopped and started; one that was cut
off is begun anew, so that its minutes are whole. AUDIO must have ``speech/fsdd_*``,
``speech/librispeech_*``, ``speech/vctk_*``, ``music/*`` and ``noise/*`` (Free Spoken Digit Dataset,
LibriSpeech, VCTK; instruments; ESC-10 and field recordings).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

REPOSITORY = pathlib.Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "results.md"

SPLIT = ["data.split_by=folder", "data.validation_fraction=0.05", "data.test_fraction=0.2"]
SPEECH = ["data.path=AUDIO/speech", "data.include=('librispeech_*','vctk_*')", *SPLIT]
CORPORA = {
    "speech": [*SPEECH, "train.weight_decay=2.0"],
    "fsdd": ["data.path=AUDIO/speech", "data.include=('fsdd_*',)", *SPLIT]
    + ["data.sample_rate=8000", "representation.n_fft=512", "representation.hop_length=128"]
    # Two speakers are left to train on: far-off pitches cost more than they teach, and another
    # voice comes by another microphone.
    + ["representation.n_mels=64", "augment.speed=(0.85,1.18)", "augment.eq_db=6"]
    + ["model.dropout=0.2"],
    "music": ["data.path=AUDIO/music", *SPLIT, "train.weight_decay=2.0"],
    # Four minutes of CPU time; what more of them would give was not measured.
    "noise": ["data.path=AUDIO/noise", *SPLIT, "train.weight_decay=2.0", "train.steps=2600"],
}
SIZES = (8, 16, 32, 64)
SEEDS = (0, 1, 2)
SEEDS_AT = 16
# Of four speakers, 0 and 1 draw the same one for the test.
SPLIT_SEEDS = {"fsdd": (0, 2, 8)}
# Within ten minutes of CPU time. Most of the network is the decoder, by which latents are refined.
LONG = ["train.steps=6500", "train.validate_every=1300"]
LONG += ["model.width=256", "model.depth=2", "model.decoder_width=448", "model.decoder_depth=5"]
REFINED = ["evaluate.refine_steps=50"]


@dataclasses.dataclass(frozen=True)
class Run:
    """An experiment with other values for some keys."""

    name: str
    experiment: str
    keys: tuple[str, ...]

    def arguments(self, workdir: str | pathlib.Path) -> list[str]:
        start = ["-m", "aejax.main", f"--config=experiments/{self.experiment}.py"]
        return start + [f"--workdir={workdir}"] + [f"--config.{key}" for key in self.keys]


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run gave and took; ``tested``: folders of the test; ``memory_mb``: of the step."""

    rows: dict[str, dict[str, Any]]
    tested: tuple[str, ...]
    cpu_minutes: float
    memory_mb: float
    step_ms: float
    parameters: int


class Runner:
    """Runs what was not run yet, and remembers the commands."""

    def __init__(self, audio: pathlib.Path, runs: pathlib.Path) -> None:
        self.audio, self.runs = audio, runs
        self.commands: list[str] = []

    def __call__(self, run: Run) -> Measured:
        self.commands.append(shlex.join(["python", *run.arguments(f"runs/{run.name}")]))
        workdir = self.runs / run.name
        record = self.runs / f"{run.name}.json"
        asked = [run.experiment, dict(key.split("=", 1) for key in run.keys)]
        known = json.loads(record.read_text()) if record.exists() else {}
        if known.get("asked") != asked:
            shutil.rmtree(workdir, ignore_errors=True)
            print(run.name, flush=True)
            known = {"asked": asked, "cost": self._measure(run, workdir)}
            record.write_text(json.dumps(known))
        results = json.loads((workdir / "results.json").read_text())
        rows = {row["name"]: row for row in results["rows"]}
        splits = json.loads((workdir / "corpus.json").read_text())["splits"]
        return Measured(rows, tuple(splits["test"].get("folders", ())), **known["cost"])

    def _measure(self, run: Run, workdir: pathlib.Path) -> dict[str, float]:
        self.runs.mkdir(parents=True, exist_ok=True)
        arguments = [x.replace("AUDIO/", f"{self.audio}/") for x in run.arguments(workdir)]
        with (self.runs / f"{run.name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT
            )
            _, status, usage = os.wait4(process.pid, 0)
        output = (self.runs / f"{run.name}.log").read_text()
        if status:
            raise SystemExit(f"{run.name} failed:\n{output[-2000:]}")
        lines = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
        rates = [x["time/steps_per_second"] for x in lines if "time/steps_per_second" in x]
        found = re.search(r"([\d,]+) parameters, ([\d,]+) MB", output)
        assert found, f"{run.name} does not say what its step takes"
        return {
            "cpu_minutes": (usage.ru_utime + usage.ru_stime) / 60,
            "memory_mb": int(found[2].replace(",", "")),
            "step_ms": 1e3 / statistics.median(rates),
            "parameters": int(found[1].replace(",", "")),
        }


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def gain_of(measured: Measured, name: str) -> float:
    return measured.rows[name]["gain_over_pca_db"]


def lead(run: Runner) -> str:
    """Gain over PCA on four corpora."""
    grid, spread = [], []
    for corpus, keys in CORPORA.items():
        splits = SPLIT_SEEDS.get(corpus, SEEDS)
        found = {
            (size, seed): run(
                Run(
                    f"{corpus}_{size}" + (f"_seed{seed}" if seed else ""),
                    "mel_conv",
                    (*LONG, *keys, *REFINED, f"model.latent_dim={size}")
                    + ((f"seed={seed}", f"data.split_seed={splits[seed]}") if seed else ()),
                )
            )
            for size in SIZES
            for seed in (SEEDS if size == SEEDS_AT else (0,))
        }
        minutes = [x.cpu_minutes for x in found.values()]
        for name in ("mel_conv, refined", "mel_conv", "pca_context, refined", "pca_context"):
            gains = [gain_of(found[size, 0], name) for size in SIZES]
            mean = statistics.mean(gains)
            linear = name.startswith("pca")
            cost = "" if linear else f"{min(minutes):.1f} to {max(minutes):.1f}"
            grid.append([corpus, name, *(f"{x:+.2f}" for x in gains), f"**{mean:+.2f}**", cost])
        seeds = [gain_of(found[SEEDS_AT, seed], "mel_conv, refined") for seed in SEEDS]
        spread.append([corpus, *(f"{x:+.2f}" for x in seeds), f"{max(seeds) - min(seeds):.2f}"])
        tested = [", ".join(found[SEEDS_AT, seed].tested) for seed in SEEDS]
        spread.append(["tested on", *tested, ""])
    head = ["corpus", "gain over PCA (dB) of", *(f"{size} latents" for size in SIZES), "mean"]
    text = "Speakers, instruments or classes of the test are unseen in training. Seed 0; a block is"
    text += " 8 frames of 16 ms.\n\n" + table([*head, "CPU-minutes a run"], grid)
    text += "\n\nThe settings were chosen in trial runs on these same corpora, with the gains of"
    text += " the test in view too; no split was held back."
    text += f"\n\nThree seeds at {SEEDS_AT} latents, refined; another seed draws other speakers,"
    text += " instruments or classes for the test, too:\n\n"
    return text + table(["corpus", *(f"seed {seed}" for seed in SEEDS), "spread (dB)"], spread)


def sweep_of(experiment: str) -> dict[str, tuple[str, ...]]:
    """The keys of each member of an experiment's sweep, by name."""
    module = runpy.run_path(str(REPOSITORY / "experiments" / f"{experiment}.py"))
    return {
        member["name"]: tuple(f"{key}={value}" for key, value in member.items())
        for member in module["sweep"]()
    }


# Members at one size with other keys, to tell why an ordering does not hold.
WHY = {
    "deep, 100 latents, begun at PCA": ("deep_100", ("model.pca_start=True",)),
    "deep, 100 latents, four times the steps": ("deep_100", ("train.steps=12000",)),
    # 2 latents / bins: the evidence lower bound of a Gaussian with unit variance.
    "vae, 16 latents, KL weight 0.06": ("vae_16", ("model.vae.kl_weight=0.06",)),
}


def roche(run: Runner) -> str:
    """The comparison of Roche et al."""
    module = runpy.run_path(str(REPOSITORY / "experiments" / "roche2018.py"))
    sizes, kinds = module["LATENTS"], module["MODELS"]
    members = sweep_of("roche2018")
    found = {
        (kind, size): run(Run(name, "roche2018", members[name]))
        for kind in kinds
        for size in sizes
        for name in [f"roche2018_{kind}_{size}"]
    }
    rows = [
        ["pca"] + [f"{found['shallow', size].rows['pca']['feature_rmse']:.2f}" for size in sizes]
    ]
    for kind in kinds:
        errors = [
            found[kind, size].rows[f"roche2018_{kind}_{size}"]["feature_rmse"] for size in sizes
        ]
        rows.append([kind, *(f"{x:.2f}" for x in errors)])
    text = "On the built-in corpus, clips unseen in training; seed 0; a latent vector for each"
    text += " frame of 32 ms.\n\n"
    text += table(["RMSE (dB)", *(f"{size} latents" for size in sizes)], rows)
    others = []
    for number, (label, (member, more)) in enumerate(WHY.items()):
        name = f"roche2018_{member}"
        row = run(Run(f"{name}_why{number}", "roche2018", (*members[name], *more))).rows[name]
        others.append([label, f"{row['feature_rmse']:.2f}"])
    return text + "\n\n" + table(["", "RMSE (dB)"], others)


def representations(run: Runner) -> str:
    """One network on samples, spectrograms and mel spectrograms; an LSTM on samples and on mels."""
    values = {"waveform": 16000, "spectrogram": 513 * 62.5, "mel": 80 * 62.5}
    rows = []
    for name, keys in sweep_of("representations").items():
        kind = name.removeprefix("representations_")
        found = run(Run(name, "representations", (*keys, *SPEECH)))
        rows.append(_heavy(kind, values[kind.split("_")[0]], found, name))
    head = ["", "values/s", "parameters", "step (ms)", "memory of a step (MB)", "CPU-minutes"]
    text = "On speech, speakers unseen in training; seed 0; 250 latent floats a second each.\n\n"
    text += table([*head, "log-mel RMSE (dB)", "SI-SDR (dB)"], rows)
    rows = []
    for name, steps in (("wave_lstm", 16000), ("mel_lstm", 62.5)):
        found = run(Run(f"{name}_speech", name, (*LSTM[name], *SPEECH)))
        row = _heavy(name, values["waveform" if name == "wave_lstm" else "mel"], found, name)
        rows.append([row[0], f"{steps:g}", *row[2:]])
    head = ["", "steps of the LSTM per second of sound", *head[2:]]
    return text + "\n\n" + table([*head, "log-mel RMSE (dB)", "SI-SDR (dB)"], rows)


# As many latent floats a second for both, and as much time.
LSTM = {
    "wave_lstm": ("train.steps=200", "model.latent_dim=4"),
    "mel_lstm": ("train.steps=1000", "model.latent_dim=32"),
}


def _heavy(label: str, values: float, found: Measured, name: str) -> list[str]:
    row = found.rows[name]
    si_sdr = "" if row["si_sdr_db"] is None else f"{row['si_sdr_db']:.1f}"
    return [
        label,
        f"{values:,.0f}",
        f"{found.parameters:,}",
        f"{found.step_ms:.0f}",
        f"{found.memory_mb:,.0f}",
        f"{found.cpu_minutes:.1f}",
        f"{row['audio_log_mel_rmse_db']:.2f}",
        si_sdr,
    ]


CUTS = (1, 2, 4, 8, 16, 32, 64)


def ordered(run: Runner) -> str:
    """One ordered model, cut, against models of one size, and PCA."""
    name = "mel_ordered"
    one = run(Run(f"{name}_speech", name, tuple(SPEECH)))
    rows = []
    curves: dict[str, dict[int, float]] = {"PCA": {}, "one ordered model, cut": {}, "separate": {}}
    for size in CUTS:
        whole = size == CUTS[-1]
        pca = one.rows["pca" if whole else f"pca, {size} latents"]["feature_rmse"]
        cut = one.rows[name if whole else f"{name}, {size} latents"]["feature_rmse"]
        keys = (*SPEECH, f"model.latent_dim={size}")
        alone = run(Run(f"separate_{size}", "mel_conv", keys)).rows["mel_conv"]["feature_rmse"]
        for curve, value in zip(curves.values(), (pca, cut, alone), strict=True):
            curve[size] = value
        rows.append([f"{size}", f"{pca:.2f}", f"{cut:.2f}", f"{alone:.2f}"])
    draw("ordered.png", curves, "latents per block of 8 frames", "log-mel RMSE (dB)")
    head = ["latents", "PCA", "ordered, cut", "trained for that size"]
    text = "On speech, speakers unseen in training; seed 0; RMSE of features in dB. Every model has"
    text += " the network and the 1000 steps of the default. The ordered one has another objective:"
    text += " the mean error over all sizes.\n\n"
    return text + table(head, rows) + "\n\n![RMSE by number of latents](ordered.png)"


def bits(run: Runner) -> str:
    """Error by bit rate, of FSQ and of residual vector quantisation."""
    rows = []
    curves: dict[str, dict[float, float]] = {"mel_fsq": {}, "mel_rvq": {}}
    found: list[tuple[str, dict[str, Any]]] = []
    for name, keys in sweep_of("mel_fsq").items():
        found.append(("mel_fsq", run(Run(name, "mel_fsq", (*keys, *SPEECH))).rows[name]))
    rvq = run(Run("mel_rvq_speech", "mel_rvq", tuple(SPEECH)))
    found += [("mel_rvq", row) for name, row in rvq.rows.items() if name.startswith("mel_rvq")]
    for kind, row in sorted(found, key=lambda x: (x[0], x[1]["bits_per_second"])):
        curves[kind][row["bits_per_second"] / 1000] = row["audio_log_mel_rmse_db"]
        rows.append(
            [row["name"], f"{row['bits_per_second']:,.0f}"]
            + [f"{row['feature_rmse']:.2f}", f"{row['audio_log_mel_rmse_db']:.2f}"]
            + [f"{row['codebook_utilisation']:.2f}", f"{row['perplexity']:.1f}"]
            + [f"{row['bitrate_efficiency']:.2f}"]
        )
    draw("bits.png", curves, "kbit/s", "log-mel RMSE of the audio (dB)")
    head = ["", "bit/s", "features, RMSE (dB)", "audio, log-mel RMSE (dB)", "codes used"]
    text = "On speech, speakers unseen in training; seed 0. The lines of mel_rvq are one model, cut"
    text += " after so many codebooks.\n\n"
    text += table([*head, "perplexity", "entropy / capacity"], rows)
    return text + "\n\n![Error by bit rate](bits.png)"


def draw(name: str, curves: dict[str, dict[Any, float]], across: str, up: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for label, points in curves.items():
        axes.plot(list(points), list(points.values()), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(PAGE.with_name(name), dpi=110)


SECTIONS: dict[str, Callable[[Runner], str]] = {
    "lead": lead,
    "roche": roche,
    "representations": representations,
    "ordered": ordered,
    "bits": bits,
}


HEAD = """# Results

What aejax found out, on two CPU cores. `python benchmarks/results.py AUDIO RUNS` writes the tables
and pictures anew.
"""


def write(section: str, text: str, commands: list[str]) -> None:
    """Puts a section between its marks; at the end of the page where they are missing."""
    begin, end = f"<!-- {section} -->", f"<!-- end of {section} -->"
    page = PAGE.read_text() if PAGE.exists() else HEAD
    if begin not in page:
        title = (SECTIONS[section].__doc__ or section).rstrip(".")
        page += f"\n## {title}\n\n{begin}{end}\n"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    listed = "\n".join(f"    {command}" for command in dict.fromkeys(commands))
    details = f"<details><summary>The commands</summary>\n\n{listed}\n\n</details>"
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{details}\n\n{end}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=pathlib.Path)
    parser.add_argument("runs", type=pathlib.Path)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    options = parser.parse_args()
    for section in options.sections:
        runner = Runner(options.audio.resolve(), options.runs.resolve())
        text = SECTIONS[section](runner)
        write(section, text, runner.commands)
        print(f"\n{text}\n")


if __name__ == "__main__":
    main()
