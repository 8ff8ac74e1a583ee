"""The eight usages that are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tallystick.usage import RequestUsage


class Case(NamedTuple):
    """One of the usages that are compared: disjoint leaves, in a service tier."""

    name: str
    leaves: Mapping[str, int]
    tier: str | None = None

    @property
    def input_tokens(self) -> int:
        """All input, cached or not."""
        return sum(
            number for leaf, number in self.leaves.items() if leaf.startswith(("input_", "cache_"))
        )

    def without_output(self) -> Case:
        """Return the same of a model that has no output."""
        leaves = {n: c for n, c in self.leaves.items() if not n.startswith("output_")}
        return self._replace(leaves=leaves)

    def usage(self) -> RequestUsage:
        """Return the counts as providers report them: wholes that include their parts."""
        get = self.leaves.get
        five_minutes, hour = get("cache_write_tokens", 0), get("cache_write_1h_tokens", 0)
        output = sum(n for leaf, n in self.leaves.items() if leaf.startswith("output_"))
        return RequestUsage(
            self.input_tokens,
            output,
            input_tokens_details={
                "cached_tokens": get("cache_read_tokens", 0),
                "cache_write_tokens": five_minutes + hour,
                "cache_write_5m_tokens": five_minutes,
                "cache_write_1h_tokens": hour,
                "audio_tokens": get("input_audio_tokens", 0),
            },
            output_tokens_details={
                "reasoning_tokens": get("output_reasoning_tokens", 0),
                "audio_tokens": get("output_audio_tokens", 0),
            },
            tool_requests={"web_search": get("web_searches", 0)},
        )


CASES = (
    Case("plain", {"input_tokens": 10_007, "output_tokens": 1_009, "requests": 1}),
    Case(
        "cached",
        {
            "input_tokens": 1_013,
            "cache_read_tokens": 20_011,
            "output_tokens": 503,
            "requests": 1,
        },
    ),
    Case(
        "written",
        {
            "input_tokens": 1_019,
            "cache_write_tokens": 5_003,
            "cache_write_1h_tokens": 3_001,
            "output_tokens": 509,
            "requests": 1,
        },
    ),
    Case(
        "long",
        {
            "input_tokens": 400_009,
            "cache_read_tokens": 200_003,
            "output_tokens": 4_001,
            "requests": 1,
        },
    ),
    Case(
        "audio",
        {
            "input_tokens": 1_021,
            "input_audio_tokens": 7_001,
            "output_tokens": 307,
            "output_audio_tokens": 601,
            "requests": 1,
        },
    ),
    Case(
        "research",
        {
            "input_tokens": 2_003,
            "output_tokens": 401,
            "output_reasoning_tokens": 6_007,
            "web_searches": 3,
            "requests": 1,
        },
    ),
    Case("batch", {"input_tokens": 10_009, "output_tokens": 1_013, "requests": 1}, "batch"),
    Case("priority", {"input_tokens": 10_037, "output_tokens": 1_031, "requests": 1}, "priority"),
)
"""The eight usages. Their counts are odd and all different, so that no two mistakes cancel out."""
