"""The lines of a run, in the order in which things happened."""

from tallystick.report import RequestLine, RunLine, waterfall


def told(value):
    return [
        (line.depth, line.run.name) if isinstance(line, RunLine) else (line.depth, line.entry.agent)
        for line in value.lines
    ]


def test_a_run_inside_stands_where_it_began_with_its_own_requests_under_it(run, entry):
    value = waterfall(
        run(),
        [
            entry(0, agent="Triage"),
            entry(2.5, agent="Searcher", run_id="run_c"),
            entry(2, agent="Flights", run_id="run_b"),
            entry(5, agent="Triage"),
        ],
        [
            run("run_b", 1, 3, parent="run_a", name="flights"),
            run("run_c", 2.2, 1, parent="run_b", name="search"),
        ],
    )
    assert told(value) == [
        (0, "Triage"),
        (1, "flights"),
        (1, "Flights"),
        (2, "search"),
        (2, "Searcher"),
        (0, "Triage"),
    ]


def test_a_request_counts_once_in_its_run_and_once_in_each_run_around_it(run, entry):
    """I8."""
    value = waterfall(
        run(),
        [entry(0), entry(2, run_id="run_b"), entry(3, run_id="run_c"), entry(4, run_id="run_c")],
        [run("run_b", 1, parent="run_a"), run("run_c", 2, parent="run_b")],
    )
    assert [line.totals.requests for line in value.runs] == [3, 2]
    assert value.totals.requests == 4
    assert value.totals.cost_nanodollars == 4 * 45_000


def test_a_request_or_run_whose_parent_is_not_there_is_shown_in_the_run_itself(run, entry):
    value = waterfall(
        run(),
        [entry(1, run_id="run_gone"), entry(2, run_id="run_b")],
        [run("run_b", 1.5, parent="run_lost", name="orphan")],
    )
    assert value.totals.requests == 2
    assert told(value) == [(0, "Triage"), (1, "orphan"), (1, "Triage")]


def test_the_span_reaches_from_the_first_start_to_the_last_end(run, entry):
    value = waterfall(run(took=2), [entry(-1, duration=0.5), entry(1, duration=6)])
    assert value.seconds == 8
    assert [line.offset for line in value.lines if isinstance(line, RequestLine)] == [0, 2]


def test_an_open_run_with_nothing_in_it_is_shown(run):
    value = waterfall(run(took=None), [])
    assert (value.lines, value.seconds, value.totals.requests) == ((), 0, 0)


def test_a_reason_is_noted_once_with_the_number_of_requests_it_is_true_of(run, entry):
    reason = "no price is known for gemma"
    value = waterfall(
        run(),
        [
            entry(0),
            entry(1, cost_nanodollars=None, price_reason=reason),
            entry(2, cost_nanodollars=None, price_reason=reason, input_tokens=-4),
            entry(
                3,
                status="in_doubt",
                outcome="cancelled",
                error_type="CancelledError",
                estimated=True,
                cost_estimated=True,
                price_reason="the counts are an estimate",
            ),
            entry(4, cost_estimated=True, price_reason="the rate of a similar model"),
            entry(5, status="held", outcome=None, cost_nanodollars=None),
            entry(6, status="released", outcome="error", error_type="ConnectError"),
        ],
    )
    assert [(note.number, note.kind, note.requests) for note in value.notes] == [
        (1, "unpriced", 2),
        (2, "anomaly", 1),
        (3, "in_doubt", 1),
        (4, "cost_estimated", 1),
        (5, "held", 1),
        (6, "released", 1),
    ]
    marks = [line.notes for line in value.lines if isinstance(line, RequestLine)]
    assert marks == [(), (1,), (1, 2), (3,), (4,), (5,), (6,)]
    assert "CancelledError" in value.notes[2].text
    assert "input_tokens: -4" in value.notes[1].text


def test_the_dict_has_every_price_as_text_and_as_nanodollars_or_none(run, entry):
    value = waterfall(run(), [entry(0), entry(1, cost_nanodollars=None)]).to_dict()
    assert [(r["cost_usd"], r["cost_nanodollars"]) for r in value["requests"]] == [
        ("0.000045000", 45_000),
        (None, None),
    ]
