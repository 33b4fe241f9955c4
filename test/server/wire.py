"""HTTP/1.1 on a connection: bytes to requests, answers to bytes. One request of a connection at a time, pipelined ones wait.

asyncio's protocol callbacks and not its streams: a request then costs no task switch, and several thousand a second fit.
The connection is what misbehaviours act on: send, done, close, reset, hang, pour, drip.
"""

import asyncio
import time

from answers import MISBEHAVIOURS, abort_socket, of_json
from request import BODY_BYTES_MAX, Request
from store import error

HEAD_BYTES_MAX = 256 * 1024


class BadRequest(Exception):
    pass


class Connection(asyncio.Protocol):
    count = 0

    def __init__(self, destination, tls):
        self.destination = destination
        self.tls = tls
        self.transport = None
        self.buffer = bytearray()
        self.request = None     # read in part, or being answered
        self.need = None        # bytes of body to come; -1: chunked
        self.head_rule = None
        self.busy = False       # an answer is under way
        self.hung = None        # what release() would send
        self.poured = None
        self.keep_alive = True

    def connection_made(self, transport):
        Connection.count += 1
        self.number = Connection.count
        self.transport = transport
        self.destination.connected(self)

    def connection_lost(self, exc):
        self.poured = self.hung = None
        self.destination.disconnected(self)
        self.transport = None

    def waits_for(self, request):
        return self.transport is not None and self.request is request

    def data_received(self, data):
        self.buffer += data
        self.advance()

    def advance(self):
        try:
            while not self.busy and self.transport and not self.transport.is_closing() and self.buffer:
                if not (self.read_head() if self.request is None else self.read_body()):
                    return
        except BadRequest as e:
            self.destination.journal.violate("wire", str(e))
            self.send(of_json(400, error(str(e), "bad_request")).bytes())
            self.close()

    def read_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self.buffer) > HEAD_BYTES_MAX:
                raise BadRequest("the head is too large")
            return False
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        del self.buffer[:end + 4]
        first = lines[0].split(" ")
        if len(first) != 3 or not first[2].startswith("HTTP/1."):
            raise BadRequest(f"not a request line: {lines[0][:200]!r}")
        headers, repeated = {}, []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            name = name.lower()
            if not colon or not name or name != name.strip():
                raise BadRequest(f"not a header: {line[:200]!r}")
            if name in headers:
                repeated.append(name)
                value = headers[name] + ", " + value.strip()
            headers[name] = value.strip()
        request = Request(self.number, time.monotonic(), self.tls, first[0], first[1], headers, repeated)
        self.keep_alive = headers.get("connection", "").lower() != "close" and first[2] == "HTTP/1.1"
        self.start_body(request)
        return True

    def start_body(self, request):
        headers = request.headers
        self.request = request
        self.head_rule = self.destination.head_rule(request)
        if self.head_rule:
            self.begin_answer()
            return
        if headers.get("transfer-encoding", "").lower() == "chunked":
            self.need = -1
        else:
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > BODY_BYTES_MAX:
                raise BadRequest(f"Content-Length {length[:40]!r}")
            self.need = int(length)
        if self.need and headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.need == 0:
            self.begin_answer()

    def read_body(self):
        if self.need == -1:
            if not self.read_chunk():
                return False
        else:
            if len(self.buffer) < self.need:
                return False
            self.request.body = bytes(self.buffer[:self.need])
            del self.buffer[:self.need]
        self.begin_answer()
        return True

    def read_chunk(self):
        """Chunks as they come; True after the last one."""
        while True:
            end = self.buffer.find(b"\r\n")
            if end < 0:
                return False
            try:
                size = int(self.buffer[:end].split(b";")[0], 16)
            except ValueError:
                raise BadRequest("a chunk without a size") from None
            if len(self.buffer) < end + 2 + size + 2:
                return False
            self.request.body += bytes(self.buffer[end + 2:end + 2 + size])
            del self.buffer[:end + 2 + size + 2]
            if size == 0:
                return True
            if len(self.request.body) > BODY_BYTES_MAX:
                raise BadRequest("the body is too large")

    def begin_answer(self):
        self.busy = True
        self.destination.handle(self, self.request, self.head_rule)

    # The destination has an answer.
    def answer(self, answer):
        if answer.delay_ms:
            asyncio.get_running_loop().call_later(answer.delay_ms / 1000, self.deliver, answer)
        else:
            self.deliver(answer)

    def deliver(self, answer):
        if self.transport is None:
            return
        if answer.misbehave:
            MISBEHAVIOURS[answer.misbehave](self, answer, answer.argument)
        else:
            self.send(answer.bytes(self.request.method))
            self.done()

    def send(self, data):
        if self.transport and not self.transport.is_closing():
            self.transport.write(data)

    def done(self):
        """The answer is out: log it, then the next request."""
        early = self.head_rule is not None and self.request.headers.get("content-length", "0") != "0"
        self.destination.finished(self, out=True)
        self.request = self.need = self.head_rule = None
        self.busy = False
        if not self.keep_alive or early:
            self.close()
        elif self.buffer:
            asyncio.get_running_loop().call_soon(self.advance)

    def close(self):
        self.destination.finished(self)
        if self.transport:
            self.transport.close()

    def reset(self):
        self.destination.finished(self)
        if self.transport:
            abort_socket(self.transport.get_extra_info("socket"))
            self.transport.abort()

    def hang(self, rest):
        self.hung = rest

    def release(self):
        rest, self.hung = self.hung, None
        self.send(rest)
        self.done()

    def pour(self, data):
        """The same bytes again and again, as fast as the client takes them."""
        self.poured = data
        self.resume_writing()

    def resume_writing(self):
        if self.poured and self.transport and not self.transport.is_closing():
            self.transport.write(self.poured)
            if self.transport and self.transport.get_write_buffer_size() < 1024 * 1024:
                asyncio.get_running_loop().call_soon(self.resume_writing)
            else:
                asyncio.get_running_loop().call_later(0.01, self.resume_writing)

    def drip(self, data, seconds):
        if not self.transport or self.transport.is_closing():
            return
        self.send(data[:1])
        if len(data) > 1:
            asyncio.get_running_loop().call_later(seconds, self.drip, data[1:], seconds)
        else:
            self.done()
