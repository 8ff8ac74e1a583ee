"""The tap: copies answers, and fails once in the server's place."""

import json

import httpx2

from tallystick.demo.tap import Answer, Tap
from tallystick.testing import Provider


def post(url, **body):
    return httpx2.Request("POST", url, json={"model": "m", **body})


async def test_it_fails_once_and_the_server_does_not_see_it():
    tap = Tap()
    with Provider() as provider:
        async with httpx2.AsyncClient(transport=tap, trust_env=False) as client:
            url = f"{provider.base_url}/responses"
            tap.fail_once()
            answers = [await client.send(post(url, input="x")) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [500, 200]
        assert len(provider.served) == len(tap.answers) == 1
    assert tap.failures == 1


async def test_it_reads_what_the_server_told_in_every_form():
    tap = Tap()
    with Provider() as provider:
        async with httpx2.AsyncClient(transport=tap, trust_env=False) as client:
            for path, body in (
                ("responses", {"input": "x"}),
                ("responses", {"input": "x", "stream": True}),
                ("chat/completions", {"messages": [{"role": "user", "content": "x"}]}),
                (
                    "chat/completions",
                    {
                        "messages": [{"role": "user", "content": "x"}],
                        "stream": True,
                        "stream_options": {"include_usage": True},
                    },
                ),
            ):
                response = await client.send(post(f"{provider.base_url}/{path}", **body))
                assert response.status_code == 200
        told = [answer.served() for answer in tap.answers]
        assert all(answer.whole for answer in tap.answers)
        assert [(one.response_id, one.input_tokens, one.output_tokens) for one in told] == [
            (record.response_id, record.input_tokens, record.output_tokens)
            for record in provider.served
        ]


def test_what_was_not_told_is_unknown():
    """An answer that was left in the middle has no usage, and that is not zero."""
    events = [{"id": "a", "choices": []}, {"id": "a", "usage": None}]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    served = Answer(200, bytearray(body + b'data: {"id": "a", "usa')).served()
    assert served.response_id == "a"
    assert (served.input_tokens, served.cached_tokens, served.output_tokens) == (None, None, None)
