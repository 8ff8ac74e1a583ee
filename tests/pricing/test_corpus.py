"""Recorded responses of real providers: each is priced, or says why not."""

import base64
from collections import Counter
from datetime import UTC, datetime

import pytest
from genai_prices import Usage, calc_price

from tallystick.money import nanodollars
from tallystick.pricing import Prices
from tallystick.pricing.units import INPUT_UNITS, OUTPUT_UNITS, TOOL_UNITS
from tallystick.usage import RequestUsage
from tallystick.wire import provider_of, read_response
from tallystick.wire.routes import model_of

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def quotes(corpus):
    """Every response that reports its usage, with its quote."""
    prices = Prices()
    found = []
    for recorded in corpus:
        body = recorded.get("body")
        if body is None:
            body = base64.b64decode(recorded["body_base64"])
        reading = read_response(recorded["api"], recorded["status"], recorded.get("headers"), body)
        fields = reading.fields()
        if fields.get("input_tokens") is None or fields.get("output_tokens") is None:
            continue
        if "model" not in fields:
            request = recorded.get("request")
            asked = request.get("model") if isinstance(request, dict) else None
            fields["model"] = asked or model_of(recorded["url"])
        usage = RequestUsage(
            provider=provider_of(recorded["url"], recorded["api"]), started_at=AT, **fields
        )
        found.append((usage, prices.quote(usage)))
    return found


def test_every_response_is_priced_or_says_why_not(quotes):
    kinds = Counter()
    for usage, quote in quotes:
        if quote.nanodollars is None:
            assert len(quote.reasons) == 1, usage
            kinds["unpriced"] += 1
        else:
            kinds["estimated" if quote.reasons else "priced"] += 1
            assert sum(line.amount for line in quote.lines) == quote.exact
            assert round(quote.exact * 10**9) == quote.nanodollars
    assert kinds["priced"] > 0.9 * len(quotes), kinds
    unknown = ("unknown", "has no model", "has no provider")
    for usage, quote in quotes:
        if quote.nanodollars is None:
            assert any(words in quote.reasons[0] for words in unknown), (usage, quote.reasons)


def test_what_is_priced_plainly_costs_what_genai_prices_says(quotes):
    compared = 0
    for usage, quote in quotes:
        if quote.nanodollars is None or quote.reasons or "free of charge" in quote.rule:
            continue
        counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens}
        for names, details in (
            (INPUT_UNITS, usage.input_tokens_details.model_dump()),
            (OUTPUT_UNITS, usage.output_tokens_details.model_dump()),
            (TOOL_UNITS, usage.tool_requests),
        ):
            for name, number in details.items():
                if name in names:
                    counts[names[name]] = counts.get(names[name], 0) + number
        context = {"service_tier": usage.service_tier} if usage.service_tier else None
        try:
            theirs = calc_price(
                Usage(**counts),
                usage.model,
                provider_id=usage.provider,
                genai_request_timestamp=AT,
                price_context=context,
            )
        except LookupError:
            # It does not know this spelling of the name.
            continue
        assert quote.nanodollars == nanodollars(theirs.total_price), (usage, quote)
        compared += 1
    assert compared > 500
