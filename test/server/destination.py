#!/usr/bin/env python3
"""The scripted destination: an HTTP API for tests that answers as it is told and checks what it receives.

    python3 destination.py --port 0 --dir DIR [--tls CERT KEY] [--no-log]

A plain port always, written to DIR/port; with --tls a second one, written to DIR/tls_port. Every request is a line of
DIR/requests.jsonl. POST /_control/script loads a program; without one it is a record store. README.md has all the words.

A request goes wire -> Destination.handle -> the first rule that fits, else the record store -> answers -> wire.
"""

import argparse
import asyncio
import os
import signal
import ssl
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from answers import build, of_json
from control import control
from journal import Journal
from script import Script
from store import Store, error
from wire import Connection


class Destination:
    def __init__(self, directory, keep_log=True):
        self.directory = directory
        self.journal = Journal(os.path.join(directory, "requests.jsonl"), keep_log)
        self.store = Store(self.journal)
        self.script = Script(self.store, self.journal)
        self.connections = set()
        self.connections_ever = self.aborted = 0
        self.in_flight = self.in_flight_max = 0
        self.flush_due = False

    def reset(self):
        self.journal.reset()
        self.store.reset()
        self.script.reset()
        self.aborted = 0
        self.in_flight_max = self.in_flight

    def connected(self, connection):
        self.connections.add(connection)
        self.connections_ever += 1

    def disconnected(self, connection):
        """aborted: the client left in the middle of a request, or before its answer was out."""
        if connection.buffer or connection.busy or connection.request is not None:
            self.aborted += connection.request is None or connection.request.answered_at is None
        self.finished(connection)
        self.connections.discard(connection)

    def head_rule(self, request):
        return self.script.find(request, at_head=True) if self.script.has_head_rules and not is_control(request) else None

    def handle(self, connection, request, rule):
        if is_control(request):
            status, document = control(self, request)
            self.journal.flush()
            connection.answer(of_json(status, document))
            return
        request.decode_body()
        self.journal.arrive(request)
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        try:
            answer = self.decide(request, rule)
        except Exception as e:  # a mistake in a program: seen by the test, not only by the client
            traceback.print_exc()
            self.journal.violate("server", f"{type(e).__name__}: {e}", request)
            answer = of_json(500, error(str(e), "server"))
        request.answer = answer.summary()
        connection.answer(answer)

    def decide(self, request, rule):
        missing = self.script.missing_header(request)
        if missing:
            self.journal.violate("header", f"{missing} is missing or wrong", request)
            return of_json(401, error(f"header {missing} is missing or wrong", "unauthorized"))
        rule = rule or self.script.find(request)
        if rule is None:
            return of_json(*self.store.serve(request))
        answer = build(rule.answer, request, self.store)
        answer.rule = rule.name
        return answer

    def finished(self, connection):
        """The answer is out, or the connection is gone. Called once or more for a request: only the first counts."""
        request = connection.request
        if request is None or request.answer is None or request.answered_at is not None:
            return
        self.in_flight -= 1
        self.journal.answered(request, time.monotonic())
        if not self.flush_due:
            self.flush_due = True
            asyncio.get_running_loop().call_later(0.05, self.flush)

    def flush(self):
        self.flush_due = False
        self.journal.flush()


def is_control(request):
    return request.raw_path.startswith("/_control/")


def publish(directory, name, port):
    """Whole or not at all: who polls for the file never reads half a number."""
    path = os.path.join(directory, name)
    with open(path + ".new", "w", encoding="ascii") as f:
        f.write(f"{port}\n")
    os.rename(path + ".new", path)


async def serve(arguments):
    loop = asyncio.get_running_loop()
    destination = Destination(arguments.dir, not arguments.no_log)
    stopped = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: stopped.done() or stopped.set_result(None))
    server = await loop.create_server(lambda: Connection(destination, False), "127.0.0.1", arguments.port, backlog=1024)
    if arguments.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*arguments.tls)
        tls = await loop.create_server(lambda: Connection(destination, True), "127.0.0.1", arguments.tls_port, ssl=context, backlog=1024)
        publish(arguments.dir, "tls_port", tls.sockets[0].getsockname()[1])
    publish(arguments.dir, "port", server.sockets[0].getsockname()[1])
    await stopped
    destination.journal.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--dir", required=True, help="where port, tls_port and requests.jsonl go")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--tls-port", type=int, default=0)
    parser.add_argument("--no-log", action="store_true", help="keep counts, rates and violations, but no requests: for long loads")
    arguments = parser.parse_args()
    os.makedirs(arguments.dir, exist_ok=True)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
