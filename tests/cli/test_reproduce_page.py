"""What is wrong with the page of `landscape reproduce --page` is told before anything is trained."""

from __future__ import annotations

import pytest

from landscape_cli.main import main

OTHER = "<!-- reproduce:tp-table6 -->\n<!-- /reproduce:tp-table6 -->\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.md", None, "cannot be read (No such file or directory)"),
        (".", None, "cannot be read (Is a directory)"),
        ("bytes.md", b"\xff\xfe", "cannot be read (it is no text)"),
        ("plain.md", b"no place", "has no place for tp-table2; expected the lines <!-- reproduce:tp-table2 -->"),
        ("other.md", OTHER.encode(), "has no place for tp-table2"),
    ],
)
def test_it_is_refused_before_the_runs(tmp_path, monkeypatch, capsys, name, content, words):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert main(["reproduce", "tp-table2", "--small", "--page", name]) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
