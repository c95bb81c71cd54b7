# SPDX-License-Identifier: BSD-3-Clause
"""A rate: so many a second, a tenth of a second's worth (at least one) at once."""

from __future__ import annotations


class Bucket:
    """Starts full. Levels in thousandths of a packet, time in milliseconds."""

    def __init__(self) -> None:
        self.level: int | None = None
        self.last_ms = 0

    def take(self, now_ms: int, rate: int) -> bool:
        full = max(rate // 10, 1) * 1000
        if rate == 0:
            return False
        if self.level is None:
            self.level = full
        self.level = min(full, self.level + (now_ms - self.last_ms) * rate)
        self.last_ms = now_ms
        if self.level < 1000:
            return False
        self.level -= 1000
        return True
