# SPDX-License-Identifier: BSD-3-Clause
"""Distribution against weights, with a tolerance that comes from the number of samples."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

# Two-sided normal quantile of about one false alarm in 2 million checks, plus the 1 % a Maglev table may be off.
Z = 5.0
TABLE_ERROR = 0.01


def unfair_shares(counts: Mapping[str, int], weights: Mapping[str, int]) -> list[str]:
    """Which backends got a share that chance cannot explain; empty when the distribution fits the weights."""
    total, sum_of_weights = sum(counts.values()), sum(weights.values())
    problems = [f"{name} answered {counts[name]} times and is not in the pool" for name in counts.keys() - weights.keys()]
    for name, weight in weights.items():
        share = weight / sum_of_weights
        expected = total * share
        tolerance = Z * sqrt(total * share * (1 - share)) + TABLE_ERROR * expected
        if abs(counts.get(name, 0) - expected) > tolerance:
            problems.append(f"{name}: {counts.get(name, 0)} of {total}, expected {expected:.0f} +- {tolerance:.0f}")
    return problems
