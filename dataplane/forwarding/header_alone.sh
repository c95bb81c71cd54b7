#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Compiles one shared header alone as C17, C++20 and BPF. usage: header_alone.sh ROOT HEADER
set -eu
root=$1
header=$2
source=$(mktemp --suffix=.c)
trap 'rm -f "$source"' EXIT
printf '#include "dataplane/forwarding/%s"\ntypedef int weir_header_stands_alone;\n' "$header" >"$source"
strict="-Wall -Wextra -Wshadow -Wundef -Werror -fsyntax-only -I$root"
gcc -std=c17 -Wpedantic $strict -x c "$source"
g++ -std=c++20 -Wpedantic $strict -x c++ "$source"
clang -O2 -target bpf -mcpu=v3 -ffreestanding $strict \
    -I"/usr/include/$(gcc -print-multiarch)" -x c "$source"
