import os

from aejax.data import walk


def walked(root, **options):
    """Names of files, and of what is passed over with the reason."""
    entries = list(walk.walk(root, **options))
    files = [entry.name for entry in entries if not entry.problem]
    return files, {entry.name: entry.problem for entry in entries if entry.problem}


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_links_are_followed_to_no_folder_twice(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    touch(root / "a" / "1.wav", elsewhere / "b" / "2.wav")
    (root / "x").symlink_to(elsewhere)
    (root / "y").symlink_to(elsewhere / "b")
    (root / "a" / "circle").symlink_to(root)
    (elsewhere / "up").symlink_to(tmp_path)
    files, passed_over = walked(root)
    assert files == ["a/1.wav", "x/b/2.wav"] or files == ["a/1.wav", "y/2.wav"]
    assert set(passed_over.values()) == {walk.LINKED}
    assert {"a/circle/", "x/up/"} <= passed_over.keys()


def test_of_what_is_hidden_what_is_meant_is_named(tmp_path):
    touch(*(tmp_path / name for name in ("a.wav", ".b.wav", ".c/d.FLAC", ".c/.e/f.ogg", ".g.txt")))
    touch(tmp_path / ".aejax-0123.part", tmp_path / ".h.aej", tmp_path / ".c" / "notes")
    files, passed_over = walked(tmp_path)
    assert files == ["a.wav"]
    assert passed_over == dict.fromkeys((".b.wav", ".c/d.FLAC", ".c/.e/f.ogg"), walk.HIDDEN)
    assert walked(tmp_path, suffixes={".aej"})[1] == {".h.aej": walk.HIDDEN}


def test_what_is_linked_to_from_outside_is_not_hidden(tmp_path):
    touch(tmp_path / ".store" / "x" / "1.wav")
    (tmp_path / "data").symlink_to(tmp_path / ".store")
    assert walked(tmp_path) == (["data/x/1.wav"], {})


def test_what_cannot_be_looked_at_is_named(tmp_path):
    (tmp_path / "nowhere.wav").symlink_to(tmp_path / "gone")
    files, passed_over = walked(tmp_path)
    assert not files
    assert passed_over == {"nowhere.wav": "cannot be opened: No such file or directory"}


def test_a_name_that_is_no_text(tmp_path):
    name = os.fsdecode(b"caf\xe9.wav")
    touch(tmp_path / name)
    assert walked(tmp_path) == ([name], {})


def test_runs_and_what_is_to_be_left_out(tmp_path):
    touch(*(tmp_path / "run" / name for name in ("config.json", "corpus.json", "pca.npz", "a.wav")))
    touch(tmp_path / "out" / "b.wav")
    assert walked(tmp_path, exclude=tmp_path / "out") == ([], {})
    assert "run/a.wav" in walked(tmp_path, runs=True)[0]
