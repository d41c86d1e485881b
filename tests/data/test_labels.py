import re
import unicodedata

import numpy as np
import pytest
import soundfile

from aejax.data import labels
from aejax.data.corpus import Settings, split_units
from aejax.data.packed import PackedCorpus
from aejax.data.packing import pack
from aejax.data.table import Column
from aejax.runtime.errors import UserError


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
        ("path,who\na,b\na,c\n", "row 3 names a again, with other labels than row 2"),
        ("path,who\na\n", "row 2 has 1 cells, not 2"),
        ("path,who,who\n", "two columns of the same name"),
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
    with pytest.raises(UserError, match=r"of 1 path .* row 2, wavs/a/wav\.wav \(a/wav\.wav\?\)"):
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


# The rule: what is said of a file reaches it, however it is written, or its row is named.

NFC, NFD = (unicodedata.normalize(form, "é/ñ.wav") for form in ("NFC", "NFD"))


@pytest.fixture
def corpus_of(tmp_path, open_folder):
    """A folder with these files and this table, as a corpus."""

    def corpus_of(files, text, name="labels.csv", **settings):
        root = tmp_path / "root"
        for number, file in enumerate(files, start=1):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / "new.wav", np.sin(np.arange(2000) * number * 0.05), 16000)
            (root / "new.wav").rename(root / file)
        data = text if isinstance(text, bytes) else text.encode()
        (root / name).write_bytes(data.replace(b"ROOT", str(root).encode()))
        return open_folder(root, **settings)

    return corpus_of


def labels_of(corpus, name="who"):
    return {clip.name: clip.labels.get(name) for clip in corpus.clips}


@pytest.mark.parametrize(
    ("file", "path"),
    [
        (NFD, NFC),
        (NFC, NFD),
        ("s/a.wav", "s\\a.wav"),
        ("s/a.wav", ".\\s\\a.wav"),
        ("s/a.wav", "./s//a.wav"),
        ("s/a.wav", "  s/a.wav "),
        (" s/a.wav", "s/a.wav"),
        ("s/a.wav", "ROOT/s/a.wav"),
        ("s/a.wav", "s/../s/a.wav"),
    ],
)
def test_a_path_is_its_file_however_it_is_spelt(corpus_of, tmp_path, file, path):
    corpus = corpus_of([file, "b.wav"], f"path,who\n{path},x\nb.wav,y\n")
    assert labels_of(corpus) == {file: "x", "b.wav": "y"}
    assert not corpus.warnings
    pack(corpus, tmp_path / "pack")
    packed = PackedCorpus(tmp_path / "pack", Settings())
    assert labels_of(packed) == {file: "x", "b.wav": "y"}
    assert not packed.warnings


@pytest.mark.parametrize(
    "text",
    [
        "path;who;note\na.wav;x;\nb.wav;y;1,5\n",
        "path\twho\tnote\na.wav\tx\t\nb.wav\ty\t1,5\n",
        'sep=;\r\npath;who;note\r\na.wav;x;\r\nb.wav;y;"1,5"\r\n',
        ' path , who ,note\na.wav, x ,\n"b.wav", y , "1,5"\n',
        '\n,,\npath,who,note\n,,\na.wav,x,\n\nb.wav,y,"1,5"\n , ,\n,,\n',
        'path,who,note,,\na.wav,x,,,\nb.wav,y,"1,5",,\n',
        'path,who,note\ra.wav,x,\rb.wav,y,"1,5"\r',
    ],
)
@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_as_spreadsheets_write_them(corpus_of, text, coding):
    corpus = corpus_of(["a.wav", "b.wav"], text.encode(coding))
    assert labels_of(corpus) == {"a.wav": "x", "b.wav": "y"}
    assert labels_of(corpus, "note") == {"a.wav": None, "b.wav": "1,5"}
    assert not corpus.warnings


def test_values_that_look_the_same_are_the_same(corpus_of):
    text = f"path,{NFD}\na.wav,{NFC}  1\nb.wav, {NFD} 1\u00a0\n"
    column = corpus_of(["a.wav", "b.wav"], text).clips.labels[NFC]
    assert column.categories == (f"{NFC} 1",)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("B.wav,y", r"row 3, B\.wav \(b\.wav\?\)"),
        ("b.flac,y", r"row 3, b\.flac \(b\.wav\?\)"),
        ("t/c.wav,y", r"row 3, t/c\.wav \(s/c\.wav\?\)"),
        ("zzzzzzzzzz,y", r"row 3, zzzzzzzzzz$"),
        ("labels.csv,y", r"row 3, labels\.csv"),
        (",y", r"no path in row 3"),
        (
            f"{unicodedata.normalize('NFKD', 'ễ.wav')},y",
            r"row 3, .*one of .* and .* only in spelling",
        ),
    ],
)
def test_each_row_of_no_file_is_named(corpus_of, row, says):
    twice = ["\u1ec5.wav", "\u00ea\u0303.wav"]
    corpus = corpus_of(["a.wav", "b.wav", "s/c.wav", *twice], f"path,who\na.wav,x\n{row}\n")
    (warning,) = corpus.warnings
    assert re.search(says, warning), warning
    assert labels_of(corpus)["b.wav"] is None


def test_of_many_rows_of_no_file_the_first_are_named(corpus_of):
    corpus = corpus_of(["a.wav"], "path,who\na.wav,x\n" + "".join(f"n{i},x\n" for i in range(9)))
    (warning,) = corpus.warnings
    assert "9 of 10 rows" in warning
    assert warning.endswith("; and 6 more")


def test_a_row_of_a_file_that_is_damaged_a_copy_or_not_included_is_of_a_file(corpus_of, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "bad.wav").write_bytes(b"RIFF")
    text = "path,who\na.wav,x\nb.wav,x\nbad.wav,x\ns/c.wav,x\n"
    corpus = corpus_of(["a.wav", "b.wav", "s/c.wav"], text, include=("*b*", "a*"))
    assert not corpus.warnings


def test_two_rows_of_one_file_agree_or_are_refused(corpus_of):
    assert labels_of(corpus_of(["a.wav"], "path,who\na.wav,x\n./a.wav, x\na.wav,x\n")) == {
        "a.wav": "x"
    }
    with pytest.raises(
        UserError, match=r"a\.wav and \./a\.wav are the same file.* different labels"
    ):
        corpus_of(["a.wav"], "path,who\na.wav,x\n./a.wav,y\n")


def test_both_spellings_are_two_files_if_there_are_two(corpus_of):
    corpus = corpus_of([NFC, NFD], f"path,who\n{NFD},d\n{NFC},c\n")
    assert labels_of(corpus) == {NFC: "c", NFD: "d"}


def test_a_label_that_is_not_utf8_is_read_and_named(corpus_of):
    corpus = corpus_of(["a.wav"], "path,who\na.wav,Zoë\n".encode("cp1252"))
    assert labels_of(corpus) == {"a.wav": r"Zo\udceb"}
    assert "not UTF-8 (row 2, Zo\\udceb); save them as UTF-8" in corpus.warnings[0]


def test_rows_that_a_quotation_mark_makes_one_are_named(corpus_of):
    corpus = corpus_of(["a.wav", "b.wav"], 'path,who\na.wav,"x\nb.wav,y\n')
    assert "a cell of several lines in row 2" in corpus.warnings[0]


def test_tables_that_are_not_read_are_named(corpus_of, tmp_path):
    (tmp_path / "root" / "s").mkdir(parents=True)
    for name in ("labels.tsv", "s/Labels.CSV"):
        (tmp_path / "root" / name).write_text("path\twho\n")
    (warning,) = corpus_of(["a.wav"], "path,who\na.wav,x\n").warnings
    assert "not read: labels.tsv, s/Labels.CSV; only labels.csv in the corpus folder" in warning


def test_a_column_without_a_heading_is_named(corpus_of):
    corpus = corpus_of(["a.wav"], ",path,who\n0,a.wav,x\n")
    assert labels_of(corpus) == {"a.wav": "x"}
    assert "column without a heading" in corpus.warnings[0]


def test_patterns_find_files_however_they_are_spelt_or_are_named(corpus_of):
    corpus = corpus_of([NFD, "b.wav"], "path\n", include=(NFC.replace("/", "\\"), "./b*", "c*"))
    assert len(corpus.clips) == 2
    assert corpus.warnings == ("data.include: no file matches 'c*'",)


def test_folders_have_one_label_and_one_split_whatever_the_disk_makes_of_their_names(corpus_of):
    corpus = corpus_of([NFC, NFD, "b/c.wav"], "path\n", split_by="folder")
    assert set(labels_of(corpus, "folder").values()) == {"é", "b"}
    assert len({clip.split for clip in corpus.clips if clip.labels["folder"] == "é"}) == 1
    many = [f"é{number}" for number in range(50)]
    apart = [unicodedata.normalize("NFD", name) for name in many]
    np.testing.assert_array_equal(split_units(many, 0.2, 0.2), split_units(apart, 0.2, 0.2))


def test_parquet_without_a_value_is_without_a_label(corpus_of, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    (tmp_path / "root").mkdir()
    columns = {"path": [b"a.wav", b"caf\xe9.wav"], " who": [float("nan"), 1.5]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "root" / "labels.parquet")
    corpus = corpus_of(["a.wav", "caf\udce9.wav"], "x", name="notes.txt")
    assert labels_of(corpus) == {"a.wav": None, "caf\udce9.wav": 1.5}
