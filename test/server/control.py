"""The control API under /_control/: load a program, look at what came, release what hangs. See README.md."""

import re

from request import strict_json, Unreadable
from store import error


def control(destination, request):
    """(status, document)"""
    name = request.raw_path.split("/")[2] if request.raw_path.count("/") > 1 else ""
    function = CONTROLS.get((request.method, name))
    if function is None:
        return 404, error(f"no control {request.method} {name}; there are {sorted(' '.join(c) for c in CONTROLS)}", "not_found")
    try:
        return 200, function(destination, request)
    except (ValueError, KeyError, TypeError, AttributeError, re.error) as e:
        return 400, error(f"{type(e).__name__}: {e}", "bad_control")


def load_script(destination, request):
    try:
        program = strict_json(request.body.decode())
    except Unreadable as e:
        raise ValueError(str(e)) from None
    return {"rules": destination.script.load(program)}


def requests(destination, request):
    query = request.query
    rows = destination.journal.select(query)
    if query.get("count"):
        return {"count": len(rows)}
    return {"count": len(rows), "requests": [r.summary(bodies=query.get("bodies") != "no") for r in rows]}


def state(destination, request):
    journal, script = destination.journal, destination.script
    hung = sum(c.hung is not None for c in destination.connections)
    return {"requests": journal.n, **destination.store.counts(), "statuses": journal.statuses, "violations": journal.n_violations,
            "in_flight": destination.in_flight, "in_flight_max": destination.in_flight_max, "postponed": destination.postponed, "hanging": hung,
            "connections": len(destination.connections), "connections_ever": destination.connections_ever, "aborted": destination.aborted,
            "rules": [{"name": r.name, "fitted": r.fitted, "hits": r.hits} for r in script.rules]}


def records(destination, request):
    collection = destination.store.collections.get(request.query.get("collection", "records"), {})
    if "id" in request.query:
        record = collection.get(request.query["id"])
        return record.summary() if record else None
    return {k: r.value for k, r in collection.items() if not r.deleted}


def rates(destination, request):
    query = request.query
    found = destination.journal.rate(float(query["window_ms"]), query.get("path"))
    if "limit" in query:
        found["limit"] = int(query["limit"])
        found["over"] = found["max"] > found["limit"]
    return found


def violations(destination, request):
    return {"count": destination.journal.n_violations, "violations": destination.journal.violations}


def release(destination, request):
    hung = [c for c in destination.connections if c.hung is not None][:int(request.query.get("count", 1000000))]
    for connection in hung:
        connection.release()
    return {"released": len(hung)}


def reset(destination, request):
    release(destination, request)
    destination.reset()
    return {}


def put_records(destination, request):
    """Records that are there before anything is sent: {"collection": {"id": value}}."""
    for collection, rows in strict_json(request.body.decode()).items():
        for record_id, value in rows.items():
            destination.store.put(collection, record_id, value, request)
    return destination.store.counts()


CONTROLS = {
    ("POST", "script"): load_script, ("GET", "requests"): requests, ("GET", "state"): state, ("GET", "records"): records,
    ("POST", "records"): put_records, ("GET", "rates"): rates, ("GET", "violations"): violations, ("POST", "release"): release,
    ("POST", "reset"): reset,
}
