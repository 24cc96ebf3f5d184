"""The track as a file: what is read is what was written, also after a stop in the middle of a line."""

import math

import pytest

from landscape.errors import CheckpointError, WriteError
from landscape.training.track_file import TrackFile, TrackRow, read_track

ROWS = [
    TrackRow(0, 0, "norm", "", 0.1 + 0.2, 0.0),
    TrackRow(0, 0, "norm", 'a,"b"', 1e-300, math.nan),
    TrackRow(1, 7, "edge", "", math.nan, math.nan),
]


def same(one, two):
    return repr(list(one)) == repr(list(two))


def test_what_is_appended_is_read_back(tmp_path):
    file = TrackFile(tmp_path / "run" / "track.csv")
    assert file.read() == []
    file.append(ROWS[:1])
    file.append(ROWS[1:])
    assert same(file.read(), ROWS)
    assert file.path.read_text().splitlines()[0] == "epoch,step,quantity,group,value,stderr"


def test_half_a_line_is_left_out(tmp_path):
    file = TrackFile(tmp_path / "track.csv")
    file.append(ROWS)
    whole = file.path.read_text()
    file.path.write_text(whole + "2,14,no")
    assert same(file.read(), ROWS)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "epoch,step,quantity,group,value,stderr\n1,x,norm,,1,0\n"])
def test_what_is_no_track_is_refused(tmp_path, text):
    (tmp_path / "track.csv").write_text(text)
    with pytest.raises(CheckpointError, match=r"no track|line 2"):
        read_track(tmp_path / "track.csv")


def test_without_a_path_nothing_is_written_and_what_cannot_be_written_is_said(tmp_path):
    TrackFile(None).append(ROWS)
    (tmp_path / "track.csv").mkdir()
    with pytest.raises(WriteError, match="cannot write"):
        TrackFile(tmp_path / "track.csv").append(ROWS)
