"""Disagreements that no rule explains, each with the reason and, where there is one, a source.

An exception pins the rate of both sides. When either changes, it explains nothing any more.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple


class Known(NamedTuple):
    """Some disagreements that have the same reason."""

    oracle: str
    kind: str
    why: str
    """Who is believed to be right, and why."""
    source: str
    """The page that says so; empty where none was found."""
    pins: str
    """A line for each: the oracle's row, the unit, our rate and theirs in USD, of tokens for a
    million."""


class Pin(NamedTuple):
    """The two rates of one disagreement."""

    oracle: str
    row: str
    unit: str
    ours: Fraction | None
    theirs: Fraction | None


def pinned(exceptions: tuple[Known, ...]) -> dict[Pin, Known]:
    """Return exceptions by what they pin.

    Raises:
        ValueError: a line is not of four words, or a disagreement is pinned twice.
    """
    found: dict[Pin, Known] = {}
    for exception in exceptions:
        for line in exception.pins.strip().splitlines():
            row, unit, ours, theirs = line.split()
            per = 1_000_000 if unit.endswith("_tokens") else 1
            pin = Pin(exception.oracle, row, unit, Fraction(ours) / per, Fraction(theirs) / per)
            if pin in found:
                raise ValueError(f"pinned twice: {line.strip()}")
            found[pin] = exception
    return found


KNOWN: tuple[Known, ...] = (
    Known(
        "litellm",
        "region",
        "litellm has 1.1 times what the book and OpenAI have, which is what Azure asks for "
        "processing in one region; no page with the figure was found",
        "https://azure.microsoft.com/en-us/pricing/details/azure-openai/",
        """
        azure/ada input_tokens 0.1 0.11
        azure/text-embedding-3-large input_tokens 0.13 0.143
        azure/text-embedding-3-small input_tokens 0.02 0.022
        azure/text-embedding-ada-002 input_tokens 0.1 0.11
        """,
    ),
    Known(
        "litellm",
        "region",
        "The row is Bedrock's global one without its maker's name; the name alone is that of "
        "a region here, at Anthropic's 10 % premium",
        "https://platform.claude.com/docs/en/about-claude/pricing",
        """
        claude-sonnet-4-5-20250929-v1:0 input_tokens 3.3 3
        claude-sonnet-4-5-20250929-v1:0 output_tokens 16.5 15
        claude-sonnet-4-5-20250929-v1:0 cache_read_tokens 0.33 0.3
        claude-sonnet-4-5-20250929-v1:0 cache_write_tokens 4.125 3.75
        claude-sonnet-4-5-20250929-v1:0 cache_write_1h_tokens 6.6 6
        """,
    ),
    Known(
        "litellm",
        "fee",
        "Azure's searches cost $14 a thousand, as Grounding with Bing; the book has only "
        "OpenAI's fee for what Azure resells. litellm is believed",
        "https://prices.azure.com/api/retail/prices",
        """
        azure/gpt-4.1 web_searches 0.01 0.014
        azure/gpt-4.1-2025-04-14 web_searches 0.01 0.014
        azure/gpt-4.1-mini web_searches 0.01 0.014
        azure/gpt-4.1-mini-2025-04-14 web_searches 0.01 0.014
        azure/gpt-4o-mini web_searches 0.01 0.014
        azure/gpt-4o-mini-2024-07-18 web_searches 0.01 0.014
        azure/o3-deep-research web_searches 0.01 0.014
        """,
    ),
    Known(
        "litellm",
        "fee",
        "litellm has $25 a thousand, OpenAI's fee of web_search_preview for models that do "
        "not reason; the book has the $10 of web_search. Both are right",
        "https://developers.openai.com/api/docs/pricing",
        """
        gpt-4.1 web_searches 0.01 0.025
        gpt-4.1-2025-04-14 web_searches 0.01 0.025
        gpt-4.1-mini web_searches 0.01 0.025
        gpt-4.1-mini-2025-04-14 web_searches 0.01 0.025
        gpt-4o-mini web_searches 0.01 0.025
        gpt-4o-mini-2024-07-18 web_searches 0.01 0.025
        gpt-4o-mini-search-preview web_searches 0.01 0.025
        gpt-4o-mini-search-preview-2025-03-11 web_searches 0.01 0.025
        """,
    ),
    Known(
        "litellm",
        "alias",
        "Azure's own price, of an open-weight model or an older version; the book prices what "
        "Azure resells as who it takes for the maker does. litellm is believed",
        "https://prices.azure.com/api/retail/prices",
        """
        azure_ai/gpt-oss-120b input_tokens 0.039 0.15
        azure_ai/gpt-oss-120b output_tokens 0.18 0.6
        azure/gpt-4o-realtime-preview-2024-10-01 input_audio_tokens 40 100
        azure/gpt-4o-realtime-preview-2024-10-01 output_audio_tokens 80 200
        azure_ai/deepseek-v3.2 input_tokens 0.2288 0.58
        azure_ai/deepseek-v3.2 output_tokens 0.3432 1.68
        azure_ai/deepseek-r1 input_tokens 0.55 1.35
        azure_ai/deepseek-r1 output_tokens 2.19 5.4
        """,
    ),
    Known(
        "litellm",
        "missing rate",
        "litellm repeats the rate of text input as that of audio; OpenAI's page has both",
        "https://developers.openai.com/api/docs/pricing",
        """
        gpt-4o-transcribe-diarize input_audio_tokens 6 2.5
        gpt-4o-mini-transcribe input_audio_tokens 3 1.25
        gpt-4o-transcribe input_audio_tokens 6 2.5
        """,
    ),
    Known(
        "litellm",
        "rounding",
        "Cloudflare prices by neurons; both tables round what comes of it, one to the third "
        "digit and one to the fourth",
        "https://developers.cloudflare.com/workers-ai/platform/pricing/",
        """
        cloudflare/@cf/meta/llama-3.2-3b-instruct input_tokens 0.051 0.0509
        cloudflare/@cf/zai-org/glm-4.7-flash input_tokens 0.06 0.0605
        cloudflare/@cf/qwen/qwen3-30b-a3b-fp8 input_tokens 0.051 0.0509
        cloudflare/@cf/meta/llama-3.2-11b-vision-instruct input_tokens 0.049 0.0485
        """,
    ),
    Known(
        "litellm",
        "stale",
        "One rate for input and output in litellm, two in the book, as Cloudflare lists them "
        "now; litellm's is taken for the older",
        "https://developers.cloudflare.com/workers-ai/platform/pricing/",
        """
        cloudflare/@cf/meta/llama-2-7b-chat-fp16 input_tokens 0.556 1.923
        cloudflare/@cf/meta/llama-2-7b-chat-fp16 output_tokens 6.667 1.923
        cloudflare/@cf/mistral/mistral-7b-instruct-v0.1 input_tokens 0.11 1.923
        cloudflare/@cf/mistral/mistral-7b-instruct-v0.1 output_tokens 0.19 1.923
        """,
    ),
    Known(
        "litellm",
        "stale",
        "The book's is no price of DeepSeek's own, which was $0.28 and $0.42 while V3.2 was "
        "served; the oracle is believed, but for an output of $0.40",
        "https://api-docs.deepseek.com/quick_start/pricing",
        """
        deepseek/deepseek-v3.2 input_tokens 0.2288 0.28
        deepseek/deepseek-v3.2 output_tokens 0.3432 0.4
        """,
    ),
    Known(
        "litellm",
        "rounding",
        "Half of the input rate of $0.075, which litellm has cut off at three digits",
        "https://groq.com/pricing",
        """
        groq/openai/gpt-oss-safeguard-20b cache_read_tokens 0.0375 0.037
        """,
    ),
    Known(
        "litellm",
        "alias",
        "Mistral has pointed the name at Mistral Medium 3.5 (in model-prices from 2026-07-04 "
        "on, as mistral-medium-latest); the book takes it for 3.1. litellm is believed",
        "https://docs.mistral.ai/models/model-cards/mistral-medium-3-5-26-04",
        """
        mistral/mistral-medium input_tokens 0.4 1.5
        mistral/mistral-medium output_tokens 2 7.5
        mistral/mistral-medium cache_read_tokens 0.04 0.15
        """,
    ),
    Known(
        "litellm",
        "region",
        "Theirs is 0.9 times ours, rounded to cents: litellm is taken to have the list in "
        "euro as if it were in USD, and the book that in USD",
        "https://www.ovhcloud.com/en/public-cloud/ai-endpoints/catalog/",
        """
        ovhcloud/DeepSeek-R1-Distill-Llama-70B input_tokens 0.74 0.67
        ovhcloud/DeepSeek-R1-Distill-Llama-70B output_tokens 0.74 0.67
        ovhcloud/Llama-3.1-8B-Instruct input_tokens 0.11 0.1
        ovhcloud/Llama-3.1-8B-Instruct output_tokens 0.11 0.1
        ovhcloud/Meta-Llama-3_3-70B-Instruct input_tokens 0.74 0.67
        ovhcloud/Meta-Llama-3_3-70B-Instruct output_tokens 0.74 0.67
        ovhcloud/Mistral-7B-Instruct-v0.3 input_tokens 0.11 0.1
        ovhcloud/Mistral-7B-Instruct-v0.3 output_tokens 0.11 0.1
        ovhcloud/Mistral-Nemo-Instruct-2407 input_tokens 0.14 0.13
        ovhcloud/Mistral-Nemo-Instruct-2407 output_tokens 0.14 0.13
        ovhcloud/Mistral-Small-3.2-24B-Instruct-2506 input_tokens 0.1 0.09
        ovhcloud/Mistral-Small-3.2-24B-Instruct-2506 output_tokens 0.31 0.28
        ovhcloud/Mixtral-8x7B-Instruct-v0.1 input_tokens 0.7 0.63
        ovhcloud/Mixtral-8x7B-Instruct-v0.1 output_tokens 0.7 0.63
        ovhcloud/Qwen2.5-VL-72B-Instruct input_tokens 1.01 0.91
        ovhcloud/Qwen2.5-VL-72B-Instruct output_tokens 1.01 0.91
        ovhcloud/Qwen3-32B input_tokens 0.09 0.08
        ovhcloud/Qwen3-32B output_tokens 0.25 0.23
        ovhcloud/gpt-oss-120b input_tokens 0.09 0.08
        ovhcloud/gpt-oss-120b output_tokens 0.47 0.4
        ovhcloud/gpt-oss-20b input_tokens 0.05 0.04
        ovhcloud/gpt-oss-20b output_tokens 0.18 0.15
        """,
    ),
    Known(
        "litellm",
        "region",
        "A list in yuan, converted at 7 to the dollar by litellm and at 7.25 by the book",
        "https://docs.bigmodel.cn/cn/guide/start/pricing",
        """
        bigmodel/glm-5.3 input_tokens 1.103 1.1428571428571428
        bigmodel/glm-5.3 output_tokens 3.862 4
        bigmodel/glm-5.3 cache_read_tokens 0.276 0.2857142857142857
        bigmodel/glm-5.3-flash input_tokens 0.11 0.1142857142857143
        bigmodel/glm-5.3-flash output_tokens 0.386 0.4
        bigmodel/glm-5.3-flash cache_read_tokens 0.032 0.032857142857142855
        """,
    ),
    Known(
        "litellm",
        "stale",
        "Claude 3.5 Haiku cost $1 and $5 at first, then $0.80 and $4, also on Vertex; litellm "
        "has the first",
        "https://platform.claude.com/docs/en/about-claude/pricing",
        """
        vertex_ai/claude-3-5-haiku input_tokens 0.8 1
        vertex_ai/claude-3-5-haiku output_tokens 4 5
        vertex_ai/claude-3-5-haiku@20241022 input_tokens 0.8 1
        vertex_ai/claude-3-5-haiku@20241022 output_tokens 4 5
        """,
    ),
    Known(
        "litellm",
        "alias",
        "Audio costs $1 on Vertex, litellm says, and $0.70 at the Gemini API; they are one "
        "provider in the book. Both are believed",
        "https://cloud.google.com/vertex-ai/generative-ai/pricing",
        """
        vertex_ai/gemini-2.0-flash input_audio_tokens 0.7 1
        """,
    ),
    Known(
        "litellm",
        "stale",
        "A model sold on by a gateway whose price changed; undated in both, and no evidence "
        "was found of which is the newer",
        "",
        """
        fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct input_tokens 0.2 0.1
        fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct output_tokens 0.2 0.1
        together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo input_tokens 0.88 1.04
        together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo output_tokens 0.88 1.04
        together_ai/Qwen/Qwen3.7-Max input_tokens 2.5 1.5
        together_ai/Qwen/Qwen3.7-Max output_tokens 7.5 4.5
        together_ai/Qwen/Qwen3.7-Max cache_read_tokens 0.5 0.3
        together_ai/Qwen/Qwen3.8-2.4T-A95B cache_read_tokens 0.5 0.25
        fireworks_ai/accounts/fireworks/models/gemma-3-27b-it input_tokens 0.1 0.9
        fireworks_ai/accounts/fireworks/models/gemma-3-27b-it output_tokens 0.1 0.9
        novita/mistralai/mistral-nemo input_tokens 0.17 0.04
        novita/deepseek/deepseek-v4-pro-0813 cache_read_tokens 0.044 0.13200000000000002
        novita/mindai/macaron-v1-venti input_tokens 0.825 1.5
        novita/mindai/macaron-v1-venti output_tokens 2.475 4.5
        novita/mindai/macaron-v1-venti cache_read_tokens 0.165 0.3
        novita/mindai/macaron-v1-tall input_tokens 0.2475 0.45000000000000003
        novita/mindai/macaron-v1-tall output_tokens 1.43 2.6
        novita/mindai/macaron-v1-tall cache_read_tokens 0.044 0.08
        together_ai/NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO input_tokens 0.9 0.6
        together_ai/NousResearch/Nous-Hermes-2-Mixtral-8x7B-DPO output_tokens 0.9 0.6
        together_ai/mistralai/Mixtral-8x7B-Instruct-v0.1 input_tokens 0.9 0.6
        together_ai/mistralai/Mixtral-8x7B-Instruct-v0.1 output_tokens 0.9 0.6
        fireworks_ai/accounts/fireworks/models/deepseek-v4-pro input_tokens 1.74 1.2
        fireworks_ai/accounts/fireworks/models/deepseek-v4-pro output_tokens 3.48 1.2
        fireworks_ai/accounts/fireworks/models/deepseek-v4-pro cache_read_tokens 0.145 0.6
        """,
    ),
    Known(
        "model-prices",
        "stale",
        "The book's is no price of DeepSeek's own, which was $0.28 and $0.42 while V3.2 was "
        "served; the oracle is believed, but for an output of $0.40",
        "https://api-docs.deepseek.com/quick_start/pricing",
        """
        deepseek/deepseek-v3.2 input_tokens 0.2288 0.28
        deepseek/deepseek-v3.2 output_tokens 0.3432 0.42
        """,
    ),
    Known(
        "model-prices",
        "stale",
        "It cost $2.40 and $10 at first, then $1.15 and $8; model-prices has the first",
        "https://platform.moonshot.ai/docs/pricing/chat",
        """
        moonshotai/kimi-k2-turbo-preview input_tokens 1.15 2.4
        moonshotai/kimi-k2-turbo-preview output_tokens 8 10
        moonshotai/kimi-k2-turbo-preview cache_read_tokens 0.15 0.6
        """,
    ),
)
