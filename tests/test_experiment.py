"""Whole experiments, shrunk by overrides."""

import json
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import soundfile
from conftest import REPOSITORY, shrink

import aejax
from aejax import config as config_module
from aejax import experiment, parts
from aejax.data.packing import pack
from aejax.evaluation.evaluate import Evaluator, LatentCodec, decode, encode
from aejax.inference import load
from aejax.prepare import prepare
from aejax.reporting.table import results_table
from aejax.runtime import files
from aejax.runtime.errors import UserError
from aejax.training import compile, loop, pca_fit
from aejax.workdir import Workdir

EXPERIMENTS = sorted((REPOSITORY / "experiments").glob("*.py"))
# The others are for CI.
ALWAYS = ("mel_rvq",)
UNITS = {
    "latent_floats_per_second",
    "feature_rmse",
    "audio_log_mel_rmse_db",
    "si_sdr_db",
    "explained_variance",
    "bits_per_second",
    "codebook_utilisation",
    "perplexity",
    "bitrate_efficiency",
    "gain_over_pca_db",
    "audio_gain_over_pca_db",
    "gain_over_coded_pca_db",
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=() if path.stem in ALWAYS else pytest.mark.slow, id=path.stem)
        for path in EXPERIMENTS
    ],
)
def test_every_experiment_runs(path, tmp_path, capsys):
    config = shrink(runpy.run_path(str(path))["get_config"]())
    if config.model.speaker_label:
        config.model.speaker_label = "family"  # the built-in corpus has no folders
    denoises = config.task == "denoise"
    rows = experiment.run(config, tmp_path / "run").rows
    names = [row.name for row in rows]
    assert names[:2] == ["noisy" if denoises else "representation only", "pca"]
    sees_more = config.model.encoder not in ("linear", "mlp") and not denoises
    assert ("pca_context" in names) == sees_more
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert set(results["rows"][0]) == {"name", "interval_95"} | UNITS
    assert set(results["units"]) == UNITS
    ceiling, pca, model = (results["rows"][names.index(name)] for name in (*names[:2], path.stem))
    assert (ceiling["feature_rmse"] == 0) != denoises
    assert (ceiling["explained_variance"] == 1) != denoises
    assert ceiling["gain_over_pca_db"] is None
    assert pca["gain_over_pca_db"] == 0
    rates = {row["name"]: row["latent_floats_per_second"] for row in results["rows"]}
    assert rates[path.stem] == rates["pca"] > 0
    for row in (pca, model):
        assert row["feature_rmse"] > 0
        assert row["audio_log_mel_rmse_db"] > 0
    exact = parts.representations[config.representation.name].exact or denoises
    assert (model["si_sdr_db"] is not None) == exact
    quantized = parts.bottlenecks[config.model.bottleneck].quantises
    assert (model["bits_per_second"] is not None) == quantized
    low, high = model["interval_95"]["feature_rmse"]
    assert low < model["feature_rmse"] < high
    assert ("pca, coded" in names) == quantized
    if quantized:
        coded = results["rows"][names.index("pca, coded")]
        assert 0.8 * model["bits_per_second"] < coded["bits_per_second"] <= model["bits_per_second"]
        assert coded["feature_rmse"] > pca["feature_rmse"]
        over = model["gain_over_pca_db"] - coded["gain_over_pca_db"]
        assert model["gain_over_coded_pca_db"] == pytest.approx(over)
        assert 0 < model["bitrate_efficiency"] <= 1
        assert 0 < model["codebook_utilisation"] <= 1
    for kept in config.evaluate.nested_sizes:
        what = "codebooks" if config.model.bottleneck == "rvq" else "latents"
        assert f"{path.stem}, {kept} {what}" in names
        if what == "latents":
            cut = results["rows"][names.index(f"pca, {kept} latents")]
            assert cut["gain_over_pca_db"] == 0
    names = {file.name for file in (tmp_path / "run" / "audio").iterdir()}
    assert len(names) == 2 * 4
    audio, rate = soundfile.read(next((tmp_path / "run" / "audio").glob(f"*{path.stem}.wav")))
    assert rate == config.data.sample_rate
    assert np.abs(audio).max() > 0
    assert path.stem in (tmp_path / "run" / "report.html").read_text()
    assert list((tmp_path / "run").glob("events.*"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines if "loss/total" in line] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in lines if "validation/loss" in line] == [0, 3, 6]
    assert not [x for x in (tmp_path / "run").rglob("*") if files.is_temporary(x.name)]
    order = ["device:", "corpus:", "compiled", "floats/s", "results:"]
    printed = capsys.readouterr().out
    places = [printed.index(word) for word in order]
    assert places == sorted(places)


def test_one_trace_a_run(small_config, tmp_path, monkeypatch):
    traces = []

    def counting(*args, **options):
        step = make(*args, **options)

        def traced(state, batch):
            traces.append(jax.tree.map(lambda x: x.shape, batch))
            return step(state, batch)

        return traced

    make = compile.make_train_step
    monkeypatch.setattr(compile, "make_train_step", counting)
    results = aejax.run(small_config, tmp_path / "run")
    assert len(traces) == 1
    # The Python entry does what the command does, and gives the table as dicts.
    written = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert results.as_dicts() == written
    assert [row.name for row in results.rows][0] == "representation only"


@pytest.mark.slow
def test_refined_latents_have_rows_of_their_own_for_pca_in_context_too(small_config, tmp_path):
    small_config.evaluate.refine_steps = 5
    # PCA's own latents are the best for its decoder.
    small_config.model.pca_start = False
    rows = {row.name: row for row in experiment.run(small_config, tmp_path / "run").rows}
    for name in ("pca_context", small_config.name):
        better = rows[f"{name}, refined"]
        assert better.feature_rmse < rows[name].feature_rmse
        assert better.latent_floats_per_second == rows[name].latent_floats_per_second
    assert "pca, refined" not in rows


def test_a_loss_that_the_rate_is_too_high_for_is_refused_before_anything_is_read(
    small_config, tmp_path
):
    small_config.data.path = str(tmp_path / "missing")
    small_config.data.sample_rate = 192_000
    small_config.representation.name = "waveform"
    small_config.representation.mel = config_module.default().representation.mel
    small_config.loss.multi_scale_mel.weight = 1.0
    with pytest.raises(UserError, match=r"loss\.multi_scale_mel.*data\.sample_rate=192000"):
        experiment.run(small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_never_worse_than_pca_on_validation(small_config, tmp_path):
    """Even where training does harm: the best checkpoint is then the first, which is PCA."""
    small_config.train.learning_rate = 1.0
    small_config.train.warmup_steps = 0
    rows = experiment.run(small_config, tmp_path / "run").rows
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    name = "validation/gain_over_pca_db"
    gains = {x["step"]: x[name] for x in lines if name in x}
    assert gains[0] == pytest.approx(0, abs=1e-4)
    assert gains[6] < -0.1
    assert results["best"]["raw"]["step"] == 0
    assert rows[-1].gain_over_pca_db == pytest.approx(0, abs=1e-4)


def test_the_table_is_aligned():
    row = dict.fromkeys(UNITS) | {
        "name": "mel_conv",
        "latent_floats_per_second": 250.0,
        "feature_rmse": 3.25,
        "audio_log_mel_rmse_db": 4.0,
        "explained_variance": 0.95,
        "gain_over_pca_db": 1.5,
    }
    ceiling = dict.fromkeys(row) | {"name": "representation only", "feature_rmse": 0.0}
    ceiling |= {"audio_log_mel_rmse_db": 2.0, "explained_variance": 1.0}
    pca = row | {"name": "pca", "gain_over_pca_db": 0.0}
    lines = results_table([ceiling, pca, row], "dB").splitlines()
    assert len({len(line) for line in lines[2:]}) == 1
    assert lines[1].split()[:4] == ["floats/s", "RMSE", "(dB)", "variance"]
    assert lines[2].split() == ["representation", "only", "–", "0", "1", "–", "2.000"]
    assert lines[4].split() == ["mel_conv", "250", "3.25", "0.9500", "+1.50", "4.000"]
    coded = row | {"bits_per_second": 750.0, "codebook_utilisation": 0.5, "perplexity": 6.0}
    assert "750" in results_table([coded], "1").splitlines()[2].split()


def test_a_folder_of_audio(small_config, audio_folder, tmp_path, capsys):
    (audio_folder / "a" / "broken.wav").write_bytes(b"RIFF")
    small_config.data.path = str(audio_folder)
    small_config.data.split_by = "folder"
    small_config.train.steps = 2
    rows = experiment.run(small_config, tmp_path / "run").rows
    assert rows[1].feature_rmse > 0
    printed = capsys.readouterr().out
    assert "a/broken.wav: unreadable" in printed
    assert "3 at 44100 Hz" in printed
    corpus = json.loads((tmp_path / "run" / "corpus.json").read_text())
    assert list(corpus["left_out"]["unreadable"]) == ["a/broken.wav"]


def test_a_non_finite_loss_stops_and_keeps_the_last_checkpoint(small_config, tmp_path, monkeypatch):
    small_config.train.learning_rate = 1e30
    small_config.train.warmup_steps = 0
    small_config.train.validate_every = 1
    with pytest.raises(UserError, match=r"step 1: .*parameter_norm is (nan|inf)") as caught:
        experiment.run(small_config, tmp_path / "run")
    assert "synthetic/" in str(caught.value)
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == ["0"]
    assert not (tmp_path / "run" / "results.json").exists()


def test_a_finished_run_reprints_its_table(small_config, tmp_path, capsys):
    rows = experiment.run(small_config, tmp_path / "run").rows
    clips = json.loads((tmp_path / "run" / "results.json").read_text())["test_clips"]
    table = results_table([vars(row) for row in rows], "dB", clips)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    capsys.readouterr()
    assert experiment.run(small_config, tmp_path / "run").rows == rows
    printed = capsys.readouterr().out
    assert "finished" in printed
    assert table in printed
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before
    page = tmp_path / "run" / "report.html"
    whole = page.read_text()
    page.unlink()  # as a kill between the results and it leaves things
    experiment.run(small_config, tmp_path / "run")
    assert page.read_text() == whole


def test_a_workdir_of_another_config_is_refused(small_config, tmp_path):
    small_config.train.steps = 1
    experiment.run(small_config, tmp_path / "run")
    small_config.train.steps = 2
    small_config.augment.speed.range = (1.0, 1.1)
    with pytest.raises(UserError, match=r"augment\.speed\.range: .* train\.steps: 1 there, 2 now"):
        experiment.run(small_config, tmp_path / "run")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(UserError, match="holds files and no run"):
        experiment.run(small_config, tmp_path / "photos")


def test_nothing_is_written_where_it_cannot_work(small_config, audio_folder, tmp_path):
    small_config.data.path = str(audio_folder)
    small_config.model.update(downsampling=8, latent_dim=300)
    with pytest.raises(UserError, match=r"blocks of 8 frames, too few .* model\.latent_dim"):
        experiment.run(small_config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_goes_on_with_the_clips_it_began_with(small_config, audio_folder, tmp_path, capfd):
    def again():
        (tmp_path / "run" / "results.json").unlink()
        rows = experiment.run(small_config, tmp_path / "run").rows
        return rows, (tmp_path / "run" / "clips.jsonl").read_text(), capfd.readouterr().err

    small_config.data.update(path=str(audio_folder), test_fraction=0.4)
    small_config.train.steps = 1
    rows = experiment.run(small_config, tmp_path / "run").rows
    first = (tmp_path / "run" / "clips.jsonl").read_text()
    test = [json.loads(line)["name"] for line in first.splitlines()]
    # New ones are not taken, and nobody minds another time of modification.
    soundfile.write(audio_folder / "another.wav", np.ones(16000) / 3, 16000)
    (audio_folder / test[0]).touch()
    then, lines, said = again()
    assert (then, lines) == (rows, first)
    assert (
        "1 of its files (the first is another.wav); training continues with the unchanged" in said
    )
    (audio_folder / test[0]).rename(audio_folder / "renamed")
    then, lines, said = again()
    assert then != rows
    assert [json.loads(line)["name"] for line in lines.splitlines()] == test
    assert json.loads(lines.splitlines()[0])["feature_rmse"]["pca"] is None
    assert lines.splitlines()[1:] == first.splitlines()[1:]
    assert said.count(f"warning: {test[0]}: cannot be opened") == 1


def test_a_run_does_not_go_on_with_another_pack(small_config, audio_folder, tmp_path, open_folder):
    pack(open_folder(audio_folder), tmp_path / "pack")
    small_config.data.path = str(tmp_path / "pack")
    small_config.train.steps = 1
    experiment.run(small_config, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    (audio_folder / "a" / "wav.wav").unlink()
    (tmp_path / "pack").rename(tmp_path / "old")
    pack(open_folder(audio_folder), tmp_path / "pack")
    with pytest.raises(UserError, match=r"1 of its files \(the first is a/wav\.wav\); use another"):
        experiment.run(small_config, tmp_path / "run")


def test_where_all_test_clips_vanish_it_says_so(small_config, audio_folder, tmp_path):
    small_config.data.update(path=str(audio_folder), cache_megabytes=0)
    small_config.train.steps = 1
    compile_step = loop.compile_step

    def compile_and_delete(prepared, *args):
        for clip in prepared.corpus.clips.of_split("test").tolist():
            (audio_folder / prepared.corpus.clips.name(clip)).unlink()
        return compile_step(prepared, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_step", compile_and_delete)
        with pytest.raises(UserError, match="no clip of this split is readable"):
            experiment.run(small_config, tmp_path / "run")


def test_a_kill_before_the_first_file_is_whole_does_no_harm(small_config, tmp_path):
    small_config.train.steps = 1
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").touch()
    left = tmp_path / "run" / ".aejax-0123.part"  # of aejax.runtime.files.atomic_write
    left.write_text("{")
    assert len(experiment.run(small_config, tmp_path / "run").rows) == 4
    assert not left.exists()


@pytest.mark.slow
def test_one_frame_blocks_and_tiny_excerpts_work(small_config, tmp_path):
    small_config.model.downsampling = 1
    small_config.data.excerpt_seconds = 0.02
    small_config.train.steps = 1
    assert len(experiment.run(small_config, tmp_path / "run").rows) == 4


def test_silence_gives_no_number_that_is_not_one(small_config, tmp_path):
    for index in range(20):
        path = tmp_path / "silence" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.zeros(16000 + index), 16000)
    small_config.data.path = str(tmp_path / "silence")
    small_config.train.steps = 1
    rows = experiment.run(small_config, tmp_path / "run").rows
    assert rows[1].explained_variance is None
    assert "NaN" not in (tmp_path / "run" / "results.json").read_text()
    assert "NaN" not in (tmp_path / "run" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_a_linear_autoencoder_converges_to_pca_and_does_not_beat_it(small_config, tmp_path):
    small_config.data.synthetic.clips = 200
    small_config.augment.speed.range = (1.0, 1.0)
    # What means nothing to a linear encoder as it was.
    small_config.model.conv = config_module.default().model.conv
    small_config.model.update(encoder="linear", latent_dim=2, downsampling=2, pca_start=False)
    small_config.train.update(
        batch_size=32,
        steps=600,
        learning_rate=0.02,
        weight_decay=0.0,
        validate_every=600,
    )
    small_config.augment.gain.db = small_config.augment.eq.db = 0.0
    small_config.augment.mix.probability = 0.0
    rows = experiment.run(small_config, tmp_path / "run").rows
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    name = "validation/gain_over_pca_db"
    gains = [x[name] for x in lines if name in x]
    assert gains[0] < -1
    assert -0.1 < gains[-1] < 0.01
    assert -0.1 < rows[-1].gain_over_pca_db < 0.01


@pytest.mark.slow
def test_stereo_has_its_own_features_and_sounds(small_config, audio_folder, tmp_path):
    small_config.data.update(path=str(audio_folder), channels="stereo", test_fraction=0.3)
    small_config.train.steps = 2
    rows = experiment.run(small_config, tmp_path / "run").rows
    assert rows[1].explained_variance > 0
    sounds = list((tmp_path / "run" / "audio").glob("*.wav"))
    assert {soundfile.info(path).channels for path in sounds} == {2}


def test_every_channel_a_clip(small_config, audio_folder, tmp_path):
    small_config.data.update(path=str(audio_folder), channels="each", test_fraction=0.3)
    small_config.train.steps = 1
    experiment.run(small_config, tmp_path / "run")
    corpus = json.loads((tmp_path / "run" / "corpus.json").read_text())
    assert corpus["clips"] == 12


AUGMENTED = {
    "polarity.probability": 0.5,
    "noise.kind": "folder",
    "noise.snr_db": (0.0, 10.0),
    "time_masks.count": 1,
    "frequency_masks.count": 2,
}


@pytest.mark.slow
def test_everything_at_once(small_config, audio_folder, tmp_path):
    """All augmentations, labels, silence and weighting, with noise from a folder."""
    (audio_folder / "labels.csv").write_text("path,who\na/wav.wav,Bo\nb/wav.wav,Cy\n")
    small_config.data.update(path=str(audio_folder), test_fraction=0.3, weighting="equal")
    small_config.data.update(silence_redraws=3, workers=2, worker_kind="process")
    small_config.augment.update_from_flattened_dict(
        AUGMENTED | {"noise.path": str(audio_folder / "c")}
    )
    small_config.train.steps = 3
    experiment.run(small_config, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert sum("loss/total" in line for line in lines) == 3


@pytest.mark.slow
def test_the_same_from_a_pack(small_config, audio_folder, tmp_path, open_folder):
    pack(open_folder(audio_folder), tmp_path / "pack", encoding="float32")
    small_config.data.update(path=str(audio_folder), test_fraction=0.3)
    small_config.train.steps = 3
    rows = experiment.run(small_config, tmp_path / "run").rows
    small_config.data.path = str(tmp_path / "pack")
    assert experiment.run(small_config, tmp_path / "packed").rows == rows


def test_labels_go_into_the_results(small_config, audio_folder, tmp_path):
    (audio_folder / "labels.csv").write_text(
        "path,who\n" + "".join(f"{x}/wav.wav,Bo\n{x}/ogg.ogg,Cy\n" for x in "abc")
    )
    small_config.data.update(path=str(audio_folder), test_fraction=0.4)
    small_config.train.steps = 1
    rows = experiment.run(small_config, tmp_path / "run").rows
    lines = [json.loads(line) for line in (tmp_path / "run" / "clips.jsonl").open()]
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert len(lines) == results["test_clips"]
    assert {"who", "folder"} >= lines[0]["labels"].keys()
    for label, values in results["by_label"].items():
        for value, found in values.items():
            of_it = [line for line in lines if line["labels"].get(label) == value]
            assert found["clips"] == len(of_it) > 0
            # All clips are of one length, so that the mean of squares is that of theirs.
            squares = [line["feature_rmse"]["pca"] ** 2 for line in of_it]
            assert found["feature_rmse"]["pca"] == pytest.approx(np.sqrt(np.mean(squares)))
    squares = [line["feature_rmse"]["pca"] ** 2 for line in lines]
    assert np.sqrt(np.mean(squares)) == pytest.approx(rows[1].feature_rmse, rel=1e-5)


def test_a_clip_that_vanishes_does_not_stop_the_run(small_config, audio_folder, tmp_path, capfd):
    """One of the training clips and one of the test clips, while it trains."""
    small_config.data.update(path=str(audio_folder), test_fraction=0.4, cache_megabytes=0)
    small_config.train.steps = 6
    gone = []
    compile_step = loop.compile_step

    def compile_and_delete(prepared, *args):
        clips = prepared.corpus.clips
        for split in ("train", "test"):
            name = clips.name(int(clips.of_split(split)[0]))
            (audio_folder / name).unlink()
            gone.append(name)
        return compile_step(prepared, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "compile_step", compile_and_delete)
        rows = experiment.run(small_config, tmp_path / "run").rows
    assert rows[-1].feature_rmse > 0
    said = capfd.readouterr().err
    for name in gone:
        assert f"{name}: cannot be opened: No such file or directory" in said


@pytest.mark.slow
def test_noise_to_be_taken_away_is_split_and_the_same_each_time(small_config, tmp_path):
    noise = tmp_path / "noise"
    noise.mkdir()
    rng = np.random.default_rng(1)
    for name in range(10):
        soundfile.write(noise / f"{name}.wav", 0.1 * rng.standard_normal(9000), 16_000)
    small_config.task = "denoise"
    small_config.augment.noise.update(kind="folder", path=str(noise))
    small_config.augment.noise.snr_db = (0.0, 0.0)
    found = experiment.run(small_config, tmp_path / "run").rows
    assert [row.name for row in found] == ["noisy", "pca", "experiment"]
    noisy = found[0]
    assert noisy.si_sdr_db is not None
    assert abs(noisy.si_sdr_db) < 0.5
    # So do the validation clips, on which the model begins as PCA.
    first = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert first["validation/feature_rmse"] > 0.8 * found[1].feature_rmse  # clean, it is half
    begins = pytest.approx(first["validation/pca_feature_rmse"], rel=1e-3)
    assert first["validation/feature_rmse"] == begins
    # PCA has been told what is asked: fitted to clean sound it takes less noise away.
    prepared = prepare(small_config, Workdir(tmp_path / "blind", small_config))
    blind = pca_fit.fit(
        prepared.batches("train"),
        representation=prepared.representation,
        downsampling=prepared.downsampling,
        latent_dim=small_config.model.latent_dim,
        device_put=prepared.device_put,
    )
    evaluator = Evaluator(
        representation=prepared.representation,
        eval_mel=prepared.eval_mel,
        downsampling=prepared.downsampling,
        centre=jnp.asarray(blind.mean, jnp.float32),
        device_put=prepared.device_put,
        add_noise=prepared.add_noise,
    )
    codec = LatentCodec("blind", encode, decode, blind.pca, None)
    error = evaluator.feature_rmse(codec, prepared.batches("test"))
    assert found[1].feature_rmse < 0.9 * error
    # Nothing that is random in training moves what is measured.
    small_config.seed = 1
    again = experiment.run(small_config, tmp_path / "again").rows
    assert again[:2] == found[:2]
    heard = sorted(path.name for path in (tmp_path / "run" / "audio").iterdir())
    assert {name.rpartition("_")[2] for name in heard} == {
        "original.wav",
        "noisy.wav",
        "pca.wav",
        "experiment.wav",
    }
    clean, noisy = (
        soundfile.read(next((tmp_path / "run" / "audio").glob(f"1_*_{version}.wav")))[0]
        for version in ("original", "noisy")
    )
    assert abs(10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2))) < 0.5


def test_too_little_noise_is_said_to_be(small_config, tmp_path):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hiss.wav", np.ones(9000) / 9, 16_000)
    small_config.task = "denoise"
    small_config.augment.noise.update(kind="folder", path=str(tmp_path / "noise"))
    with pytest.raises(UserError, match=r"augment\.noise\.path: the corpus is too small"):
        experiment.run(small_config, tmp_path / "run")


def test_speakers_are_told_apart(small_config, audio_folder, tmp_path, monkeypatch):
    decoded, told = LatentCodec.decoded, []

    def spy(codec, latents, speaker):
        told.append(speaker)
        return decoded(codec, latents, speaker)

    monkeypatch.setattr(LatentCodec, "decoded", spy)
    small_config.data.path, small_config.data.excerpt_seconds = str(audio_folder), 0.3
    small_config.model.speaker_label = "folder"
    small_config.evaluate.example_clips = 1
    rows = experiment.run(small_config, tmp_path / "run").rows
    assert rows[-1].name == "experiment"
    # What is measured is each clip in its own voice.
    assert told
    assert all(0 < speaker.max() <= 3 for speaker in told)
    model = load.load(tmp_path / "run")
    assert model.speakers == ("a", "b", "c")
    (tmp_path / "run" / "speakers.json").write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"speakers\.json is damaged"):
        load.load(tmp_path / "run")
    (tmp_path / "run" / "speakers.json").unlink()
    with pytest.raises(UserError, match=r"speakers\.json cannot be opened"):
        load.load(tmp_path / "run")
    small_config.model.speaker_label = "pitch"
    with pytest.raises(UserError, match="speaker_label='pitch' is not a categorical"):
        experiment.run(small_config, tmp_path / "other")
