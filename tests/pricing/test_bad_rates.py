"""Configuration that cannot be used: it is refused by file, line and field, and never half read."""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import ConfigError
from tallystick.pricing import Prices
from tallystick.pricing.rates import RATE_FIELDS, load, parse
from tallystick.usage import RequestUsage

AT = datetime(2026, 11, 1, tzinfo=UTC)
USAGE = RequestUsage(1000, 500, provider="openai", model="x")


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "tallystick.toml"
        path.write_text(text)
        return path

    return write


RATE = '[[rates]]\nmodel = "x"\ninput_per_million = 1\noutput_per_million = 1\n'
INPUT = "input_per_million"
AUDIO = "audio_input_per_million = 1\ncached_input_per_million = 1\n"
NEGATIVE = RATE.replace("output_per_million = 1", "output_per_million = -1")
TIER = f"{RATE}[[rates.tiers]]\nabove = 5\n"


def priced(value):
    return RATE.replace("= 1\n", f"= {value}\n", 1)


@pytest.mark.parametrize(
    ("text", "line", "field", "words"),
    [
        (NEGATIVE, 4, "output_per_million", "negative"),
        (priced('"1e9"'), 3, INPUT, "believable"),
        (priced('"cheap"'), 3, INPUT, "'cheap'"),
        (priced("true"), 3, INPUT, "True"),
        (priced('"nan"'), 3, INPUT, "'nan'"),
        (priced("inf"), 3, INPUT, "Infinity"),
        (priced('"1e-40"'), 3, INPUT, "18 decimals"),
        (priced("[1]"), 3, INPUT, "number"),
        (f"{RATE}inptu_per_million = 1\n", 5, "inptu_per_million", f"did you mean {INPUT}?"),
        (f"{RATE}zzz = 1\n", 5, "zzz", "unknown field"),
        (f"{RATE}provider = 7\n", 5, "provider", "text"),
        (f'{RATE}customer = " "\n', 5, "customer", "empty"),
        (f'{RATE}from = "soon"\n', 5, "from", "2026-01-01"),
        (f"{RATE}from = 2026\n", 5, "from", "2026-01-01"),
        (f"{RATE}from = 2026-02-01\nuntil = 2026-01-01\n", 6, "until", "after from"),
        (f"{RATE}\n{RATE}", 6, "from", "overlap"),
        (f"{RATE}until = 2026-02-01\n\n{RATE}from = 2026-01-31\n", 7, "from", "line 1"),
        ('\n[[rates]]\nmodel = "x"\n', 2, "rates", "no rate"),
        ("[[rates]]\nrequest = 1\n", 1, "model", "which model"),
        (f"{RATE}{AUDIO}", 1, "rates", "cached_audio_input_per_million"),
        (RATE.replace("input_", "cached_input_"), 1, "rates", INPUT),
        ('[rates]\nmodel = "x"\n', 1, "rates", "[[rates]]"),
        ("rates = 7\n", 1, "rates", "[[rates]]"),
        ('[[rate]]\nmodel = "x"\n', 1, "rate", "did you mean rates?"),
        (f"{RATE}[[rates.tiers]]\nabove = 0\n", 6, "above", "not 0"),
        (f"{TIER}{INPUT} = 2\n{TIER.removeprefix(RATE)}", 9, "above", "once"),
        (f"{TIER}request = 1\n", 7, "request", "needs a rate"),
        (f"{TIER}foo = 1\n", 7, "foo", "unknown field"),
        (f"{TIER}", 5, "tiers", "no rate"),
        (f"{RATE}tiers = 5\n", 5, "tiers", "[[rates.tiers]]"),
        ("[[discounts]]\nmodel = 'x'\n", 1, "percent", "how much"),
        ("[[discounts]]\nmodel = 'x'\npercent = 101\n", 3, "percent", "101"),
        ("[[discounts]]\npercent = -1\n", 2, "percent", "-1"),
        ("[[discounts]]\npercent = 1\n[[discounts]]\npercent = 2\n", 3, "from", "overlap"),
        (f"[[discounts]]\npercent = 1\n{INPUT} = 2\n", 3, INPUT, "unknown"),
        ("[aliases]\na = 'x/y'\nb = 7\n", 3, "b", "provider/model"),
        ("[aliases]\n'a' = 'x/'\n", 2, "a", "provider/model"),
        ("aliases = 7\n", 1, "aliases", "[aliases]"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_file_line_and_field(
    write, text, line, field, words
):
    path = write(text)
    with pytest.raises(ConfigError) as raised:
        Prices.load(path)
    message = str(raised.value)
    assert message.startswith(f"{path}, line {line}: {field}: "), message
    assert words in message


def test_a_file_that_is_no_toml_is_refused_with_its_line(write):
    with pytest.raises(ConfigError, match=r"tallystick\.toml: not valid TOML: .*line 2"):
        load(write("[[rates]]\nmodel = \n"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path, write):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "missing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(os.urandom(100) + b"\xff")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(binary)


VALUES = [
    '""',
    '"x"',
    '"1"',
    "-1",
    "0",
    "7",
    "1e400",
    "nan",
    "-inf",
    "true",
    "[]",
    "[[1]]",
    "{}",
    "{a = 1}",
    "2026-01-01",
    "07:30:00",
    "2026-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "9" * 400,
    '"' + "9" * 400 + '"',
    '"\\u0000"',
]
KEYS = [*RATE_FIELDS, "model", "provider", "customer", "project", "service_tier", "name", "from"]
KEYS += ["until", "tiers", "percent", "above", "rates", "discounts", "aliases", '"a.b"', "'*'"]


@pytest.mark.parametrize(
    "table", ["", "[[rates]]\nmodel = 'x'\n", "[[discounts]]\n", "[aliases]\n"]
)
def test_whatever_a_file_says_it_is_read_or_refused(tmp_path, table):
    """Every field with every kind of value gives rates, or a `ConfigError` that names the file."""
    path = tmp_path / "tallystick.toml"
    read, refused = 0, []
    for key in KEYS:
        for value in VALUES:
            text = f"{table}{key} = {value}\n"
            try:
                rates = parse(text.encode(), path)
            except ConfigError as error:
                refused.append(str(error))
            else:
                assert Prices(rates).quote(USAGE, at=AT).rule
                read += 1
    assert read
    assert refused
    assert all(message.startswith(f"{path}") for message in refused)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_is_read_or_refused(data):
    text = (
        f"{RATE}from = 2026-01-01\nuntil = 2027-01-01\n"
        f"[[rates.tiers]]\nabove = 5\n{INPUT} = 2\n"
        "[[discounts]]\npercent = 12.5\nmodel = 'x*'\n[aliases]\n'a b' = 'x/y'\n"
    )
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 20, len(text))))
    put = data.draw(st.text(alphabet="[]='\"\n1-.{}# abc", max_size=6))
    content = (text[:start] + put + text[end:]).encode()
    with contextlib.suppress(ConfigError):
        parse(content, Path("tallystick.toml"))
