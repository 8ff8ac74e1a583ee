"""Comparing what Tallystick kept with what the provider says that it served."""


def kept(tally):
    """Return every entry of the ledger, oldest first."""
    tally.flush()
    entries = []
    for run in tally.ledger.runs(limit=1000):
        entries += tally.ledger.entries(run.id, children=False)
    return sorted(entries, key=lambda entry: (entry.started_at, entry.id))


def told(entry):
    """What an entry says was used, in the provider's terms."""
    return (
        entry.input_tokens,
        entry.input_tokens_details.cached_tokens,
        entry.output_tokens,
        entry.output_tokens_details.reasoning_tokens,
    )


def billed(served):
    """What the provider billed for a request."""
    return (
        served.input_tokens,
        served.cached_tokens,
        served.output_tokens,
        served.reasoning_tokens,
    )


def assert_equal(tally, provider):
    """Every request that was served is in the ledger, with exactly what was billed for it."""
    assert_every_request_is_kept(tally, provider)
    entries = [entry for entry in kept(tally) if entry.status != "released"]
    assert {entry.status for entry in entries} == {"settled"}


def assert_every_request_is_kept(tally, provider):
    """Every request that was served has a row; those of which the provider told, exactly."""
    entries = [entry for entry in kept(tally) if entry.status != "released"]
    assert provider.wait()
    served = provider.served
    assert len(entries) == len(served)
    by_response = {record.response_id: record for record in served if record.response_id}
    settled = [entry for entry in entries if entry.status == "settled"]
    for entry in settled:
        if entry.response_id is not None:
            assert told(entry) == billed(by_response.pop(entry.response_id))
    refused = [entry for entry in settled if entry.response_id is None]
    assert len(refused) == sum(record.outcome == "refused" for record in served)
    assert all(entry.total_tokens == 0 for entry in refused)
    for entry in entries:
        if entry.status != "settled":
            assert entry.status == "in_doubt"
            assert entry.estimated
            assert entry.total_tokens > 0
