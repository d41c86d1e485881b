"""The printed table of results."""

from aejax.reporting.table import results_table

ENDS = {
    "feature_rmse": [3.161, 3.243],
    "explained_variance": [0.94, 0.96],
    "audio_log_mel_rmse_db": [3.6, 3.7],
    "gain_over_pca_db": [2.4, 2.6],
    "gain_over_coded_pca_db": [1.9, 2.1],
}


def row(name, *, interval=ENDS, **changes):
    return {
        "name": name,
        "latent_floats_per_second": 250.0,
        "feature_rmse": 3.203,
        "explained_variance": 0.9548,
        "gain_over_pca_db": 2.5,
        "audio_log_mel_rmse_db": 3.668,
        "interval_95": interval,
    } | changes


QUANTISED = {
    "bits_per_second": 7500.0,
    "gain_over_coded_pca_db": 2.0,
    "codebook_utilisation": 0.9,
    "perplexity": 100.0,
    "bitrate_efficiency": 0.9,
}


def test_half_of_the_interval_stands_behind_a_number():
    ceiling = row("representation only", latent_floats_per_second=None, feature_rmse=0.0)
    ceiling |= {"interval_95": {}, "gain_over_pca_db": None}
    lines = results_table([ceiling, row("mel_conv")], "dB", 111).splitlines()
    words = ["mel_conv", "250", "3.203", "±0.041", "0.9548", "+2.50", "±0.10", "3.668", "±0.050"]
    assert lines[3].split() == words
    assert lines[2].index(" 0 ") + 1 == lines[3].index("3.203") + 4  # numbers are right-aligned
    assert lines[4:] == ["±: half of the 95 % interval over 111 clips (bootstrap)."]
    assert max(map(len, lines)) <= 100


def test_results_without_intervals_have_the_table_of_before():
    old = [row("mel_conv", interval=None), {**row("pca")}]
    del old[1]["interval_95"]
    text = results_table(old, "dB")
    assert "±" not in text
    assert len(text.splitlines()) == 4


def test_few_clips_are_said_in_one_line():
    assert results_table([row("model")], "dB", 10).splitlines()[-1].startswith("±")
    last = results_table([row("model")], "dB", 9).splitlines()[-1]
    assert last.startswith("Only 9 clips were measured: ")
    text = results_table([row("model", interval=None)], "dB", 1)
    assert text.splitlines()[-1].startswith("Only one clip was measured: ")
    assert "±" not in text


def test_gains_stand_beside_bits_and_no_table_is_wider_than_a_hundred():
    rows = [row("pca"), row("pca, coded", bits_per_second=7490.0)]
    for name in ("mel_rvq", "mel_rvq, averaged, refined", 32 * "x"):
        text = results_table([*rows, row(name, **QUANTISED)], "dB", 111)
        lines = text.splitlines()
        assert " ".join(lines[1].split()).startswith("floats/s bit/s PCA (dB) PCA (dB) RMSE (dB)")
        assert "100.0" not in lines[4]  # codes are a table of their own
        assert "100.0" in text
        assert max(map(len, lines)) <= 100
    assert "+2.00 ±0.10" in results_table([row("mel_rvq", **QUANTISED)], "dB")
