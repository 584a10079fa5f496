"""Files are written whole or not at all; a place that cannot be written is named before the work."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from lib import files


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "new" / "x.json"
    files.write_atomically(path, b"one")
    files.write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["x.json"]


def test_a_full_disk_leaves_the_old_file_and_no_torn_one(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    files.write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*x\.json'"):
        files.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_the_home_directory_may_be_written_as_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.user_path("~/x") == tmp_path / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", "~/caches")
    assert files.cache_directory() == tmp_path / "caches" / "deep-learning-systems-book"


@pytest.mark.parametrize("relative", ["caches", "./caches", ""])
def test_a_relative_cache_directory_is_ignored_as_its_specification_says(monkeypatch, tmp_path, relative):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", relative)
    assert files.cache_directory() == tmp_path / ".cache" / "deep-learning-systems-book"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(files.Path, "home", homeless)
    with pytest.raises(OSError, match="set XDG_CACHE_HOME"):
        files.cache_directory()


@pytest.mark.parametrize("place", ["/proc/x", "file/below", "file"])
def test_a_directory_that_cannot_be_written_is_named(tmp_path, place):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"results: nothing can be written in .*: name another directory"):
        files.check_writable("results", tmp_path / place)


def test_a_directory_that_is_missing_is_made(tmp_path):
    assert files.check_writable("results", tmp_path / "a" / "b").is_dir()
    assert os.listdir(tmp_path / "a" / "b") == []


def test_one_process_gets_the_lock_and_a_killed_one_frees_it(tmp_path):
    path = tmp_path / "x.lock"
    hold = f"with lock({str(path)!r}) as got: print(got, flush=True); time.sleep(60)"
    code = f"import time; from lib.files import lock\n{hold}"
    root = Path(__file__).resolve().parents[1]
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    try:
        assert other.stdout.readline() == "True\n"
        with files.lock(path, timeout=0.1) as got:
            assert not got
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with files.lock(path, timeout=5) as got:
        assert got


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def without(self, timeout=None):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", without)
    with pytest.raises(OSError, match=r"without locks .*: use a local directory"), files.lock(tmp_path / "x.lock"):
        pass
