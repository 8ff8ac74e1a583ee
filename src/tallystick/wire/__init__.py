"""What providers say on the wire, read into counts: pure functions, no host imported."""

from tallystick.wire.reading import Reading, RequestReading
from tallystick.wire.requests import api_of, read_request
from tallystick.wire.response import read_response
from tallystick.wire.routes import API, identify, model_of, provider_of
from tallystick.wire.shapes import read_object
from tallystick.wire.stream import StreamReader

__all__ = [
    "API",
    "Reading",
    "RequestReading",
    "StreamReader",
    "api_of",
    "identify",
    "model_of",
    "provider_of",
    "read_object",
    "read_request",
    "read_response",
]
