# SPDX-License-Identifier: BSD-3-Clause
"""Each header of dataplane/forwarding/ compiles alone as C17, C++20 and BPF: one decision for both engines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
HEADERS = sorted(p.relative_to(ROOT) for p in (ROOT / "dataplane" / "forwarding").glob("**/*.h"))

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wshadow", "-Wundef"]
COMPILERS = {
    "c17": ["gcc", "-std=c17", "-Wpedantic", "-x", "c"],
    "c++20": ["g++", "-std=c++20", "-Wpedantic", "-x", "c++"],
    "bpf": ["clang-14", "-target", "bpf", "-mcpu=v3", "-std=gnu17", "-O2", "-ffreestanding",
            "-I/usr/include/x86_64-linux-gnu", "-x", "c"],
}


def compile_source(compiler: str, source: str) -> subprocess.CompletedProcess[str]:
    """Compiles SOURCE as its own unit, from the top of the tree, keeping nothing."""
    return subprocess.run([*COMPILERS[compiler], *WARNINGS, "-I", str(ROOT), "-c", "-o", "/dev/null", "-"],
                          input=source, capture_output=True, text=True, cwd=ROOT)


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("header", HEADERS, ids=str)
def test_header_compiles_alone(header: Path, compiler: str) -> None:
    # Twice, so that a missing include guard shows.
    done = compile_source(compiler, f'#include "{header}"\n#include "{header}"\nint weir_nothing_else;\n')
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("compiler", COMPILERS)
def test_a_header_that_needs_something_undeclared_is_caught(compiler: str) -> None:
    """Negative control: the same command refuses a unit that uses a type nobody included."""
    done = compile_source(compiler, "static inline uint32_t weir_broken(void) { return 0; }\n")
    assert done.returncode != 0
    assert "uint32_t" in done.stderr


def test_there_are_headers() -> None:
    assert HEADERS, "dataplane/forwarding/ holds no header: the compile tests above would be empty"
