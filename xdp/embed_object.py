#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes a C++ source that carries a BPF object as bytes. usage: embed_object.py OBJECT OUTPUT FUNCTION"""

from __future__ import annotations

import sys
from pathlib import Path

TEMPLATE = """// Made by xdp/embed_object.py from {name}.
#include "xdp/objects.hpp"

namespace weir::xdp {{
namespace {{
alignas(8) constexpr char kBytes[] = {{
{rows}
}};
}} // namespace

std::span<const char> {function}() {{
    return kBytes;
}}

}} // namespace weir::xdp
"""


def main() -> int:
    source, output, function = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    signed = [byte - 256 if byte > 127 else byte for byte in source.read_bytes()]
    rows = "\n".join(",".join(map(str, signed[at:at + 32])) + "," for at in range(0, len(signed), 32))
    output.write_text(TEMPLATE.format(name=source.name, rows=rows, function=function))
    return 0


if __name__ == "__main__":
    sys.exit(main())
