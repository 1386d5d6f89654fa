"""Files and folders appear complete or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from seq2onnx.files import atomic_folder, write_atomically


def test_a_failed_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_writing_keeps_links_and_modes_and_names_a_missing_folder(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    write_atomically(target, b"one")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomically(link, b"two")
    assert link.is_symlink()
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o640
    with pytest.raises(FileNotFoundError, match="its folder .*nowhere does not exist"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


def test_a_folder_appears_complete_or_not_at_all(tmp_path):
    with atomic_folder(tmp_path / "new") as folder:
        (folder / "a").write_text("x")
        assert not (tmp_path / "new").exists()
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["a"]


def test_a_folder_is_deleted_on_failure(tmp_path):
    def fill(path):
        with atomic_folder(path) as folder:
            (folder / "a").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "new")
    assert not list(tmp_path.iterdir())
