"""The commands and the Python of README and the guides run as they stand; those of the tutorial, a
notebook, are run by ``sphinx-build``."""

import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, forget_flags, shrink
from trained_runs import small_model, write_run

import aejax
from aejax import cli, experiment, launchers, parts
from aejax import config as config_module
from aejax import main as main_module
from aejax.results import print_results
from aejax.runtime import rendezvous
from aejax.sweeps import plan, search, single, sweep

DOCS = REPOSITORY / "docs"
README = REPOSITORY / "README.md"
MOST_WORDS = 900
PAGES = [README, DOCS / "story.md", *sorted((DOCS / "guides").glob("*.md"))]
# The names that pages use for audio of anyone's.
FILES = ("song.flac", "noisy.wav", "p225_001.wav", "speech.wav", "flute.wav", "violin.wav")
SPEAKERS = ("vctk_p225", "vctk_p226")
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]


def test_readme_is_short():
    assert len(README.read_text().split()) <= MOST_WORDS


@pytest.mark.parametrize(
    "page", [README, REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: page.name
)
def test_links_lead_to_files(page):
    """Those of docs/ are checked by ``sphinx-build -W``."""
    text = re.sub(r"`[^`\n]*`", "", (REPOSITORY / page).read_text())
    links = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    assert links or page != "README.md"
    assert [link for link in links if not (REPOSITORY / link).exists()] == []


def blocks(page):
    """``(language, text)`` of the blocks of a page that can be run, in order: fenced ones, and of
    README the indented commands, too."""
    pattern = r"^```(sh|python)\n(.*?)^```$|^    ((?:pip install|python|aejax) [^\n]*)$"
    for language, text, indented in re.findall(pattern, page.read_text(), re.M | re.S):
        yield ("sh", indented) if indented else (language, text)


def commands(text):
    """The words of each command, without variables of the environment before it."""
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        words = words[words.index("python") :] if words[:1] in (["srun"], ["mpirun"]) else words
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            first, words = words[:end], words[end + 1 :]
            while re.fullmatch(r"[A-Z_]+=.*", first[0]):
                first = first[1:]
            yield first


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder ``runs`` with a run of each kind that pages use."""
    root = tmp_path_factory.mktemp("trained")
    config = shrink(config_module.default())
    config.name = "mel_conv"
    experiment.run(config, root / "mel_conv")
    shutil.copytree(root / "mel_conv", root / "mine")
    noise = {"augment.noise.kind": "white", "task": "denoise"}
    write_run(root / "mel_denoise", small_model(**noise))
    voices = small_model(speakers=SPEAKERS, **{"model.speaker_label": "folder"})
    write_run(root / "voice_convert", voices)
    return root


@pytest.fixture
def place(trained, tmp_path, flags, monkeypatch):
    """A working directory in which there is all that pages name."""
    rng = np.random.default_rng(0)

    def write(path, seconds=1.5):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Noise whose level changes, so that there is something for models to find.
        levels = np.repeat(rng.uniform(0.01, 0.3, 6), int(seconds * 16_000 / 6))
        soundfile.write(path, levels * rng.standard_normal(len(levels)), 16_000)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "experiments").symlink_to(REPOSITORY / "experiments")
    shutil.copytree(trained, tmp_path / "runs")
    for name in FILES:
        write(tmp_path / name)
    for folder in ("recordings", "noises"):
        for speaker in ("a", "b", "c", "d"):
            for index in range(6):
                write(tmp_path / folder / speaker / f"{index}.wav")
    return tmp_path


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """One process, whatever a command says; its flags and options are checked."""

    def start(*group):
        if group != (None, None, None):
            rendezvous._check(*group)

    def launch(config, workdir, launcher, options, *_, **__):
        config_module.validate(config)
        launchers.check(kind=launcher, jobs=1, options=options, together=True)

    def run_tasks(tasks, *, kind, jobs, options, **_):
        launchers.check(kind=kind, jobs=jobs, options=options)
        for task in tasks:
            task.function(*task.arguments)
            yield task, None

    monkeypatch.setattr(rendezvous, "start", start)
    monkeypatch.setattr(single, "run", launch)
    monkeypatch.setattr(launchers, "launch", run_tasks)


@pytest.fixture
def copied_runs(place, monkeypatch):
    """Training is checking of the config, and a copy of a finished run."""

    def run(config, workdir=None, **_):
        config_module.validate(config)
        path = Path(workdir or Path("runs", config.name))
        if not path.exists():
            shutil.copytree(place / "runs" / "mel_conv", path)
        return print_results(path)

    def run_sweep(members, root, **options):
        assert len(members) > 1
        assert options["mode"] in ("auto", "population", "sequential")
        assert options["launcher"] in ("local", "submitit", "ray")
        for member in members:
            run(member.config, root / member.folder)

    def run_search(chosen, count, space, root, *_, **__):
        assert count > 0
        assert space
        run(chosen, root / "0")

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(experiment, "dry_run", experiment.begin)
    monkeypatch.setattr(aejax, "run", run, raising=False)
    monkeypatch.setattr(sweep, "run", run_sweep)
    monkeypatch.setattr(search, "run", run_search)


@pytest.fixture
def short_runs(place, monkeypatch):
    """Training is of small models for a few steps; other machines are left out."""
    train, train_all, search_all = experiment.run, sweep.run, search.run
    dry_run = experiment.dry_run
    make_members = plan.make_members

    own = set()

    def run(config, workdir=None, **options):
        path = Path(workdir or Path("runs", config.name))
        if path not in own and path.exists():
            shutil.rmtree(path)  # that of `trained`, which is for pages that only use it
        own.add(path)
        return train(shrink(config), path, **options)

    def run_sweep(members, root, **options):
        if options["launcher"] != "local":
            return
        with monkeypatch.context() as context:
            # Where types are checked, aejax's own parts look like parts of other files.
            context.setattr(parts, "outside", dict)
            train_all(members[:2], root, **options)  # `copied_runs` has them all

    def run_search(chosen, count, *rest, **options):
        search_all(shrink(chosen), min(count, 2), *rest, **options)

    def make_small_members(config, *rest):
        return make_members(shrink(config), *rest)

    monkeypatch.setattr(experiment, "run", run)
    monkeypatch.setattr(experiment, "dry_run", lambda config, path: dry_run(shrink(config), path))
    monkeypatch.setattr(aejax, "run", run, raising=False)
    monkeypatch.setattr(plan, "make_members", make_small_members)
    monkeypatch.setattr(sweep, "run", run_sweep)
    monkeypatch.setattr(search, "run", run_search)


def run_command(words, monkeypatch):
    """Runs a command in this process; of ``pip install``, whether there is such an extra."""
    if words[:3] == ["pip", "install", "-e"]:
        extras = re.fullmatch(r"\.(?:\[(.+)\])?", words[3])[1]
        assert not extras or set(extras.split(",")) <= set(EXTRAS)
    elif words[:3] == ["python", "-m", "aejax.main"]:
        arguments = ["aejax.main", *words[3:]]
        monkeypatch.setattr(sys, "argv", arguments)  # ml-collections looks there, too
        forget_flags()
        assert main_module.main(arguments) == 0, shlex.join(words)
    elif words[0] == "aejax" and "--help" not in words:
        assert cli.main(words[1:]) == 0, shlex.join(words)
    else:
        assert words[0] in ("pytest", "sphinx-build")


def run_page(page, monkeypatch):
    """Runs all of a page in order; returns how much there was."""
    count = 0
    for language, text in blocks(page):
        if language == "sh":
            for words in commands(text):
                run_command(words, monkeypatch)
                count += 1
        elif match := re.match(r"# (\w+\.py)\n", text):
            Path(match[1]).write_text(text)
        else:
            exec(compile(text, str(page), "exec"), {"__name__": "page"})
            count += 1
    return count


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("copied_runs", "unchecked_types")
def test_the_commands_of_a_page(page, monkeypatch):
    """All is real but training."""
    assert run_page(page, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if "aejax.main" in page.read_text()], ids=lambda page: page.stem
)
@pytest.mark.usefixtures("short_runs", "unchecked_types")
def test_the_commands_of_a_page_with_training(page, monkeypatch):
    assert run_page(page, monkeypatch)
