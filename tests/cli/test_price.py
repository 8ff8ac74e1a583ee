"""`tallystick price` and `show --explain`: the items of a price, which a bookkeeper can add up."""

import json
import re
import shlex
from fractions import Fraction
from pathlib import Path

import pytest

from tallystick.cli.items import dollars, exact

PAGE = (Path(__file__).parents[2] / "docs" / "prices.md").read_text(encoding="utf-8")

# 300,000 tokens in, which is above the threshold of 272,000, at the flex tier's rates for such:
# of them 100,000 cached; 2,000 out, of them 500 reasoning; and two web searches.
FLEX = shlex.split(
    "price gpt-5.4 --provider openai --input 300000 --cached 100000 --output 2000 "
    "--reasoning 500 --web-search 2 --tier flex --at 2026-11-01"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TALLYSTICK_CACHE", str(tmp_path_factory.getbasetemp() / "prices"))


def figures(line):
    return re.findall(r"[$\d][\d,.]*", line)


def test_a_tiered_cached_flex_and_searching_request_adds_up_by_hand(tallystick):
    """200,000 * $2.50 + 100,000 * $0.25 + 2,000 * $11.25 a million + 2 * $10 a thousand."""
    done = tallystick(*FLEX)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line[:18].strip(): line[18:] for line in done.stdout.splitlines()}
    assert figures(lines["other input tokens"]) == ["200,000", "$2.50", "272,000", "$0.50"]
    assert figures(lines["cache read tokens"]) == ["100,000", "$0.25", "272,000", "$0.025"]
    assert figures(lines["output tokens"]) == ["2,000", "$11.25", "272,000", "$0.0225"]
    assert figures(lines["web searches"]) == ["2", "$10.00", "$0.02"]
    assert figures(lines["total"]) == ["$0.5675"]
    assert "book: openai/gpt-5.4, service_tier flex" in done.stdout
    assert "from 2026-10-12 UTC, no end known" in done.stdout
    assert "estimated" not in done.stdout


def test_the_same_as_json_is_exact_and_adds_up(tallystick):
    told = json.loads(tallystick(*FLEX, "--json").stdout)
    amounts = [Fraction(line["amount_usd"]) for line in told["lines"]]
    assert amounts == [
        Fraction(line["rate_usd"]) / line["per"] * line["quantity"] for line in told["lines"]
    ]
    assert sum(amounts) == Fraction(told["exact_usd"]) == Fraction("0.5675")
    assert told["cost"]["nanodollars"] == 567_500_000
    assert told["since"] == "2026-10-12T00:00:00+00:00"
    assert told["until"] is None
    assert told["reasons"] == []


def test_the_guide_shows_what_is_printed(tallystick):
    printed = tallystick(*FLEX).stdout
    (shown,) = re.findall(r"```console\n\$ tallystick price ([\s\S]*?)```", PAGE)
    command, _, output = shown.partition("\n\n")
    assert shlex.split(command.replace("\\\n", "")) == FLEX[1:]
    # The name of the book follows the installed data.
    assert re.sub(r"book  .*", "book", output) == re.sub(r"book  .*", "book", printed)


def test_before_the_tier_had_rates_it_is_estimated_at_the_standard_ones_and_says_so(tallystick):
    """200,000 * $5 + 100,000 * $0.50 + 2,000 * $22.50 a million + $0.02."""
    done = tallystick(*FLEX[:-1], "2026-10-01")
    assert done.returncode == 0
    assert "~$1.115" in done.stdout
    assert "estimated: no rate is known for service tier 'flex'" in done.stdout
    assert "before 2026-10-12; priced at the standard rate" in done.stdout
    assert "of no known beginning, until before 2026-10-12 UTC" in done.stdout


def test_impossible_counts_are_priced_at_the_safe_side_and_marked(tallystick):
    """Nine cached tokens of three in: 3 * $1.25 + 9 * $0.125 a million."""
    done = tallystick("price", "gpt-5", "--provider", "openai", "--input", "3", "--cached", "9")
    assert "~$0.000004875" in done.stdout
    assert "cache_read_tokens is 9, more than input_tokens of 3" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpt-5.4"], "it has a price with --provider github-copilot, --provider openai"),
        (["gpt-5.4", "--provider", "openi"], "did you mean --provider openai?"),
        (["gpt-5.44", "--provider", "openai"], "did you mean gpt-5.4"),
        (["nobody-knows-it", "--provider", "openai"], 'add [[rates]] with model = "nobody'),
    ],
)
def test_what_has_no_price_is_unpriced_says_what_to_do_and_ends_with_1(tallystick, arguments, said):
    done = tallystick("price", *arguments, "--input", "1000")
    assert done.returncode == 1
    assert "\nunpriced: " in done.stdout
    assert said in done.stdout
    assert "$" not in done.stdout
    told = json.loads(tallystick("price", *arguments, "--input", "1000", "--json").stdout)
    assert told["cost"] == {
        "usd": "0.000000000",
        "nanodollars": 0,
        "unpriced": 1,
        "estimated": 0,
        "complete": False,
    }
    assert told["exact_usd"] is None
    assert told["lines"] == []
    assert said in f"{told['hint']} {told['reasons']}"


def test_own_rates_are_read_from_the_file_that_is_named(tallystick, tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[rates]]\nmodel = "gemma*"\ncustomer = "acme"\nfrom = 2026-01-01\nuntil = 2027-01-01\n'
        'input_per_million = "0.02"\noutput_per_million = "0.04"\nrequest = "0.0001"\n'
    )
    done = tallystick(
        "price", "gemma-3", "--input", "1000000", "--output", "500000", "--customer", "acme",
        "--config", str(file), "--at", "2026-11-01",
    )  # fmt: skip
    assert done.returncode == 0
    assert "$0.0401" in done.stdout.split("total")[1]
    assert "own rate: gemma* (mine.toml, line 1)" in done.stdout
    assert "from 2026-01-01 UTC, until before 2027-01-01 UTC" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpt-5"], "say what is used"),
        (["gpt-5", "--input", "-1"], "greater than or equal to 0"),
        (["gpt-5", "--input", "many"], "valid integer"),
        (["gpt-5", "--input", "1", "--tool", "web_search"], "NAME=VALUE"),
        (["gpt-5", "--input", "1", "--tool", "web_search=two"], "not a count"),
        (["gpt-5", "--input", "1", "--at", "yesterday"], "no moment"),
        (["gpt-5", "--input", "1", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_wrong_usage_is_refused_with_2(tallystick, arguments, said):
    done = tallystick("price", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""


def test_a_mistake_in_the_rates_names_file_line_and_field(tallystick, tmp_path):
    file = tmp_path / "wrong.toml"
    file.write_text('[[rates]]\nmodel = "x"\ninput_per_million = "-2"\n')
    done = tallystick("price", "x", "--input", "1", "--config", str(file))
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "wrong.toml, line 3: input_per_million: a rate cannot be negative" in told


def test_amounts_are_written_exactly_or_as_a_fraction():
    assert exact(Fraction("0.0225")) == "0.0225"
    assert exact(Fraction(-5, 8)) == "-0.625"
    assert exact(Fraction(7)) == "7"
    assert exact(Fraction(1, 10**30)) == "0." + "0" * 29 + "1"
    assert exact(Fraction(1, 3)) == "1/3"
    assert dollars(Fraction(1234567)) == "$1,234,567.00"
    assert dollars(Fraction(1, 3)) == "$1/3 (about $0.333333333)"


def test_a_run_is_explained_request_by_request(tallystick):
    """Its amounts are those of the ledger, so nothing is estimated."""
    done = tallystick("show", "last", "--explain")
    assert done.returncode == 0
    assert "cache read tokens" in done.stdout
    assert "$0.0002466" in done.stdout.split("total")[-1]
    assert "estimated" not in done.stdout
    told = json.loads(tallystick("show", "last", "--explain", "--json").stdout)
    (quote,) = told["quotes"].values()
    assert quote["rule"] == "book: openai/gpt-5-mini"
    assert [line["unit"] for line in quote["lines"]] == [
        "input_tokens",
        "cache_read_tokens",
        "output_tokens",
    ]
    assert "quotes" not in json.loads(tallystick("show", "last", "--json").stdout)
