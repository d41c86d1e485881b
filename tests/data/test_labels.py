import pytest

from aejax.data import labels
from aejax.data.table import Column
from aejax.errors import UserError


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_labels_come_with_their_clips(audio_folder, open_folder, kind):
    rows = [("path", "who", "age", "note"), ("a/wav.wav", "Åsa, the 1st", "41.5", "")]
    rows += [("./b/flac.flac", "Bo", "7", ""), ("gone.wav", "Cy", "9", "")]
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
        columns["age"] = [41.5, 7.0, None]
        parquet.write_table(pyarrow.table(columns), audio_folder / "labels.parquet")
    else:
        quoted = [[f'"{cell}"' for cell in row] for row in rows]
        text = "\n".join(("," if kind == "csv" else "\t").join(row) for row in quoted)
        (audio_folder / f"labels.{kind}").write_text(text, encoding="utf-8")
    clips = {clip.name: clip for clip in open_folder(audio_folder).clips}
    assert clips["a/wav.wav"].labels == {"folder": "a", "who": "Åsa, the 1st", "age": 41.5}
    assert clips["b/flac.flac"].labels == {"folder": "b", "who": "Bo", "age": 7.0}
    assert clips["c/wav.wav"].labels == {"folder": "c"}


def test_a_table_elsewhere(audio_folder, open_folder, tmp_path):
    (tmp_path / "who.csv").write_text("who,path\nBo,a/wav.wav\n")
    corpus = open_folder(audio_folder, labels=str(tmp_path / "who.csv"))
    assert "who" in corpus.clips.labels
    with pytest.raises(UserError, match=r"nowhere\.csv does not exist"):
        open_folder(audio_folder, labels="nowhere.csv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file,who\na,b\n", "no column 'path'"),
        ("", "no column 'path'"),
        ("path,who\na,b\na,c\n", "row 3 names a again"),
        ("path,who\na\n", "row 2 has 1 cells, not 2"),
        ("path,who,who\n", "two columns of one name"),
    ],
)
def test_a_bad_table_is_named(tmp_path, text, says):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        labels.load(tmp_path / "labels.csv")


def test_a_table_that_is_no_parquet_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "labels.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(UserError, match="cannot be read"):
        labels.load(tmp_path / "labels.parquet")


def test_labels_that_name_no_file_are_refused(audio_folder, open_folder):
    (audio_folder / "labels.csv").write_text("path,who\nwavs/a/wav.wav,Bo\n")
    with pytest.raises(UserError, match=r"none of the 1 paths .* the first is wavs/a/wav\.wav"):
        open_folder(audio_folder)


def test_whole_numbers_of_few_values_are_categories():
    column = Column.of(["007", "12", "", "-3", "12"])
    assert column.categories == ("-3", "007", "12")
    assert [column.at(row) for row in range(5)] == ["007", "12", None, "-3", "12"]
    assert Column.of(["1.5", "2", ""]).at(1) == 2.0
    assert Column.of([str(k) for k in range(200)]).categories is None
    assert Column.of(["1", "nan"]).categories == ("1", "nan")


def test_what_is_saved_is_loaded(tmp_path):
    table = labels.Table(("who", "n"), {"a,b\n.wav": ("x", "1"), "caf\udce9": ("", "2")})
    labels.save(tmp_path / "labels.csv", table)
    assert labels.load(tmp_path / "labels.csv") == table
    column = table.columns(["caf\udce9", "nothing"])["n"]
    assert [column.at(row) for row in (0, 1)] == ["2", None]
