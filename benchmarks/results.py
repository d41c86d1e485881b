"""The tables and pictures of docs/results.md, measured anew.

    python benchmarks/results.py AUDIO RUNS                      # all of it, which takes a day
    python benchmarks/results.py AUDIO RUNS --sections lead bits
    python benchmarks/results.py AUDIO RUNS --choose speech train.weight_decay=1.0

The last prints validation errors on the splits on which settings are chosen, and nothing of a test.
The others run experiments on another split, with three training seeds, one after the other, into
folders below RUNS, and write what they gave between the marks of each section in docs/results.md,
with the command of each run. Each look at test clips is noted in RUNS/looks.jsonl, and a row whose
settings have changed since its first look is refused (`looks`). Runs that are finished are not run
again unless their keys have changed, so it can be stopped and started; one that was cut off is
begun anew, so that its minutes are whole. AUDIO must have ``speech/fsdd_*``,
``speech/librispeech_*``, ``speech/vctk_*``, ``music/*`` and ``noise/*`` (Free Spoken Digit Dataset,
LibriSpeech, VCTK; instruments; ESC-10 and field recordings).
"""

import argparse
import math
import re
import runpy
import statistics
from collections.abc import Callable, Iterable
from typing import Any

from looks import CHOSEN_ON, PUBLISHED_ON
from runs import REPOSITORY, SEEDS, Measured, Run, Runner

from aejax.runtime import files

PAGE = REPOSITORY / "docs" / "results.md"

SPLIT = ["data.split_by=folder", "data.validation_fraction=0.05", "data.test_fraction=0.2"]
# What each experiment of a corpus is run on.
CORPORA = {
    "speech": ["data.path=AUDIO/speech", "data.include=('librispeech_*','vctk_*')"],
    "digits": ["data.path=AUDIO/speech", "data.include=('fsdd_*',)"],
    "music": ["data.path=AUDIO/music"],
    "noise": ["data.path=AUDIO/noise"],
}
SPEECH = [*CORPORA["speech"], *SPLIT]
SIZES = (8, 16, 32, 64)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


PROTOCOL = (
    f"Settings are chosen on validation clips of the splits {', '.join(map(str, CHOSEN_ON))}"
    f" (`data.split_seed`); these are test clips of split {PUBLISHED_ON}, looked at with settings"
    f" that have not changed since. Means of {len(SEEDS)} training seeds, ± half of their range."
)


def choose(run: Runner, experiment: str, keys: tuple[str, ...]) -> str:
    """Errors on validation clips, of the splits on which settings are chosen."""
    name = f"choose_{experiment}" + "".join(
        f"_{re.sub(r'[^A-Za-z0-9.]+', '-', key)}" for key in keys
    )
    asked = Run(name[:80], experiment, (*CORPORA.get(experiment, ()), *keys))
    rows, gains = [], []
    for split in CHOSEN_ON:
        variant = asked.variant(f"split{split}", f"data.split_seed={split}")
        run.finish(variant)
        model, pca = run.validation(variant)
        gains.append(20 * math.log10(pca / model))
        rows.append([f"{split}", f"{model:.3f}", f"{pca:.3f}", f"{gains[-1]:+.2f}"])
    rows.append(["mean", "", "", f"**{statistics.mean(gains):+.2f}**"])
    return table(["split", "validation RMSE", "PCA's", "gain (dB)"], rows)


def lead(run: Runner) -> str:
    """Gain over PCA on four corpora."""
    gain, grid, tested = "gain_over_pca_db", [], []
    for corpus, keys in CORPORA.items():
        found = {
            size: run(Run(f"{corpus}_{size}", corpus, (*keys, f"model.latent_dim={size}")))
            for size in SIZES
        }
        minutes = [once.cpu_minutes for each in found.values() for once in each.seeds]
        for name in (f"{corpus}, refined", corpus, "pca_context, refined", "pca_context"):
            mean = statistics.mean(found[size].mean(name, gain) for size in SIZES)
            cost = "" if name.startswith("pca") else f"{min(minutes):.1f} to {max(minutes):.1f}"
            cells = [found[size].said(name, gain, "+.2f") for size in SIZES]
            grid.append([corpus, name, *cells, f"**{mean:+.2f}**", cost])
        tested.append(f"- {corpus}: {', '.join(found[SIZES[0]].seeds[0].tested)}")
    head = ["corpus", "gain over PCA (dB) of", *(f"{size} latents" for size in SIZES), "mean"]
    text = "Speakers, instruments or classes of the test are not in the training data. A block is"
    text += f" 8 frames of 16 ms. {PROTOCOL}\n\n" + table([*head, "CPU-minutes a run"], grid)
    return text + "\n\nTested on\n\n" + "\n".join(tested)


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
        ["pca"] + [f"{found['shallow', size].mean('pca', 'feature_rmse'):.2f}" for size in sizes]
    ]
    for kind in kinds:
        names = [(size, f"roche2018_{kind}_{size}") for size in sizes]
        rows.append([kind, *(found[kind, size].said(name, "feature_rmse") for size, name in names)])
    text = "On the built-in corpus, clips that are not in the training data; a latent vector for"
    text += f" each frame of 32 ms. {PROTOCOL}\n\n"
    text += table(["RMSE (dB)", *(f"{size} latents" for size in sizes)], rows)
    others = []
    for number, (label, (member, more)) in enumerate(WHY.items()):
        name = f"roche2018_{member}"
        why = run(Run(f"{name}_why{number}", "roche2018", (*members[name], *more)))
        others.append([label, why.said(name, "feature_rmse")])
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
    text = "On speech, speakers that are not in the training data; 250 latent floats a second each."
    text += f" {PROTOCOL}\n\n"
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
    return [
        label,
        f"{values:,.0f}",
        f"{found.cost('parameters'):,.0f}",
        f"{found.cost('step_ms'):.0f}",
        f"{found.cost('memory_mb'):,.0f}",
        f"{found.cost('cpu_minutes'):.1f}",
        found.said(name, "audio_log_mel_rmse_db"),
        found.said(name, "si_sdr_db", ".1f"),
    ]


CUTS = (1, 2, 4, 8, 16, 32, 64)


def ordered(run: Runner) -> str:
    """One ordered model, cut, against models of one size, and PCA."""
    name = "mel_ordered"
    one = run(Run(f"{name}_speech", name, tuple(SPEECH)))
    rows = []
    curves: dict[str, dict[int, float]] = {"PCA": {}, "one ordered model, cut": {}, "separate": {}}
    for size in CUTS:
        cut = "" if size == CUTS[-1] else f", {size} latents"
        alone = run(Run(f"separate_{size}", "mel_conv", (*SPEECH, f"model.latent_dim={size}")))
        cells = [(one, f"pca{cut}"), (one, f"{name}{cut}"), (alone, "mel_conv")]
        for curve, (measured, row) in zip(curves.values(), cells, strict=True):
            curve[size] = measured.mean(row, "feature_rmse")
        rows.append([f"{size}", *(measured.said(row, "feature_rmse") for measured, row in cells)])
    draw("ordered.png", curves, "latents per block of 8 frames", "log-mel RMSE (dB)")
    head = ["latents", "PCA", "ordered, cut", "trained for that size"]
    text = "On speech, speakers that are not in the training data; RMSE of features in dB. Every"
    text += " model has the network and the 1000 steps of the default. The ordered one has another"
    text += f" objective: the mean error over all sizes. {PROTOCOL}\n\n"
    return text + table(head, rows) + "\n\n![RMSE by number of latents](ordered.png)"


def bits(run: Runner) -> str:
    """Error by bit rate, of FSQ and of residual vector quantisation."""
    rows = []
    curves: dict[str, dict[float, float]] = {"mel_fsq": {}, "mel_rvq": {}}
    found: list[tuple[str, Measured, str]] = []
    for name, keys in sweep_of("mel_fsq").items():
        found.append(("mel_fsq", run(Run(name, "mel_fsq", (*keys, *SPEECH))), name))
    rvq = run(Run("mel_rvq_speech", "mel_rvq", tuple(SPEECH)))
    cuts = [name for name in rvq.seeds[0].rows if name.startswith("mel_rvq")]
    found += [("mel_rvq", rvq, name) for name in cuts]
    for kind, measured, name in sorted(found, key=lambda x: (x[0], _bits(x))):
        bits_per_second = _bits((kind, measured, name))
        curves[kind][bits_per_second / 1000] = measured.mean(name, "audio_log_mel_rmse_db")
        rows.append(
            [name, f"{bits_per_second:,.0f}"]
            + [measured.said(name, "feature_rmse"), measured.said(name, "audio_log_mel_rmse_db")]
            + [
                measured.said(name, "codebook_utilisation"),
                measured.said(name, "perplexity", ".1f"),
            ]
            + [measured.said(name, "bitrate_efficiency")]
        )
    draw("bits.png", curves, "kbit/s", "log-mel RMSE of the audio (dB)")
    head = ["", "bit/s", "features, RMSE (dB)", "audio, log-mel RMSE (dB)", "codes used"]
    text = "On speech, speakers that are not in the training data. The lines of mel_rvq are one"
    text += f" model, cut after so many codebooks. {PROTOCOL}\n\n"
    text += table([*head, "perplexity", "entropy / capacity"], rows)
    return text + "\n\n![Error by bit rate](bits.png)"


def _bits(found: tuple[str, Measured, str]) -> float:
    _, measured, name = found
    return measured.mean(name, "bits_per_second")


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
    parser.add_argument("audio", type=files.expand)
    parser.add_argument("runs", type=files.expand)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    about = "an experiment, and keys with other values: errors on validation clips alone"
    parser.add_argument("--choose", nargs="+", metavar="NAME", help=about)
    options = parser.parse_args()
    if options.choose:
        experiment, *keys = options.choose
        runner = Runner(options.audio.resolve(), options.runs.resolve())
        print(choose(runner, experiment, tuple(keys)))
        return
    for section in options.sections:
        runner = Runner(options.audio.resolve(), options.runs.resolve())
        text = SECTIONS[section](runner)
        write(section, text, runner.commands)
        print(f"\n{text}\n")


if __name__ == "__main__":
    main()
