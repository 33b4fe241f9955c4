"""Asynchronous jobs, as the APIs have them that take many rows: create, upload, close, poll, read results. README.md has the paths.

A job with items is closed when it is made; another one takes its rows once, as CSV or JSON, and acts on them when it is closed: rows
go to the record store, poisoned ones fail, those whose `skip` is set are not processed. A job is seen as working until it was asked so
often as its creator wanted. What a careful client never does is a violation: more jobs at once than `open` allows.
"""

import csv
import io
import json

from request import pointer


class Job:
    def __init__(self, number, request):
        self.id = f"j{number}"
        self.polls_left = int(request.query.get("polls", 1))
        self.collection = request.query.get("collection", "rows")
        self.rows = None
        self.closed = self.done = False
        self.fates = []


class Jobs:
    def __init__(self, store, journal):
        self.store = store
        self.journal = journal
        self.jobs = {}
        self.open_max = 0

    def open(self):
        return sum(not job.done for job in self.jobs.values())

    def counts(self):
        return {"created": len(self.jobs), "closed": sum(job.closed for job in self.jobs.values()), "open": self.open(), "open_max": self.open_max}

    def serve(self, request):
        segments = request.segments
        if len(segments) == 1:
            return self.create(request) if request.method == "POST" else (405, problem("POST only"))
        job = self.jobs.get(segments[1])
        if job is None:
            return 404, problem("no such job")
        what = segments[2] if len(segments) > 2 else None
        if request.method == "GET":
            return self.look(job) if what is None else self.results(job, what)
        if request.method == "PUT" and what == "rows":
            return self.upload(job, request)
        if request.method == "PATCH" and what is None:
            return self.close(job, request)
        return 405, problem("no such operation")

    def create(self, request):
        limit = int(request.query.get("open", 0))
        if limit and self.open() >= limit:
            self.journal.violate("jobs", f"more than {limit} jobs at once", request)
            return 429, problem("too many jobs")
        job = Job(len(self.jobs) + 1, request)
        self.jobs[job.id] = job
        self.open_max = max(self.open_max, self.open())
        items = pointer(request.document, "/items")
        if items is not None:
            job.rows = items
            self.act(job, request)
        return 200, {"id": job.id, "state": "queued" if job.closed else "open", "upload": f"/jobs/{job.id}/rows"}

    def upload(self, job, request):
        if job.rows is not None or job.closed:
            return 400, problem("the job has its rows")
        if request.headers.get("content-type", "").startswith("text/csv"):
            job.rows = list(csv.DictReader(io.StringIO(request.body.decode("utf-8"), newline="")))
        else:
            job.rows = request.document
        return 201, {}

    def close(self, job, request):
        if job.closed or job.rows is None:
            return 400, problem("the job is closed" if job.closed else "the job has no rows")
        self.act(job, request)
        return 200, {"id": job.id, "state": "queued"}

    def act(self, job, request):
        job.closed = True
        for row in job.rows:
            if row.get("skip") in (True, "true"):
                job.fates.append({"fate": "unprocessed"})
                continue
            fate = self.store.one_of_batch("upsert", job.collection, str(row["id"]), row, request)
            job.fates.append({"fate": "accepted" if fate["ok"] else "failed", **fate})

    def look(self, job):
        job.polls_left -= job.closed
        job.done = job.closed and job.polls_left < 0
        answer = {"id": job.id, "state": "done" if job.done else "working" if job.closed else "open"}
        if job.done:
            answer["results"] = [{"index": i, "ok": f["fate"] == "accepted", "id": f"r{row['id']}", "message": f.get("message")}
                                 for i, (row, f) in enumerate(zip(job.rows, job.fates))]
            answer |= {word: sum(f["fate"] == word for f in job.fates) for word in ("accepted", "failed", "unprocessed")}
        return 200, answer

    def results(self, job, what):
        if not job.done:
            return 400, problem("the job is not done")
        found = [(row, fate) for row, fate in zip(job.rows, job.fates) if fate["fate"] == what]
        if what == "errors":
            failed = [(i, row, fate) for i, (row, fate) in enumerate(zip(job.rows, job.fates)) if fate["fate"] == "failed"]
            return 200, {"errors": [{"index": i, "key": row["id"], "message": fate["message"]} for i, row, fate in failed]}
        more = {"accepted": ["_id", "_new"], "failed": ["_error"], "unprocessed": []}.get(what)
        if more is None:
            return 404, problem("no such results")
        out = io.StringIO()
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([*more, *(job.rows[0] if job.rows else [])])
        for row, fate in found:
            values = {"_id": f"r{row['id']}", "_new": json.dumps(fate.get("new")), "_error": fate.get("message")}
            writer.writerow([*(values[word] for word in more), *row.values()])
        return 200, out.getvalue()


def problem(message):
    return {"error": {"message": message, "code": "job"}}
