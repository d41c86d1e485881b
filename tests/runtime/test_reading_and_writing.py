import os
import stat

import pytest

from aejax.runtime import files
from aejax.runtime.errors import UserError


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "first")
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as beside:
        assert beside.write_text("half") / 0
    assert path.read_text() == "first"
    assert [x.name for x in tmp_path.iterdir()] == ["a.txt"]


def test_nothing_of_anyones_is_written_over_on_the_way(tmp_path):
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a.txt.part").symlink_to(outside)
    files.write_text(folder / "a.txt", "new")
    assert outside.read_text() == "mine"
    assert (folder / "a.txt.part").is_symlink()


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "usual").touch()
    files.write_text(tmp_path / "ours", "")
    usual, ours = ((tmp_path / name).stat().st_mode for name in ("usual", "ours"))
    assert stat.S_IMODE(ours) == stat.S_IMODE(usual)


def test_a_name_as_long_as_names_may_be(tmp_path):
    path = tmp_path / ("a" * 255)
    files.write_text(path, "x")
    assert path.read_text() == "x"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    for content in ("first", "second"):
        with files.atomic_folder(path) as beside:
            (beside / content).touch()
        assert [x.name for x in path.iterdir()] == [content]
    with pytest.raises(ZeroDivisionError), files.atomic_folder(path) as beside:
        raise ZeroDivisionError
    assert [x.name for x in path.iterdir()] == ["second"]
    assert [x.name for x in tmp_path.iterdir()] == ["folder"]


def test_what_a_kill_left_is_removed(tmp_path):
    with files.atomic_write(tmp_path / "a") as beside, files.atomic_folder(tmp_path / "b") as other:
        names = {beside.name, other.name}
        (tmp_path / f"{beside.name}.wav").touch()
        (other / "inner").touch()
        assert all(map(files.is_temporary, names))
        files.remove_temporary(tmp_path)
        assert len(list(tmp_path.iterdir())) == 1
        beside.touch()
        other.mkdir()


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.expand("~/x") == tmp_path / "x"
    assert files.expand("a/~") == files.Path("a/~")
    with pytest.raises(UserError, match="no such home"):
        files.expand("~nobody-is-called-so/x")


@pytest.mark.parametrize("kind", ["fifo", "link", "zero", "large", "absent"])
def test_only_a_small_regular_file_is_read(tmp_path, kind):
    path = tmp_path / "config.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "other").write_text("{}")
        path.symlink_to(tmp_path / "other")
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "large":
        path.write_text("[" + "1," * 1000 + "1]")
    with pytest.raises(UserError, match="config.json"):
        files.read_json(path, 1000)


@pytest.mark.parametrize("text", ["", "[", "NaN", "1e999", "[" * 100_000, "9" * 5000, "\xff"])
def test_what_is_no_json_of_finite_numbers_is_one_line(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match="config.json") as error:
        files.read_json(path, 1 << 20)
    assert "\n" not in str(error.value)
