"""A model provider to test against: an OpenAI-compatible server on loopback, with its own ledger.

::

    from openai import OpenAI
    from tallystick.testing import Fail, Provider, ToolCall

    with Provider() as provider:
        provider.script(Fail(500), "Kyoto, then.")
        client = OpenAI(base_url=provider.base_url, api_key="test")
        response = client.responses.create(model="gpt-5", input="Where to?")
        assert response.output_text == "Kyoto, then."
        assert [record.status for record in provider.served] == [500, 200]

It speaks Responses and Chat Completions, streamed and not, honours output limits, counts with the
tokenizer of OpenAI's models, caches prompts, fails on cue, and keeps a ledger of what it billed.
It needs ``pip install 'tallystick[testing]'``.
"""

from tallystick.testing.provider import Provider
from tallystick.testing.reply import (
    Cut,
    Fail,
    Failed,
    Handoff,
    Incomplete,
    Json,
    Malformed,
    NoUsage,
    Refusal,
    Reply,
    Slow,
    ToolCall,
)
from tallystick.testing.request import Message, Request
from tallystick.testing.script import Script
from tallystick.testing.served import Served, Totals, read_ledger
from tallystick.testing.tokenizer import count_tokens

__all__ = [
    "Cut",
    "Fail",
    "Failed",
    "Handoff",
    "Incomplete",
    "Json",
    "Malformed",
    "Message",
    "NoUsage",
    "Provider",
    "Refusal",
    "Reply",
    "Request",
    "Script",
    "Served",
    "Slow",
    "ToolCall",
    "Totals",
    "count_tokens",
    "read_ledger",
]
