"""What happened: every request, what was wrong with it, and how many came in any window of time.

Owns requests.jsonl (one line a request, written when it is answered or its connection ends) and the lists in memory behind
/_control/requests, /_control/rates and /_control/violations. Requests to /_control/ are not in it.
"""

import json
import re

VIOLATIONS_MAX = 10000


class Journal:
    def __init__(self, path, keep=True):
        self.keep = keep
        self.file = open(path, "w", encoding="utf-8")
        self.reset()

    def reset(self):
        self.requests = []
        self.arrivals = []
        self.violations = []
        self.n = 0
        self.n_violations = 0
        self.statuses = {}

    def arrive(self, request):
        self.n += 1
        request.n = self.n
        self.arrivals.append((request.at, request.raw_path))
        if self.keep:
            self.requests.append(request)
        for problem in request.problems():
            self.violate("request", problem, request)

    def violate(self, kind, detail, request=None):
        self.n_violations += 1
        if len(self.violations) < VIOLATIONS_MAX:
            self.violations.append({"kind": kind, "detail": detail, "n": request.n if request else None,
                                    "request": f"{request.method} {request.target[:500]}" if request else None})

    def answered(self, request, at):
        request.answered_at = at
        status = str(request.answer["misbehave"] or request.answer["status"])
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if self.keep:
            self.file.write(json.dumps(request.summary(), ensure_ascii=False, separators=(",", ":")) + "\n")

    def flush(self):
        self.file.flush()

    def select(self, query):
        """Requests whose method, path (regular expression), body (substring), status or rule fit; last=N of them."""
        rows = self.requests
        if "method" in query:
            rows = [r for r in rows if r.method == query["method"]]
        if "path" in query:
            wanted = re.compile(query["path"])
            rows = [r for r in rows if wanted.search(r.raw_path)]
        if "body" in query:
            rows = [r for r in rows if query["body"].encode() in r.body]
        if "status" in query:
            rows = [r for r in rows if r.answer and str(r.answer["status"]) == query["status"]]
        if "rule" in query:
            rows = [r for r in rows if r.answer and r.answer["rule"] == query["rule"]]
        if "last" in query:
            rows = rows[-int(query["last"]):]
        return rows

    def rate(self, window_ms, path=None):
        """The most requests that any half-open window of this length held, and when it began."""
        wanted = re.compile(path) if path else None
        times = sorted(at for at, where in self.arrivals if not wanted or wanted.search(where))
        window = window_ms / 1000.0
        most, began, first = 0, None, 0
        for last, at in enumerate(times):
            while at - times[first] >= window:
                first += 1
            if last - first + 1 > most:
                most, began = last - first + 1, times[first]
        return {"requests": len(times), "max": most, "at": began, "window_ms": window_ms}

    def recent(self, window_ms, now):
        """Requests within the last window, the present one included."""
        count = 0
        for at, _ in reversed(self.arrivals):
            if now - at >= window_ms / 1000.0:
                break
            count += 1
        return count
