"""Where `analyze` writes: names that do not clash, places that are tried beforehand and left as they were."""

from pathlib import Path

import pytest

from landscape.errors import OptionError, WriteError
from landscape_cli.targets import check_folder, check_report, document_names


@pytest.mark.parametrize(
    ("checkpoints", "names"),
    [
        (["runs/a.pt"], ["a.json"]),
        (["a.pt", "b.pt"], ["a.json", "b.json"]),
        (["x/final.pt", "y/final.pt"], ["x-final.json", "y-final.json"]),
        (["final.pt", "final.th"], ["final.pt.json", "final.th.json"]),
        (["1/s/final.pt", "2/s/final.pt"], ["1-s-final.json", "2-s-final.json"]),
        (["Net.pt", "net.pt"], ["1-Net.json", "2-net.json"]),
        (["x/final.pt", "y/final.pt", "x/final.th"], ["x-final.pt.json", "y-final.pt.json", "x-final.th.json"]),
        (["epoch-1.5.pt", "epoch-1.6.pt"], ["epoch-1.5.json", "epoch-1.6.json"]),
    ],
)
def test_documents_have_names_of_their_own(checkpoints: list[str], names: list[str]) -> None:
    assert document_names([Path(path) for path in checkpoints]) == names


def test_a_checkpoint_named_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="given twice"):
        document_names([Path("a.pt"), Path("b.pt"), Path("./a.pt")])


def test_trying_a_folder_leaves_nothing_behind(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deeper", "--out")
    for name in ("report.pdf", "report.html"):
        check_report(tmp_path / "other" / name, "--report")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["file", "file/below"])
def test_a_file_where_a_folder_is_wanted_is_refused(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(WriteError, match="--out: cannot write into"):
        check_folder(tmp_path / folder, "--out")
    assert (tmp_path / "file").read_text() == "kept"


def test_a_report_is_a_pdf_or_html_and_no_folder(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"--out: .*ends in \.pdf or \.html, got report\.docx"):
        check_report(Path("report.docx"), "--out")
    (tmp_path / "folder.pdf").mkdir()
    with pytest.raises(WriteError, match=r"--report: .*is a folder"):
        check_report(tmp_path / "folder.pdf", "--report")
