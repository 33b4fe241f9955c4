"""What took effect, kept in a file: a destination that is killed comes back with its records, and a test can judge the order of everything.

A line for every request, and one for every row that took effect, in the order in which they did and before the answer goes out:

    {"came": "2.17", "collection": "contacts", "ids": ["7"]}                                a request, before anything is done about it
    {"request": "2.17", "op": "put", "collection": "contacts", "id": "7", "value": {…}}     op: put, delete
    {"answered": "2.17"}                 its answer went out to a client that was there (written after it)
    {"lost": "2.18"}                     its client went without one
    {"start": 2}                         the process came up; requests are numbered start.n
    {"stood_still": 0.4}                 seconds in which this process did not get to run: what came meanwhile was taken later than it came

Lines reach the file one write each and are not synced: kill -9 of this process loses none, a power cut may.
"""

import json
import os


class Keeper:
    def __init__(self, path):
        self.start = 1
        self.kept = []
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.kept = [json.loads(line) for line in f if line.endswith("\n")]
            self.start += sum("start" in line for line in self.kept)
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.write({"start": self.start})

    def restore(self, store):
        """The records as they were. Idempotency-Keys are not remembered."""
        for line in self.kept:
            if "op" in line:
                store.restore(line["op"], line["collection"], line["id"], line.get("value"))
        self.kept = []

    def write(self, line):
        os.write(self.fd, (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "surrogateescape"))

    def came(self, request, collection, ids):
        self.write({"came": f"{self.start}.{request.n}", "collection": collection, "ids": ids})

    def took_effect(self, request, op, collection, record_id, value=None):
        line = {"request": f"{self.start}.{request.n}", "op": op, "collection": collection, "id": record_id}
        self.write(line if op == "delete" else {**line, "value": value})

    def ended(self, request, answered):
        self.write({"answered" if answered else "lost": f"{self.start}.{request.n}"})

    def stood_still(self, seconds):
        self.write({"stood_still": round(seconds, 3)})
