"""The scripts behind the pictures of the README run."""

import runpy

from conftest import REPOSITORY


def test_the_picture_of_the_transforms(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    monkeypatch.setattr("sys.argv", ["transforms.py", str(path)])
    runpy.run_path(str(REPOSITORY / "docs" / "transforms.py"), run_name="__main__")
    assert path.read_bytes().startswith(b"\x89PNG")
