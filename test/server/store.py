"""The record store: the API that the destination plays when no rule says otherwise.

Records live in collections: /<collection>/<id>, and /batch for many at once. A row whose field `poison` is set is refused. The
store remembers every value a record had, and finds what a careful client never does: an Idempotency-Key with two bodies, a `seq`
that goes backwards. A value that arrives again unchanged is counted (repeats), not wrong.
"""

import hashlib
import json

from jobs import Jobs
from request import pointer

OPTIONS = {"poison": "poison", "seq": "seq", "replay_errors": False, "missing_delete": 404, "honour_keys": True, "refused": 422, "message": "row is poisoned: {}"}
HISTORY_MAX = 1000


class Record:
    __slots__ = ("value", "history", "repeats", "deleted", "version")

    def __init__(self):
        self.value = None
        self.history = []
        self.repeats = 0
        self.deleted = False
        self.version = 0

    def summary(self):
        return {"value": self.value, "history": self.history, "repeats": self.repeats, "deleted": self.deleted, "version": self.version}


class Refused(Exception):
    def __init__(self, status, message, code):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Store:
    def __init__(self, journal, keeper=None):
        self.journal = journal
        self.keeper = keeper
        self.reset()

    def reset(self):
        self.collections = {}
        self.keys = {}
        self.options = dict(OPTIONS)
        self.jobs = Jobs(self, self.journal)
        self.duplicates = self.repeats = self.deletes = self.assigned = 0

    def configure(self, options):
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise ValueError(f"unknown option of records: {sorted(unknown)}; there are {sorted(OPTIONS)}")
        self.options.update(options)

    # One request: (status, document). Idempotency first, then the path.
    def serve(self, request):
        key = request.headers.get("idempotency-key")
        if key is None or request.method in ("GET", "HEAD"):
            return self.route(request)
        print_of = hashlib.sha256(f"{request.method} {request.target}\n".encode() + request.body).digest()
        known = self.keys.get(key)
        if known is None:
            status, document = self.route(request)
            self.keys[key] = (print_of, status, document)
            return status, document
        if known[0] != print_of:
            self.journal.violate("idempotency", f"key {key} came with another request before", request)
            return 422, error("this Idempotency-Key was used for another request", "idempotency_key_reused")
        self.duplicates += 1
        if self.options["honour_keys"] and known[1] < 400 or self.options["honour_keys"] and self.options["replay_errors"]:
            return known[1], known[2]
        status, document = self.route(request)
        self.keys[key] = (print_of, status, document)
        return status, document

    def route(self, request):
        segments = request.segments
        if request.read_error:
            return 400, error(request.read_error, "unreadable")
        if segments[0] == "jobs":
            return self.jobs.serve(request)
        if segments[0] == "batch":
            return self.batch(request, segments[1] if len(segments) > 1 else request.query.get("op", "upsert"))
        collection = segments[0] or "records"
        record_id = "/".join(segments[1:]) or None
        try:
            return self.single(request, collection, record_id)
        except Refused as e:
            return e.status, error(e.message, e.code)

    def single(self, request, collection, record_id):
        records = self.collections.get(collection, {})
        method = request.method
        if method in ("GET", "HEAD"):
            if record_id is None:
                return self.list(records, request.query)
            record = records.get(record_id)
            return (404, error("no such record", "not_found")) if record is None or record.deleted else (200, record.value)
        if method == "DELETE":
            return self.delete(collection, record_id, request)
        value = request.document
        if record_id is None:
            record_id = self.id_of(value, "/id")
        created = self.put(collection, record_id, value, request, merge=method == "PATCH")
        return (201 if created else 200), {"id": record_id, "new": created, "version": self.collections[collection][record_id].version}

    # All, or the page that limit and offset name: of the list as it was when its first page was asked for.
    def list(self, records, query):
        limit, offset = int(query.get("limit", 0)), int(query.get("offset", 0))
        if offset == 0:
            self.listed = [{"id": k, "fields": r.value} for k, r in records.items() if not r.deleted]
        page = self.listed[offset:offset + limit] if limit else self.listed
        return 200, {"records": page, "total": len(self.listed)}

    def id_of(self, row, path):
        found = pointer(row, path)
        if found is None:
            self.assigned += 1
            return f"r{self.assigned}"
        return found if isinstance(found, str) else json.dumps(found)

    def check(self, value):
        poison = value.get(self.options["poison"]) if isinstance(value, dict) else None
        if poison in (None, False, ""):
            return
        status = poison if isinstance(poison, int) and poison is not True and 400 <= poison < 600 else self.options["refused"]
        raise Refused(status, self.options["message"].format(poison), "poisoned")

    def put(self, collection, record_id, value, request, merge=False):
        self.check(value)
        record = self.collections.setdefault(collection, {}).setdefault(record_id, Record())
        created = record.deleted or not record.history
        if merge and isinstance(record.value, dict) and isinstance(value, dict):
            value = {**record.value, **value}
        seq = self.options["seq"]
        if isinstance(value, dict) and isinstance(record.value, dict) and not created:
            before, now = record.value.get(seq), value.get(seq)
            if isinstance(before, (int, float)) and isinstance(now, (int, float)) and now < before:
                self.journal.violate("order", f"{collection}/{record_id}: {seq} went from {before} to {now}", request)
        if not created and value == record.value:
            record.repeats += 1
            self.repeats += 1
        record.value, record.deleted = value, False
        record.version += 1
        if len(record.history) < HISTORY_MAX:
            record.history.append(value)
        if self.keeper:
            self.keeper.took_effect(request, "put", collection, record_id, value)
        return created

    def delete(self, collection, record_id, request):
        record = self.collections.get(collection, {}).get(record_id)
        if record is None or record.deleted:
            return self.options["missing_delete"], error("no such record", "not_found")
        record.deleted = True
        record.value = None
        record.version += 1
        self.deletes += 1
        if self.keeper:
            self.keeper.took_effect(request, "delete", collection, record_id)
        return 200, {"id": record_id, "deleted": True}

    def restore(self, op, collection, record_id, value):
        record = self.collections.setdefault(collection, {}).setdefault(record_id, Record())
        record.value, record.deleted = value, op == "delete"
        record.version += 1
        if op == "put" and len(record.history) < HISTORY_MAX:
            record.history.append(value)

    def batch_rows(self, request):
        query, body = request.query, request.document
        rows = pointer(body, query["rows"]) if "rows" in query else body
        if isinstance(rows, dict) and "rows" not in query:
            rows = next((v for v in rows.values() if isinstance(v, list)), None)
        if isinstance(rows, dict):
            rows = [{"id": k, **v} if isinstance(v, dict) else v for k, v in rows.items()]
        return rows

    def batch_ids(self, request, rows):
        return [row if not isinstance(row, (dict, list)) else self.id_of(row, request.query.get("id", "/id")) for row in rows]

    def touches(self, request):
        """Collection and ids that a request is about."""
        segments = request.segments
        if segments[0] != "batch":
            return segments[0], ["/".join(segments[1:])]
        return request.query.get("collection", "records"), [str(i) for i in self.batch_ids(request, self.batch_rows(request) or [])]

    # Many rows in one request. The query says how this API behaves: see README.md.
    def batch(self, request, op):
        query = request.query
        rows = self.batch_rows(request)
        if not isinstance(rows, list):
            return 400, error("no list of rows in the body", "no_rows")
        limit = int(query.get("max", 0))
        if limit and len(rows) > limit:
            self.journal.violate("batch", f"{len(rows)} rows in a batch of at most {limit}", request)
            return 413, error(f"at most {limit} rows", "too_many")
        collection = query.get("collection", "records")
        ids = self.batch_ids(request, rows)
        fields = [pointer(row, query["fields"], row) if "fields" in query else row for row in rows]
        if query.get("mode") == "atomic" and op != "delete":
            try:
                for index, row in enumerate(fields):
                    self.check(row)
            except Refused as e:
                return e.status, error(f"row {index}: {e.message}", e.code)
        if query.get("unique") and len(set(map(str, ids))) < len(ids):
            self.journal.violate("batch", "a key is in the batch twice", request)
        fates = [self.one_of_batch(op, collection, str(i), row, request) for i, row in zip(ids, fields)]
        status = int(query.get("partial_status", 200)) if any(not f["ok"] for f in fates) else 200
        return status, batch_answer(query.get("result", "order"), ids, fates)

    def one_of_batch(self, op, collection, record_id, row, request):
        if op == "delete":
            status, document = self.delete(collection, record_id, request)
            return {"ok": status < 400 or status == 404, "id": record_id}
        try:
            created = self.put(collection, record_id, row, request)
            return {"ok": True, "id": record_id, "new": created}
        except Refused as e:
            return {"ok": False, "message": e.message, "code": e.code}

    def counts(self):
        live = {name: sum(not r.deleted for r in records.values()) for name, records in self.collections.items()}
        return {"records": sum(live.values()), "collections": live, "duplicates": self.duplicates, "repeats": self.repeats,
                "deletes": self.deletes, "jobs": self.jobs.counts()}


def error(message, code):
    return {"error": {"message": message, "code": code}}


def batch_answer(style, ids, fates):
    """How this API tells the fate of rows; some of the styles lie."""
    refused = [(i, key, f) for i, (key, f) in enumerate(zip(ids, fates)) if not f["ok"]]
    if style == "order":
        return {"results": fates}
    if style == "key":
        return {"results": [{**f, "key": key} for key, f in zip(ids, fates)][::-1]}
    if style == "map":
        return {"results": {str(key): f for key, f in zip(ids, fates)}}
    if style == "errors":
        return {"accepted": len(fates) - len(refused),
                "errors": [{"key": key, "index": i, "message": f["message"], "code": f["code"]} for i, key, f in refused]}
    if style == "index":
        return {"accepted": len(fates) - len(refused), "errors": [{"index": i, "message": f["message"], "code": f["code"]} for i, _, f in refused]}
    if style == "counts":
        return {"accepted": len(fates) - len(refused), "refused": len(refused)}
    if style == "short":
        return {"results": [{**f, "key": key} for key, f in zip(ids, fates)][:-1]}
    if style == "stranger":
        return {"results": [{**f, "key": key} for key, f in zip(ids, fates)] + [{"ok": False, "key": "nobody", "message": "who?"}]}
    if style == "none":
        return {}
    raise ValueError(f"unknown result style {style}")
