"""Answers, good and bad: from a rule's words to bytes on the connection, and the ways in which a server misbehaves.

build() makes an Answer; MISBEHAVIOURS maps a name to a function (connection, answer, argument) that does it. They write and close
through the connection's send, close, reset and hang only; none of them blocks.
"""

import base64
import gzip
import json
import random
import struct
import socket
from email.utils import formatdate
from http import HTTPStatus

from request import pointer

ANSWER_WORDS = {"status", "headers", "json", "text", "base64", "echo", "rows", "records", "apply", "apply_after_ms", "apply_when_gone_ms", "content_type", "delay_ms", "misbehave", "gzip"}
CHUNK = b"x" * 65536


class Answer:
    __slots__ = ("status", "headers", "body", "delay_ms", "misbehave", "argument", "rule")

    def __init__(self, status=200, headers=None, body=b"", content_type="application/json"):
        self.status = status
        self.headers = headers if headers is not None else {}
        self.body = body
        if body and "Content-Type" not in self.headers:
            self.headers["Content-Type"] = content_type
        self.delay_ms = 0
        self.misbehave = self.argument = self.rule = None

    def summary(self):
        return {"status": None if self.misbehave in SILENT else self.status, "rule": self.rule, "misbehave": self.misbehave}

    def head(self, length):
        lines = [f"HTTP/1.1 {self.status} {reason(self.status)}"]
        lines += [f"{name}: {value}" for name, values in self.headers.items() for value in (values if isinstance(values, list) else [values])]
        if length is not None and self.status not in (204, 304):
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")

    def bytes(self, method="GET"):
        return self.head(len(self.body)) + (b"" if method == "HEAD" or self.status in (204, 304) else self.body)


def reason(status):
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Status"


def dump(document):
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogateescape")


def of_json(status, document):
    if isinstance(document, str):
        return Answer(status, None, document.encode(), "text/csv")
    return Answer(status, None, dump(document))


def check_answer(spec, name):
    unknown = set(spec) - ANSWER_WORDS
    if unknown:
        raise ValueError(f"{name}: unknown words in the answer {sorted(unknown)}; there are {sorted(ANSWER_WORDS)}")
    misbehave = spec.get("misbehave")
    kind = next(iter(misbehave)) if isinstance(misbehave, dict) else misbehave
    if kind is not None and kind not in MISBEHAVIOURS:
        raise ValueError(f"{name}: unknown misbehaviour {kind!r}; there are {sorted(MISBEHAVIOURS)}")
    return spec


def fill(template, values):
    """A template of an answer: a string that is only "{/pointer}" becomes the value it leads to, elsewhere it is put in as text."""
    if isinstance(template, dict):
        return {k: fill(v, values) for k, v in template.items()}
    if isinstance(template, list):
        return [fill(v, values) for v in template]
    if not isinstance(template, str) or "{" not in template:
        return template
    if template.startswith("{") and template.endswith("}") and template.count("{") == 1:
        return pointer(values, template[1:-1])
    for name in [piece.split("}")[0] for piece in template.split("{")[1:]]:
        template = template.replace("{" + name + "}", str(pointer(values, name)))
    return template


def rows_body(spec, request):
    """{"from": "/inputs", "each": template, "into": "results"}: the template once per row of the request."""
    rows = pointer(request.document, spec.get("from", ""), [])
    filled = [fill(spec["each"], {"row": row, "index": i, "n": request.n}) for i, row in enumerate(rows)]
    return {spec["into"]: filled} if "into" in spec else filled


def build(spec, request, store):
    """The answer of a rule. apply: the record store does the request first, whatever is answered then."""
    from_records = spec.get("records") or "apply_after_ms" in spec
    if from_records or spec.get("apply"):
        status, document = store.serve(request)
        answer = of_json(status, document)
    if not from_records:
        body, kind = own_body(spec, request)
        answer = Answer(spec.get("status", 200), {}, body, kind)
    if "status" in spec:
        answer.status = spec["status"]
    answer.headers.update(spec.get("headers", {}))
    retry_date = answer.headers.pop("Retry-After-Date", None)
    if retry_date is not None:
        import time
        answer.headers["Retry-After"] = formatdate(time.time() + float(retry_date), usegmt=True)
    if spec.get("gzip"):
        answer.body = gzip.compress(answer.body)
        answer.headers["Content-Encoding"] = "gzip"
    answer.delay_ms = spec.get("delay_ms", 0)
    misbehave = spec.get("misbehave")
    if isinstance(misbehave, dict):
        answer.misbehave, answer.argument = next(iter(misbehave.items()))
    elif misbehave:
        answer.misbehave = misbehave
    return answer


def own_body(spec, request):
    kind = spec.get("content_type", "application/json")
    if "json" in spec:
        return dump(fill(spec["json"], {"request": request.document, "n": request.n})), kind
    if "text" in spec:
        return spec["text"].encode(), spec.get("content_type", "text/plain; charset=utf-8")
    if "base64" in spec:
        return base64.b64decode(spec["base64"]), kind
    if spec.get("echo"):
        return request.body, request.headers.get("content-type", kind)
    if "rows" in spec:
        return dump(rows_body(spec["rows"], request)), kind
    return b"{}", kind


# Misbehaviours. Those in SILENT send no status line.

def close(connection, answer, argument):
    connection.close()


def reset(connection, answer, argument):
    connection.reset()


def hang(connection, answer, argument):
    connection.hang(answer.bytes())


def hang_body(connection, answer, argument):
    data = answer.bytes()
    half = len(data) - len(answer.body) // 2 - 1
    connection.send(data[:half])
    connection.hang(data[half:])


def half_body(connection, answer, argument):
    connection.send(answer.head(len(answer.body)) + answer.body[:len(answer.body) // 2])
    connection.close()


def close_after(connection, answer, argument):
    connection.send(answer.bytes()[:int(argument)])
    connection.close()


def reset_after(connection, answer, argument):
    connection.send(answer.bytes()[:int(argument)])
    connection.reset()


def half_chunked(connection, answer, argument):
    answer.headers["Transfer-Encoding"] = "chunked"
    connection.send(answer.head(None) + b"%x\r\n%s\r\n" % (len(answer.body), answer.body))
    connection.close()


def endless(connection, answer, argument):
    answer.headers["Transfer-Encoding"] = "chunked"
    connection.send(answer.head(None))
    connection.pour(b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK))


def header_flood(connection, answer, argument):
    connection.send(b"HTTP/1.1 200 OK\r\n")
    connection.pour(b"X-Flood: " + CHUNK[:4000] + b"\r\n")


def big(connection, answer, argument):
    """Valid JSON of so many bytes."""
    answer.body = b'{"filler":"' + b"x" * (int(argument or 10000000) - 13) + b'"}'
    connection.send(answer.bytes())
    connection.done()


def gzip_bomb(connection, answer, argument):
    """So many bytes once unpacked, a thousandth on the wire."""
    answer.body = gzip.compress(b'{"filler":"' + b"x" * int(argument or 100000000) + b'"}', 9)
    answer.headers["Content-Encoding"] = "gzip"
    connection.send(answer.bytes())
    connection.done()


def bad_gzip(connection, answer, argument):
    answer.body = b"\x1f\x8b\x08\x00 this is not gzip"
    answer.headers["Content-Encoding"] = "gzip"
    connection.send(answer.bytes())
    connection.done()


def body_of(make):
    def misbehave(connection, answer, argument):
        answer.body, answer.headers["Content-Type"] = make(argument)
        connection.send(answer.bytes())
        connection.done()
    return misbehave


def wrong_length(connection, answer, argument):
    """Content-Length is off by the argument: too small leaves bytes on the connection, too large ends it early."""
    connection.send(answer.head(len(answer.body) + int(argument)) + answer.body)
    connection.close()


def redirect(connection, answer, argument):
    answer.headers["Location"] = argument
    answer.status = answer.status if 300 <= answer.status < 400 else 302
    connection.send(answer.bytes())
    connection.done()


def garbage(connection, answer, argument):
    connection.send(b"220 mail.example.com ESMTP\r\n" + random.Random(1).randbytes(200))
    connection.close()


def drip(connection, answer, argument):
    """One byte every so many milliseconds."""
    connection.drip(answer.bytes(), float(argument) / 1000)


SILENT = ("close", "reset", "hang", "garbage")
MISBEHAVIOURS = {
    "close": close, "reset": reset, "hang": hang, "hang_body": hang_body, "half_body": half_body, "close_after": close_after,
    "reset_after": reset_after, "half_chunked": half_chunked, "endless": endless, "header_flood": header_flood, "big": big,
    "gzip_bomb": gzip_bomb, "bad_gzip": bad_gzip, "wrong_length": wrong_length, "redirect": redirect, "garbage": garbage, "drip": drip,
    "invalid_json": body_of(lambda _: (b'{"ok": tru', "application/json")),
    "invalid_utf8": body_of(lambda _: (b'{"message": "\xff\xfe\xc3("}', "application/json")),
    "html": body_of(lambda _: (b"<!DOCTYPE html><html><head><title>Bad gateway</title></head><body><h1>502</h1></body></html>", "text/html")),
    "deep_json": body_of(lambda depth: (b"[" * int(depth or 100000) + b"]" * int(depth or 100000), "application/json")),
    "nul": body_of(lambda _: (b'{"message": "a\\u0000b\x00c"}', "application/json")),
    "empty": body_of(lambda _: (b"", "application/json")),
}

LINGER_RESET = struct.pack("ii", 1, 0)


def abort_socket(sock):
    """The next close of this socket sends RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
