"""What can go wrong with an engine's answers."""

from faultproxy import (
    Broken,
    Canned,
    Fault,
    Late,
    Then,
    after_chunk,
    body_byte,
    byte,
    chunk_header,
    event_line,
)

EVERYTHING, EVENTS, LIST, INSPECT, PING = "", "/events$", "/containers/json$", "/containers/[^/]+/json$", "/_ping$"


NEVER = Broken(at=byte(0), then=Then.HOLD)


SILENT = Broken(at=body_byte(0), then=Then.HOLD)


DRIPPING = Broken(at=byte(0), then=Then.DRIP)


LATE = Late(seconds=11)  # measured after an engine's crash: 10.8 s (facts.md, stream 7)


CUT_TEXT = Broken(at=body_byte(400))


ERROR_500 = Canned(status=500, body='{"message":"driver failed"}')


NULL = Canned(body="null")


HTML = Canned(body="<html><body>Welcome!</body></html>", type="text/html")


BRACKET = Canned(body="[")


QUICK: dict[str, Fault] = {
    "cut in its head": Broken(at=byte(60)),
    "cut in a chunk's header": Broken(at=chunk_header(0)),
    "cut in the last chunk's header": Broken(at=chunk_header(1)),
    "cut between two chunks": Broken(at=after_chunk(0)),
    "cut in the JSON text": CUT_TEXT,
    "reset": Broken(at=body_byte(400), then=Then.RESET),
    "500": ERROR_500,
    "503": Canned(status=503, body='{"message":"the engine is not ready"}'),
    "503 as a page": Canned(status=503, body="<html><h1>503 Service Unavailable</h1></html>", type="text/html"),
    "a page": HTML,
    "null": NULL,
    "an open bracket": BRACKET,
    "an empty object": Canned(body="{}"),
    "empty": Canned(body=""),
}


HANGING: dict[str, Fault] = {
    "stalls": Broken(at=body_byte(400), then=Then.HOLD),
    "drips": DRIPPING,
    "never comes": NEVER,
    "comes after 11 s": LATE,
}


STREAM_FAULTS: dict[str, tuple[str, Fault]] = {
    "cut in its head": (EVENTS, Broken(at=byte(60))),
    "cut between two events": (EVENTS, Broken(at=after_chunk(0))),
    "cut in an event": (EVENTS, Broken(at=event_line(0))),
    "reset in an event": (EVENTS, Broken(at=event_line(0), then=Then.RESET)),
    "stalls in an event": (EVENTS, Broken(at=event_line(0), then=Then.HOLD)),
    "drips": (EVENTS, Broken(at=body_byte(0), then=Then.DRIP)),
    "silent": (EVENTS, SILENT),
    "500": (EVENTS, ERROR_500),
    "a page": (EVENTS, HTML),
    "empty": (EVENTS, Canned(body="")),
    "never comes": (EVENTS, NEVER),
    "no ping": (PING, ERROR_500),
    "a ping without an answer": (PING, NEVER),
}
