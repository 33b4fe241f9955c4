#!/usr/bin/env python3
"""latency.py SAMPLES PSQL...: milliseconds from COMMIT after trigger_sync() to the first byte at the destination, one a line.

The destination listens here and in the same process, so that both ends read one clock. Before each COMMIT a row of bench.one changes; PSQL is
the command of a session in which sync "latency" exists after `\\i latency.sql`. The clock starts before COMMIT is sent, so the commit itself counts.
Each sample finds the server idle: no run, no connection to the destination."""

import queue
import random
import socket
import subprocess
import sys
import threading
import time


def serve(listener, arrivals):
    while True:
        connection, _ = listener.accept()
        connection.settimeout(10)
        data = connection.recv(65536)
        arrived = time.monotonic()
        if not data:
            continue
        arrivals.put(arrived)
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(next((line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), b"0"))
        while len(body) < length:
            body += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        connection.close()


class Session:
    def __init__(self, command):
        self.process = subprocess.Popen(command + ["-X", "-q", "-At", "-v", "ON_ERROR_STOP=1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def send(self, sql):
        self.process.stdin.write(sql + "\n")
        self.process.stdin.flush()

    def ask(self, sql):
        """Lines until the mark."""
        self.send(sql + "\n\\echo -- done")
        lines = []
        for line in self.process.stdout:
            if line.rstrip() == "-- done":
                return lines
            lines.append(line.rstrip())
        sys.exit("latency.py: psql ended")


def main():
    samples = int(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    arrivals = queue.Queue()
    threading.Thread(target=serve, args=(listener, arrivals), daemon=True).start()
    session = Session(sys.argv[2:])
    session.ask(f"\\set port {listener.getsockname()[1]}\n\\i bench/latency.sql")
    for _ in range(samples):
        while session.ask("SELECT count(*) FROM ondatra.sync_runs WHERE status IN ('queued', 'running');") != ["0"]:
            time.sleep(0.02)
        time.sleep(random.uniform(0.2, 0.6))
        session.ask("BEGIN; UPDATE bench.one SET value = value + 1; SELECT ondatra.trigger_sync('latency');")
        began = time.monotonic()
        session.send("COMMIT;")
        print(f"{(arrivals.get(timeout=120) - began) * 1000:.1f}", flush=True)


main()
