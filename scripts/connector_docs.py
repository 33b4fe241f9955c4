#!/usr/bin/env python3
"""Prints doc/shipped-connectors.md from sql/connectors/*.json: python3 scripts/connector_docs.py > doc/shipped-connectors.md"""
import glob
import json
import os

OPERATIONS = ("upsert", "create", "update", "delete", "lookup", "list")
TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")


def code(value):
    return "`%s`" % (value if isinstance(value, str) else json.dumps(value))


def variables(of):
    for name, v in sorted(of.get("variables", {}).items()):
        need = "required" if v.get("required") else "default %s" % code(v["default"]) if v.get("default") else "not required"
        yield "| `%s` | %s | %s |" % (name, need, v.get("description", ""))


def operation(name, o):
    rows = o.get("batch", {}).get("rows", 1)
    if "steps" in o:
        steps = ", ".join("%s %s" % (s["method"], code(s.get("path") or s["url"])) for s in o["steps"])
        return "| %s | a job: %s | %s |" % (name, steps, rows if rows > 1 else "")
    what = "%s %s" % (o.get("method", ""), code(o["path"]) if o.get("path") else "the base URL")
    return "| %s | %s | %s |" % (name, what, rows if rows > 1 else "")


def table(head, lines):
    lines = list(lines)
    return ["", head, "|" + "---|" * (head.count("|") - 1)] + lines + [""] if lines else [""]


def object_lines(name, o):
    yield "### `%s`" % name if name != "*" else "### any object"
    yield ""
    key = o.get("key")
    field = key.get("field") if isinstance(key, dict) else key
    words = [o.get("title", "") + ".", o.get("description", "")]
    if field:
        words.append("A record is identified by %s%s." % (code(field), ", whatever its case" if isinstance(key, dict) and key.get("fold") else ""))
    if o.get("required"):
        words.append("To be mapped: %s." % ", ".join(code(f) for f in o["required"]))
    yield " ".join(w for w in words if w)
    yield from table("| variable | | |", variables(o))
    yield from table("| | request | rows |", (operation(n, o[n]) for n in OPERATIONS if n in o))


def connector_lines(name, c):
    yield "## %s" % c["title"]
    yield ""
    yield "`connector => '%s'`. %s" % (name, c.get("description", ""))
    facts = []
    if c.get("docs"):
        facts.append("[The vendor's documentation](%s)." % c["docs"])
    facts.append("Base URL: %s." % (code(c["base_url"]) if c.get("base_url") else "the destination's"))
    if c.get("auth"):
        facts.append("Credentials: %s." % ", ".join(code(a) for a in c["auth"]))
    if c.get("rate_limit"):
        facts.append("Limits: %s." % code(c["rate_limit"]))
    yield ""
    yield " ".join(facts)
    if c.get("unverified"):
        yield ""
        yield "Not verified: %s." % "; ".join(c["unverified"])
    yield from table("| variable | | |", variables(c))
    for n in sorted(c["objects"]):
        yield from object_lines(n, c["objects"][n])


def main():
    print("""# Shipped connectors

Made from `sql/connectors/*.json` by `scripts/connector_docs.py`; [what the words mean](connectors.md). Limits are the vendors' published ones as far as they are known; a
destination's own options win. `http` is the [generic one](http.md).
""")
    for path in sorted(glob.glob(os.path.join(TOP, "sql", "connectors", "*.json"))):
        with open(path, encoding="utf-8") as file:
            lines = connector_lines(os.path.basename(path)[:-5], json.load(file))
            text = "\n".join(lines)
        while "\n\n\n" in text:
            text = text.replace("\n\n\n", "\n\n")
        print(text.rstrip() + "\n")


main()
