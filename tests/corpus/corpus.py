#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fuzzers' inputs as text, a line of hexadecimal digits each, and as the directory of files that libFuzzer wants.

    corpus.py unpack FILE.txt DIRECTORY
    corpus.py pack DIRECTORY FILE.txt
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

HEAD = "# SPDX-License-Identifier: BSD-3-Clause\n# Inputs of the fuzzer of this name, minimised: scripts/fuzz --keep NAME.\n"


def unpack(packed: Path, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for line in packed.read_text().splitlines():
        if line and not line.startswith("#"):
            data = bytes.fromhex(line)
            (directory / hashlib.sha1(data).hexdigest()).write_bytes(data)


def pack(directory: Path, packed: Path) -> None:
    inputs = sorted({path.read_bytes() for path in directory.iterdir()}, key=lambda data: (len(data), data))
    packed.write_text(HEAD + "".join(data.hex() + "\n" for data in inputs if data))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in ("pack", "unpack"):
        sys.exit(__doc__)
    {"pack": pack, "unpack": unpack}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
