"""References in options: what they become, what is refused and how it is said, and that no value ever is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.references import LARGEST_FILE, Local, Nothing, escape, expand

ENVIRON = {
    "URL": "https://a.example/t0ps3cret",
    "SCHEME": "https",
    "FOLDER": "run",
    "TRICK": "file:secret",
    "EMPTY": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_bytes(b"t0ps3cret\n")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/secret").write_bytes(b"inner\r\n")
    (tmp_path / "link").symlink_to("run/secret")
    (tmp_path / "lines").write_bytes(b"one\ntwo\n\n")
    (tmp_path / "wide").write_bytes("gr\u00fcn".encode())
    (tmp_path / "trick").write_bytes(b"${URL} env:URL")
    (tmp_path / "large").write_bytes(b"x" * LARGEST_FILE)
    (tmp_path / "larger").write_bytes(b"s" * (LARGEST_FILE + 1))
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "latin1").write_bytes(b"s3cret\xe4")
    (tmp_path / "nul").write_bytes(b"s3cret\0")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def expanded(text: Any, folder: Path = Path("/nowhere")) -> Any:
    options, problems = expand({"option": text}, Local(ENVIRON, folder))
    assert problems == []
    return options["option"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("file:secret", "t0ps3cret"),
        ("file:run/secret", "inner"),
        ("file:${FOLDER}/secret", "inner"),
        ("file:link", "inner"),
        ("file:lines", "one\ntwo\n"),
        ("file:wide", "gr\u00fcn"),
        ("file:trick", "${URL} env:URL"),
        ("file:large", "x" * LARGEST_FILE),
        ("env:URL", "https://a.example/t0ps3cret"),
        ("env:TRICK", "file:secret"),
        ("env:EMPTY", ""),
        ("${TRICK}", "file:secret"),
        ("${SCHEME}://host", "https://host"),
        ("$${URL}", "${URL}"),
        ("text:file:secret", "file:secret"),
        ("text:env:${SCHEME}", "env:https"),
        ("text:text:file:secret", "text:file:secret"),
        ("text:hello", "text:hello"),
        (" file:secret", " file:secret"),
        ("FILE:secret", "FILE:secret"),
        ("a file:secret", "a file:secret"),
        (["file:secret", {"a": "env:SCHEME", "file:secret": 5}], ["t0ps3cret", {"a": "https", "file:secret": 5}]),
        (5, 5),
        (None, None),
    ],
)
def test_what_is_written_becomes_what_is_meant(folder: Path, written: Any, meant: Any) -> None:
    assert expanded(written, folder) == meant


def test_a_path_from_the_root_is_taken_as_it_is(folder: Path) -> None:
    assert expanded(f"file:{folder}/secret") == "t0ps3cret"


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("file:none", "needs the file {}/none, which cannot be read: No such file or directory"),
        ("file:run", "needs the file {}/run, which cannot be read: Is a directory"),
        ("file:", "needs the file {}, which cannot be read: Is a directory"),
        ("file:secret/x", "needs the file {}/secret/x, which cannot be read: Not a directory"),
        ("file:empty", "needs the file {}/empty, which is empty"),
        ("file:latin1", "needs the file {}/latin1, which is not UTF-8 text"),
        ("file:nul", "needs the file {}/nul, which is not text"),
        ("file:larger", "needs the file {}/larger, which is larger than 64 KiB"),
        ("file:pipe", "needs the file {}/pipe, which is no regular file"),
        ("file:/dev/zero", "needs the file /dev/zero, which is no regular file"),
        ("file:${URL}", "needs the file {}/${{URL}}, which cannot be read: No such file or directory"),
        ("file:a\0b", "needs the file {}/a\0b, which has a name that no file can have"),
        ("file:${NONE}", "needs the environment variable NONE, which is not set"),
        ("env:NONE", "needs the environment variable NONE, which is not set"),
        ("env:", "has env: without the name of an environment variable; a plain env: is written text:env:"),
        ("env:A-B", "has env: without the name of an environment variable; a plain env: is written text:env:"),
        ("${}", "has a ${{ without a name and }}; a plain ${{ is written $${{"),
    ],
)
def test_what_cannot_be_had_is_named_with_its_option_and_path(folder: Path, written: str, sentence: str) -> None:
    _, problems = expand({"a": ["x", {"b": written}]}, Local(ENVIRON, folder))
    assert problems == [("a[1].b", sentence.format(folder))]
    assert "s3cret" not in str(problems)


def test_a_file_that_may_not_be_read_is_named(folder: Path) -> None:
    (folder / "secret").chmod(0)
    if os.access(folder / "secret", os.R_OK):
        pytest.skip("whoever runs this may read everything")
    _, problems = expand({"a": "file:secret"}, Local(ENVIRON, folder))
    assert problems == [("a", f"needs the file {folder}/secret, which cannot be read: Permission denied")]


@pytest.mark.parametrize("written", ["file:/proc/self/environ", "env:HOME", "${HOME}", "file:${HOME}", "a ${HOME} b"])
def test_what_others_wrote_reads_nothing_here(written: str) -> None:
    options, problems = expand({"a": written}, Nothing())
    assert options == {"a": written}
    assert [path for path, _ in problems] == ["a"]
    assert all("which only a subscriptions file may" in sentence for _, sentence in problems)


PIECES = st.lists(st.sampled_from(["file:", "env:", "text:", "${", "}", "$", "A", "\n"]), max_size=8).map("".join)


@given(st.recursive(PIECES | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(PIECES, inner)))
def test_what_is_escaped_means_itself_whatever_it_is(value: Any) -> None:
    for sources in (Nothing(), Local({"A": "other"})):
        assert expand(escape({"option": value}), sources) == ({"option": value}, [])
