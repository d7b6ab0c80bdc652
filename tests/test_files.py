"""Files that are written whole, and folders that one process holds."""

import os

import pytest

from metasgcl_tf.errors import InputError
from metasgcl_tf.files import held, write_whole


def test_a_folder_has_one_process_at_a_time(tmp_path):
    folder = tmp_path / "new" / "folder"
    with (
        held(folder, "searches"),
        pytest.raises(InputError, match="no other process searches"),
        held(folder, "searches"),
    ):
        pass
    with held(folder, "searches"):
        pass
    assert list(folder.iterdir()) == []


def test_a_file_cannot_be_held(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"`out`.*written"), held(tmp_path / "file", "trains"):
        pass


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "file"
    write_whole(path, "old ä")

    def full(file):
        file.write(b"new")
        raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        write_whole(path, full)
    assert path.read_text(encoding="utf-8") == "old ä"
    assert list(tmp_path.iterdir()) == [path]
