"""The program that POST /_control/script loads: ordered rules, the first that fits a request says how it is answered.

A rule is conditions (method, path, query, headers, body_contains, body_regexp, json, rate_over), then which of the requests that
fit the conditions it takes (nth, times), then the answer. Everything is checked when the program is loaded: an unknown word is an
error, because a rule that never fits would make a test pass for the wrong reason.
"""

import re

from answers import check_answer
from request import pointer

RULE_WORDS = {"name", "method", "path", "query", "headers", "body_contains", "body_regexp", "json", "rate_over", "nth", "times", "at_head", "answer"}
PROGRAM_WORDS = {"rules", "records", "require_headers", "append"}


class Rule:
    def __init__(self, spec, number):
        unknown = set(spec) - RULE_WORDS
        if unknown:
            raise ValueError(f"rule {number}: unknown words {sorted(unknown)}; there are {sorted(RULE_WORDS)}")
        self.name = spec.get("name", f"rule {number}")
        methods = spec.get("method")
        self.methods = [methods] if isinstance(methods, str) else methods
        self.path = re.compile(spec["path"]) if "path" in spec else None
        self.query = {k: re.compile(v) for k, v in spec.get("query", {}).items()}
        self.headers = {k.lower(): re.compile(v) for k, v in spec.get("headers", {}).items()}
        self.body_contains = spec["body_contains"].encode() if "body_contains" in spec else None
        self.body_regexp = re.compile(spec["body_regexp"].encode(), re.S) if "body_regexp" in spec else None
        self.json = spec.get("json", {})
        self.rate_over = spec.get("rate_over")
        self.takes = check_nth(spec.get("nth"), self.name)
        self.times = spec.get("times")
        self.at_head = bool(spec.get("at_head"))
        self.answer = check_answer(spec.get("answer", {}), self.name)
        self.fitted = self.hits = 0

    def fits(self, request, journal):
        if self.methods and request.method not in self.methods:
            return False
        if self.path and not self.path.search(request.raw_path):
            return False
        if any(k not in request.query or not v.search(request.query[k]) for k, v in self.query.items()):
            return False
        if any(not v.search(request.headers.get(k, "")) for k, v in self.headers.items()):
            return False
        if self.body_contains is not None and self.body_contains not in request.body:
            return False
        if self.body_regexp and not self.body_regexp.search(request.body):
            return False
        if any(pointer(request.document, path) != value for path, value in self.json.items()):
            return False
        over = self.rate_over
        return not over or journal.recent(over["window_ms"], request.at) > over["requests"]

    def take(self, request, journal):
        if self.times is not None and self.hits >= self.times or not self.fits(request, journal):
            return False
        self.fitted += 1
        if not self.takes(self.fitted):
            return False
        self.hits += 1
        return True


def check_nth(nth, name):
    """nth: 3, [1, 4], {"from": 2, "to": 5}, {"every": 10}; counted from 1 over the requests that fit the rule's conditions."""
    if nth is None:
        return lambda n: True
    if isinstance(nth, int):
        return lambda n: n == nth
    if isinstance(nth, list):
        return lambda n: n in nth
    if isinstance(nth, dict) and nth and not set(nth) - {"from", "to", "every"}:
        first, last, every = nth.get("from", 1), nth.get("to"), nth.get("every", 1)
        return lambda n: n >= first and (last is None or n <= last) and n % every == 0
    raise ValueError(f"{name}: nth is a number, a list, or an object of from, to, every")


class Script:
    def __init__(self, store, journal):
        self.store = store
        self.journal = journal
        self.reset()

    def reset(self):
        self.rules = []
        self.require_headers = {}

    def load(self, program):
        unknown = set(program) - PROGRAM_WORDS
        if unknown:
            raise ValueError(f"unknown words {sorted(unknown)}; there are {sorted(PROGRAM_WORDS)}")
        first = len(self.rules) + 1 if program.get("append") else 1
        rules = [Rule(spec, i) for i, spec in enumerate(program.get("rules", []), first)]
        self.store.configure(program.get("records", {}))
        if "require_headers" in program:
            self.require_headers = {k.lower(): re.compile(v) for k, v in program["require_headers"].items()}
        self.rules = self.rules + rules if program.get("append") else rules
        return len(self.rules)

    def missing_header(self, request):
        return next((k for k, v in self.require_headers.items() if not v.fullmatch(request.headers.get(k, ""))), None)

    def find(self, request, at_head=False):
        return next((rule for rule in self.rules if rule.at_head == at_head and rule.take(request, self.journal)), None)

    @property
    def has_head_rules(self):
        return any(rule.at_head for rule in self.rules)
