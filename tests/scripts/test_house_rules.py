# SPDX-License-Identifier: BSD-3-Clause
"""The checks check: each rule of check-layers and check-hygiene refuses its breach, and the counting counts failures."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # where run.py finds what it imports


def load(path: str) -> ModuleType:
    """A script as a module, whatever its suffix."""
    name = Path(path).stem.replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    sys.modules[name] = module
    loader.exec_module(module)
    return module


layers = load("scripts/check-layers")
hygiene = load("scripts/check-hygiene")
runner = load("tests/run.py")

BSD = "// SPDX-License-Identifier: BSD-3-Clause\n"


@pytest.mark.parametrize("path, include", [
    ("dataplane/forwarding/x.h", "<string.h>"),
    ("dataplane/forwarding/x.h", "<rte_mbuf.h>"),
    ("dataplane/forwarding/x.h", '"config/expected.hpp"'),
    ("dataplane/lb/x.cpp", "<rte_mbuf.h>"),
    ("dataplane/lb/x.cpp", "<toml.hpp>"),
    ("config/x.cpp", "<boost/asio.hpp>"),
    ("config/x.cpp", '"dataplane/lb/maglev.hpp"'),
    ("dataplane/dpdk/x.cpp", "<openssl/ssl.h>"),
    ("dataplane/dpdk/x.cpp", "<bpf/libbpf.h>"),
    ("dataplane/main.cpp", "<nlohmann/json.hpp>"),
    ("xdp/x.cpp", "<rte_eal.h>"),
    ("control/x.cpp", "<bpf/bpf.h>"),
    ("control/x.cpp", "<rte_eal.h>"),
    ("control/weirctl/x.cpp", '"control/health/health_state.hpp"'),
    ("control/weirctl/x.cpp", "<openssl/ssl.h>"),
    ("control/health/x.cpp", '"control/weirctl/client.hpp"'),
    ("elsewhere/x.cpp", "<vector>"),
    ("control/x.cpp", '"maglev.hpp"'),
])
def test_a_forbidden_include_is_found(path: str, include: str) -> None:
    assert layers.check_text(path, f"#include {include}\n")


@pytest.mark.parametrize("path, include", [
    ("dataplane/forwarding/x.h", "<stdint.h>"),
    ("dataplane/forwarding/x.h", '"dataplane/forwarding/base.h"'),
    ("dataplane/forwarding/x_test.cpp", "<gtest/gtest.h>"),
    ("dataplane/lb/x.cpp", '"config/expected.hpp"'),
    ("dataplane/dpdk/x.cpp", "<rte_mbuf.h>"),
    ("xdp/x.cpp", "<bpf/libbpf.h>"),
    ("config/x.cpp", "<toml.hpp>"),
    ("control/x.cpp", "<boost/asio.hpp>"),
])
def test_an_allowed_include_passes(path: str, include: str) -> None:
    assert layers.check_text(path, f"#include {include}\n") == []


@pytest.mark.parametrize("path, text", [
    ("config/x.cpp", "int x;\n"),
    ("xdp/x.bpf.c", BSD),
    ("dataplane/forwarding/x.h", BSD),
    ("xdp/x.bpf.c", "// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)\nint x;\n"),
    ("config/x.cpp", BSD + "int x;\n" * 500),
    ("config/x.cpp", BSD + "// TO" + "DO\n"),
    ("config/x.cpp", BSD + "int x; \n"),
    ("config/x.cpp", BSD + "int x;"),
    ("config/utils/x.cpp", BSD),
    ("control/helpers.cpp", BSD),
    ("control/x.cpp", BSD + "<<<<<<< HEAD\n"),
])
def test_a_breach_of_the_house_rules_is_found(path: str, text: str) -> None:
    assert hygiene.check_text(Path(path), text)


def test_a_clean_file_passes() -> None:
    assert hygiene.check_text(Path("config/x.cpp"), BSD + "int x;\n") == []
    dual = '/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */\nchar l[] SEC("license") = "Dual BSD/GPL";\n'
    assert hygiene.check_text(Path("xdp/x.bpf.c"), dual) == []


def test_gtest_cases_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "x.xml"
    report.write_text('<testsuites><testsuite><testcase name="a" classname="S" status="run" result="completed"/>'
                      '<testcase name="b" classname="S" status="run" result="completed"><failure/></testcase>'
                      '<testcase name="c" classname="S" status="run" result="skipped"><skipped/></testcase>'
                      '<testcase name="d" classname="S" status="notrun" result="suppressed"/></testsuite></testsuites>')
    found = runner.count_gtest_xml(report)
    assert (found.passed, found.failed, found.skipped, found.failures) == (1, 1, 1, ["S.b"])


def test_pytest_cases_are_counted_and_a_failed_teardown_fails_its_test(tmp_path: Path) -> None:
    report = tmp_path / "x.xml"
    report.write_text('<testsuites><testsuite><testcase name="a" classname="m"/><testcase name="a" classname="m"><error/>'
                      '</testcase><testcase name="b" classname="m"/><testcase name="c" classname="m"><skipped/></testcase>'
                      '<testcase name="d" classname="m"><failure/></testcase></testsuite></testsuites>')
    found = runner.count_junit_xml(report)
    assert (found.passed, found.failed, found.skipped) == (1, 2, 1)


def reports_of(tmp_path: Path, sanitizers: str) -> runner.Reports:
    (tmp_path / "meson-info").mkdir()
    (tmp_path / "meson-info" / "intro-buildoptions.json").write_text(
        json.dumps([{"name": "optimization", "value": "1"}, {"name": "b_sanitize", "value": sanitizers}]))
    return runner.Reports(tmp_path, tmp_path)


def test_a_plain_build_has_no_sanitizer_options(tmp_path: Path) -> None:
    assert reports_of(tmp_path, "none").environment() == {}


def test_a_sanitizers_report_is_seen_once(tmp_path: Path) -> None:
    reports = reports_of(tmp_path, "address,undefined")
    assert f"log_path={tmp_path}/report" in reports.environment()["ASAN_OPTIONS"]
    assert reports.fresh() == []
    (tmp_path / "report.17").write_text("ERROR: AddressSanitizer: heap-use-after-free\n")
    assert reports.fresh() == ["ERROR: AddressSanitizer: heap-use-after-free"]
    assert reports.fresh() == []
