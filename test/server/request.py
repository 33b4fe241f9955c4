"""A request as the destination sees it, and what is wrong with it whatever it means.

Request: the parsed head, the decoded body, and the body's rows when it is JSON, ndjson or a form. problems() is the list of
things that no well-behaved client does; the journal records them as violations.
"""

import gzip
import json
import re
import zlib
from urllib.parse import parse_qsl, unquote_to_bytes

SINGLE_HEADERS = ("authorization", "content-type", "content-length", "content-encoding", "host", "idempotency-key")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
BODY_BYTES_MAX = 256 * 1024 * 1024


class Unreadable(ValueError):
    """A body that is not what its content type says."""


def _no_constant(word):
    raise Unreadable(f"{word} is not JSON")


def _unique(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Unreadable("an object names a member twice")
    return members


def strict_json(text):
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except Unreadable:
        raise
    except (ValueError, RecursionError) as e:
        raise Unreadable(f"not JSON: {e}") from None


def nest(pairs):
    """Bracket nesting of forms: a[b]=1 is {"a": {"b": "1"}}, rows[0][x] a list."""
    root = {}
    for name, value in pairs:
        first, *rest = re.findall(r"[^\[\]]+", name) or [name]
        here, step = root, first
        for following in rest:
            here = here.setdefault(step, {})
            step = following
        here[step] = value
    return _lists(root)


def _lists(value):
    if not isinstance(value, dict):
        return value
    items = {k: _lists(v) for k, v in value.items()}
    if items and all(k.isdigit() for k in items):
        return [items[k] for k in sorted(items, key=int)]
    return items


def pointer(document, path, default=None):
    """RFC 6901; default when it leads nowhere."""
    for piece in path.split("/")[1:]:
        piece = piece.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict) and piece in document:
            document = document[piece]
        elif isinstance(document, list) and piece.isdigit() and int(piece) < len(document):
            document = document[int(piece)]
        else:
            return default
    return document


class Request:
    __slots__ = ("n", "at", "connection", "tls", "method", "target", "raw_path", "query_text", "headers", "repeated", "body", "answer",
                 "answered_at", "_document", "_read_error", "_query")

    def __init__(self, connection, at, tls, method, target, headers, repeated):
        self.n = 0
        self.at = at
        self.connection = connection
        self.tls = tls
        self.method = method
        self.target = target
        self.raw_path, _, self.query_text = target.partition("?")
        self.headers = headers
        self.repeated = repeated
        self.body = b""
        self.answer = None
        self.answered_at = None
        self._document = self._read_error = self._query = None

    @property
    def segments(self):
        """The path's pieces, percent-decoded one by one: %2F stays inside its piece."""
        return [unquote_to_bytes(piece).decode("utf-8", "replace") for piece in self.raw_path.split("/")[1:]]

    @property
    def query(self):
        if self._query is None:
            self._query = dict(parse_qsl(self.query_text, keep_blank_values=True)) if self.query_text else {}
        return self._query

    @property
    def kind(self):
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    @property
    def text(self):
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            return None

    def decode_body(self):
        """Content-Encoding gzip; problems() names one that does not unpack."""
        if self.body and self.headers.get("content-encoding", "").lower() == "gzip":
            try:
                self.body = gzip.decompress(self.body)
            except (OSError, EOFError, zlib.error):
                self._read_error = "body is not gzip"

    @property
    def document(self):
        """The parsed body; None when there is none or it cannot be read (read_error says why)."""
        if self._document is None and self._read_error is None and self.body:
            try:
                self._document = self._parse()
            except Unreadable as e:
                self._read_error = str(e)
        return self._document

    @property
    def read_error(self):
        self.document  # reads it
        return self._read_error

    @property
    def is_json(self):
        return self.kind.endswith("json") and "ndjson" not in self.kind

    def _parse(self):
        kind = self.kind
        if not (kind.endswith("json") or kind == "application/x-www-form-urlencoded"):
            return None
        text = self.text
        if text is None:
            raise Unreadable("body is not UTF-8")
        if "ndjson" in kind:
            return [strict_json(line) for line in text.split("\n") if line]
        if kind.endswith("json"):
            return strict_json(text)
        return nest(parse_qsl(text, keep_blank_values=True))

    def problems(self):
        found = [f"header {name} is there twice" for name in self.repeated if name in SINGLE_HEADERS]
        if "host" not in self.headers:
            found.append("no Host header")
        if "content-length" in self.headers and "transfer-encoding" in self.headers:
            found.append("both Content-Length and Transfer-Encoding")
        if not self.target.isascii() or not self.target.isprintable() or " " in self.target:
            found.append("the target is not printable ASCII")
        for piece in self.raw_path.split("/")[1:]:
            if unquote_to_bytes(piece) in (b".", b".."):
                found.append(f"dot segment in {self.raw_path}")
        for name, value in self.headers.items():
            if CONTROL.search(value):
                found.append(f"control character in header {name}")
        if self.read_error:
            found.append(self.read_error)
        if self.body and not self.kind:
            found.append("a body without a Content-Type")
        return found

    def summary(self, bodies=True):
        """What /_control/requests returns and the log holds."""
        row = {"n": self.n, "at": round(self.at, 6), "connection": self.connection, "tls": self.tls, "method": self.method,
               "path": self.raw_path, "query": self.query, "headers": self.headers, "bytes": len(self.body)}
        if bodies:
            row.update(self.body_members())
        if self.answered_at is not None:
            row["answered_at"] = round(self.answered_at, 6)
        row["answer"] = self.answer
        return row

    def body_members(self):
        import base64
        text = self.text
        if text is None:
            return {"body": None, "base64": base64.b64encode(self.body).decode()}
        members = {"body": text}
        if self.kind and self.document is not None:
            members["json"] = self.document
        return members
