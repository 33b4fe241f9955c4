#!/usr/bin/env python3
"""The scripted destination: an HTTP API for tests that answers as it is told and checks what it receives.

    python3 destination.py --port 0 --dir DIR [--tls CERT KEY] [--no-log] [--keep FILE] [--program FILE]

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
from keeper import Keeper
from request import strict_json
from script import Script
from store import Store, error
from wire import Connection


HEARTBEAT_S = 0.05
STOOD_STILL_S = 0.25


class Destination:
    def __init__(self, directory, keep_log=True, keep=None):
        self.directory = directory
        self.journal = Journal(os.path.join(directory, "requests.jsonl"), keep_log)
        self.keeper = Keeper(keep) if keep else None
        self.store = Store(self.journal, self.keeper)
        if self.keeper:
            self.keeper.restore(self.store)
        self.script = Script(self.store, self.journal)
        self.connections = set()
        self.connections_ever = self.aborted = 0
        self.in_flight = self.in_flight_max = 0
        self.flush_due = False
        self.postponed = 0

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
        if self.keeper:
            self.keeper.came(request, *self.store.touches(request))
        self.in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self.in_flight)
        if not self.missing_header(connection, request):
            rule = rule or self.script.find(request)
            after_ms = rule.answer.get("apply_after_ms") if rule else None
            if after_ms is None:
                self.decide(connection, request, rule)
            else:
                request.answer = {"status": None, "rule": rule.name, "misbehave": "apply_after"}
                self.postponed += 1
                gone_ms = rule.answer.get("apply_when_gone_ms", after_ms)
                asyncio.get_running_loop().call_later(after_ms / 1000, self.decide_late, connection, request, rule, gone_ms - after_ms)

    def missing_header(self, connection, request):
        missing = self.script.missing_header(request)
        if missing:
            self.journal.violate("header", f"{missing} is missing or wrong", request)
            answer = of_json(401, error(f"header {missing} is missing or wrong", "unauthorized"))
            request.answer = answer.summary()
            connection.answer(answer)
        return missing

    def decide_late(self, connection, request, rule, gone_ms):
        """gone_ms: how much later when nobody waits for the answer any more."""
        if gone_ms > 0 and not connection.waits_for(request):
            asyncio.get_running_loop().call_later(gone_ms / 1000, self.decide_late, connection, request, rule, 0)
            return
        self.postponed -= 1
        self.decide(connection, request, rule)

    def decide(self, connection, request, rule):
        """It takes effect now. With apply_after_ms the client may be gone: then only the answer is lost."""
        try:
            if rule is None:
                answer = of_json(*self.store.serve(request))
            else:
                answer = build(rule.answer, request, self.store)
                answer.rule = rule.name
        except Exception as e:  # a mistake in a program: seen by the test, not only by the client
            traceback.print_exc()
            self.journal.violate("server", f"{type(e).__name__}: {e}", request)
            answer = of_json(500, error(str(e), "server"))
        if connection.waits_for(request):
            request.answer = answer.summary()
            connection.answer(answer)

    def finished(self, connection, out=False):
        """The answer is out, or the connection is gone. Called once or more for a request: only the first counts."""
        request = connection.request
        if request is None or request.answer is None or request.answered_at is not None:
            return
        self.in_flight -= 1
        self.journal.answered(request, time.monotonic())
        if self.keeper:
            self.keeper.ended(request, out)
        if not self.flush_due:
            self.flush_due = True
            asyncio.get_running_loop().call_later(0.05, self.flush)

    def flush(self):
        self.flush_due = False
        self.journal.flush()


    def beat(self, due):
        """With --keep: says when this process could not run for a while."""
        now = time.monotonic()
        if now - due > STOOD_STILL_S:
            self.keeper.stood_still(now - due)
        asyncio.get_running_loop().call_later(HEARTBEAT_S, self.beat, now + HEARTBEAT_S)


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
    destination = Destination(arguments.dir, not arguments.no_log, arguments.keep)
    if arguments.program:
        with open(arguments.program, encoding="utf-8") as f:
            destination.script.load(strict_json(f.read()))
    if destination.keeper:
        destination.beat(time.monotonic())
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
    parser.add_argument("--keep", metavar="FILE", help="records outlive the process: keeper.py")
    parser.add_argument("--program", metavar="FILE", help="a program as for POST /_control/script, loaded at the start")
    arguments = parser.parse_args()
    os.makedirs(arguments.dir, exist_ok=True)
    asyncio.run(serve(arguments))


if __name__ == "__main__":
    main()
