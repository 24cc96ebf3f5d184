"""Whether a zip archive is as it was written. Knows no torch.

torch's reader believes what an archive says of itself: it makes room for whatever size is promised, and reads a weight
whose bits have changed as another number.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

_PART = 1 << 20
_GROWTH = 100  # tensors are stored as they are; what grows more than this when it is unpacked was made to fill memory


def fault_of_archive(path: Path) -> str | None:
    """What is wrong with the zip archive `path`: it would unpack to far more than it is, or a checksum does not fit.

    None for a whole one, and for one whose directory cannot be read: its reader says why. Checksums are left alone
    where none of them fits, as `torch.serialization.set_crc32_options(False)` writes other sums in their place.

    Cost: one pass over the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.file_size]
            size, unpacked = path.stat().st_size, sum(entry.file_size for entry in entries)
            if unpacked > _GROWTH * size:
                return f"its {size:,} bytes would unpack to {unpacked:,}"
            changed = [entry.filename for entry in entries if not _fits(archive, entry)]
    except Exception:  # a damaged archive can fail anywhere in the reader
        return None
    return f"the checksum of {changed[0]!r} does not fit" if 0 < len(changed) < len(entries) else None


def _fits(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(entry) as part:
            while part.read(_PART):
                pass
    except zipfile.BadZipFile:
        return False
    return True
