"""The event as it is: the very bytes that are stored. Pure."""


def render(event_json: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """The headers and the body that a delivery of this event is made of."""
    return [(b"content-type", b"application/json")], event_json
