"""The scripted destination, tried from outside: a process of its own, spoken to over sockets."""

import gzip
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import zlib
from urllib.parse import quote

HERE = os.path.dirname(os.path.abspath(__file__))


def until(condition, seconds=20):
    """Polls; the last value, true or not."""
    end = time.monotonic() + seconds
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


class Client:
    """One connection, raw enough to see what a server does wrong."""

    def __init__(self, port, context=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        if context:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def send(self, method, target, body=b"", headers=(), json_body=None):
        if json_body is not None:
            body = json.dumps(json_body).encode()
            headers = [*headers, ("Content-Type", "application/json")]
        lines = [f"{method} {target} HTTP/1.1", "Host: localhost", *(f"{k}: {v}" for k, v in headers)]
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        self.socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def fill(self):
        data = self.socket.recv(1 << 16)
        self.buffer += data
        return data

    def head(self):
        while b"\r\n\r\n" not in self.buffer:
            if not self.fill():
                raise EOFError(self.buffer)
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        return int(lines[0].split()[1]), {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}

    def receive(self):
        status, headers = self.head()
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            if not self.fill():
                raise EOFError(self.buffer)
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return status, headers, body

    def call(self, method, target, **kwargs):
        self.send(method, target, **kwargs)
        status, _, body = self.receive()
        return status, json.loads(body) if body else None

    def rest(self):
        """Everything until the server closes; a reset raises."""
        while self.fill():
            pass
        return self.buffer

    def close(self):
        self.socket.close()


class DestinationTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="ondatra-destination.")
        cls.cert, cls.key = os.path.join(cls.dir, "cert.pem"), os.path.join(cls.dir, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", cls.key, "-out", cls.cert],
                       check=True, capture_output=True)
        cls.process = subprocess.Popen([sys.executable, os.path.join(HERE, "destination.py"), "--dir", cls.dir, "--tls", cls.cert, cls.key])
        port = os.path.join(cls.dir, "port")
        assert until(lambda: os.path.exists(port)), "the destination did not start"
        cls.port = int(open(port).read())
        cls.tls_port = int(open(os.path.join(cls.dir, "tls_port")).read())

    @classmethod
    def tearDownClass(cls):
        cls.process.terminate()
        cls.process.wait()
        shutil.rmtree(cls.dir)

    def setUp(self):
        self.control = Client(self.port)
        self.addCleanup(self.control.close)
        self.control.call("POST", "/_control/reset")

    def client(self):
        client = Client(self.port)
        self.addCleanup(client.close)
        return client

    def script(self, *rules, **words):
        status, document = self.control.call("POST", "/_control/script", json_body={"rules": list(rules), **words})
        self.assertEqual(status, 200, document)

    def look(self, what):
        status, document = self.control.call("GET", "/_control/" + what)
        self.assertEqual(status, 200, document)
        return document

    def violations(self):
        return [v["kind"] + ": " + v["detail"] for v in self.look("violations")["violations"]]

    def misbehaving(self, misbehave, **answer):
        self.script({"answer": {"misbehave": misbehave, **answer}})
        client = self.client()
        client.send("PUT", "/records/1", json_body={"a": 1})
        return client


class Records(DestinationTest):
    def test_put_get_delete(self):
        c = self.client()
        self.assertEqual(c.call("PUT", "/records/1", json_body={"a": 1}), (201, {"id": "1", "new": True, "version": 1}))
        self.assertEqual(c.call("PUT", "/records/1", json_body={"a": 2})[0], 200)
        self.assertEqual(c.call("PATCH", "/records/1", json_body={"b": 3})[0], 200)
        self.assertEqual(c.call("GET", "/records/1"), (200, {"a": 2, "b": 3}))
        self.assertEqual(self.look("records?id=1")["history"], [{"a": 1}, {"a": 2}, {"a": 2, "b": 3}])
        self.assertEqual(c.call("DELETE", "/records/1")[0], 200)
        self.assertEqual(c.call("DELETE", "/records/1")[0], 404)
        self.assertEqual(c.call("GET", "/records/1")[0], 404)
        self.assertEqual(c.call("PUT", "/records/1", json_body={"a": 1})[0], 201)
        self.assertEqual(self.violations(), [])

    def test_ids_keep_their_encoded_slash(self):
        name = 'a/b "ü" 🦫'
        self.client().call("PUT", "/contacts/" + quote(name, safe=""), json_body={"a": 1})
        self.assertEqual(self.look("records?collection=contacts"), {name: {"a": 1}})

    def test_post_assigns_an_id(self):
        c = self.client()
        self.assertEqual(c.call("POST", "/orders", json_body={"a": 1})[1]["id"], "r1")
        self.assertEqual(c.call("POST", "/orders", json_body={"id": 7})[1]["id"], "7")

    def test_poison_is_refused(self):
        c = self.client()
        self.assertEqual(c.call("PUT", "/records/1", json_body={"poison": "bad mail"}),
                         (422, {"error": {"message": "row is poisoned: bad mail", "code": "poisoned"}}))
        self.assertEqual(c.call("PUT", "/records/1", json_body={"poison": 409})[0], 409)
        self.assertEqual(c.call("PUT", "/records/1", json_body={"poison": False})[0], 201)

    def test_repeats_and_order(self):
        c = self.client()
        for seq in (1, 2, 2, 1):
            c.call("PUT", "/records/1", json_body={"seq": seq})
        self.assertEqual(self.look("state")["repeats"], 1)
        self.assertEqual(self.violations(), ["order: records/1: seq went from 2 to 1"])

    def test_idempotency_key(self):
        c = self.client()
        key = [("Idempotency-Key", "k1")]
        first = c.call("POST", "/orders", json_body={"a": 1}, headers=key)
        self.assertEqual(c.call("POST", "/orders", json_body={"a": 1}, headers=key), first)
        self.assertEqual(self.look("state")["records"], 1)
        self.assertEqual(self.look("state")["duplicates"], 1)
        self.assertEqual(c.call("POST", "/orders", json_body={"a": 2}, headers=key)[0], 422)
        self.assertEqual(len(self.violations()), 1)

    def test_an_error_is_not_replayed_unless_told(self):
        c = self.client()
        key = [("Idempotency-Key", "k1")]
        self.script(records={"missing_delete": 404})
        self.assertEqual(c.call("DELETE", "/records/1", headers=key)[0], 404)
        self.control.call("POST", "/_control/records", json_body={"records": {"1": {}}})
        self.assertEqual(c.call("DELETE", "/records/1", headers=key)[0], 200)
        self.script(records={"replay_errors": True})
        key = [("Idempotency-Key", "k2")]
        self.assertEqual(c.call("DELETE", "/records/2", headers=key)[0], 404)
        self.control.call("POST", "/_control/records", json_body={"records": {"2": {}}})
        self.assertEqual(c.call("DELETE", "/records/2", headers=key)[0], 404)


class Jobs(DestinationTest):
    def test_a_job_of_steps(self):
        c = self.client()
        created = c.call("POST", "/jobs?polls=1&collection=c", json_body={})
        self.assertEqual(created, (200, {"id": "j1", "state": "open", "upload": "/jobs/j1/rows"}))
        rows = b'id,v,poison,skip\n1,"a,b",,\n2,x,bad,\n3,y,,true\n'
        self.assertEqual(c.call("PUT", "/jobs/j1/rows", body=rows, headers=[("Content-Type", "text/csv")])[0], 201)
        self.assertEqual(c.call("PUT", "/jobs/j1/rows", body=rows, headers=[("Content-Type", "text/csv")])[0], 400)
        self.assertEqual(self.look("state")["jobs"], {"created": 1, "closed": 0, "open": 1, "open_max": 1})
        self.assertEqual(c.call("PATCH", "/jobs/j1", json_body={"state": "closed"})[0], 200)
        self.assertEqual(c.call("PATCH", "/jobs/j1", json_body={"state": "closed"})[0], 400)
        self.assertEqual(c.call("GET", "/jobs/j1")[1]["state"], "working")
        done = c.call("GET", "/jobs/j1")[1]
        self.assertEqual((done["state"], done["accepted"], done["failed"], done["unprocessed"]), ("done", 1, 1, 1))
        self.assertEqual([r["ok"] for r in done["results"]], [True, False, False])
        self.assertEqual(self.look("records?collection=c"), {"1": {"id": "1", "v": "a,b", "poison": "", "skip": ""}})
        self.assertEqual(c.call("GET", "/jobs/j1/errors")[1]["errors"][0]["key"], "2")
        self.assertEqual(c.call("GET", "/jobs/j2")[0], 404)

    def test_too_many_at_once(self):
        c = self.client()
        self.assertEqual(c.call("POST", "/jobs?open=1", json_body={})[0], 200)
        self.assertEqual(c.call("POST", "/jobs?open=1", json_body={})[0], 429)
        self.assertEqual(self.violations(), ["jobs: more than 1 jobs at once"])


class Batches(DestinationTest):
    ROWS = [{"id": 1, "a": "x"}, {"id": 2, "poison": "no"}, {"id": 3, "a": "z"}]

    def batch(self, query="", rows=None):
        return self.client().call("POST", "/batch" + query, json_body=self.ROWS if rows is None else rows)

    def test_by_order(self):
        status, answer = self.batch()
        self.assertEqual((status, [r["ok"] for r in answer["results"]]), (200, [True, False, True]))
        self.assertEqual(sorted(self.look("records")), ["1", "3"])

    def test_by_key(self):
        _, answer = self.batch("?result=key&partial_status=207")
        self.assertEqual([r["key"] for r in answer["results"]], ["3", "2", "1"])

    def test_errors_list(self):
        self.assertEqual(self.batch("?result=errors")[1],
                         {"accepted": 2, "errors": [{"key": "2", "index": 1, "message": "row is poisoned: no", "code": "poisoned"}]})

    def test_counts_and_none(self):
        self.assertEqual(self.batch("?result=counts")[1], {"accepted": 2, "refused": 1})
        self.assertEqual(self.batch("?result=none")[1], {})

    def test_lies(self):
        self.assertEqual(len(self.batch("?result=short")[1]["results"]), 2)
        self.assertEqual(self.batch("?result=stranger")[1]["results"][-1]["key"], "nobody")

    def test_atomic(self):
        status, answer = self.batch("?mode=atomic")
        self.assertEqual((status, answer["error"]["message"]), (422, "row 1: row is poisoned: no"))
        self.assertEqual(self.look("records"), {})

    def test_rows_under_a_pointer_and_in_a_map(self):
        self.batch("?rows=/inputs&id=/key&fields=/properties", {"inputs": [{"key": "k", "properties": {"a": 1}}]})
        self.assertEqual(self.look("records"), {"k": {"a": 1}})
        self.batch("?rows=/map&collection=maps", {"map": {"m": {"a": 1}}})
        self.assertEqual(self.look("records?collection=maps"), {"m": {"id": "m", "a": 1}})

    def test_ndjson_and_form(self):
        self.client().call("POST", "/batch", body=b'{"id": 1}\n{"id": 2}\n', headers=[("Content-Type", "application/x-ndjson")])
        self.client().call("POST", "/batch", body=b"rows[0][id]=3&rows[1][id]=4&rows[1][n][m]=5",
                           headers=[("Content-Type", "application/x-www-form-urlencoded")])
        self.assertEqual(sorted(self.look("records")), ["1", "2", "3", "4"])
        self.assertEqual(self.look("records")["4"], {"id": "4", "n": {"m": "5"}})

    def test_delete(self):
        self.batch()
        self.client().call("POST", "/batch/delete", json_body=[{"id": 1}, 3])
        self.assertEqual(self.look("records"), {})

    def test_too_many_and_twice(self):
        self.assertEqual(self.batch("?max=2")[0], 413)
        self.batch("?unique=1", [{"id": 1}, {"id": 1}])
        self.assertEqual(len(self.violations()), 2)


class Rules(DestinationTest):
    def test_first_that_fits(self):
        self.script({"method": "PUT", "path": "^/a/", "answer": {"status": 418}}, {"body_contains": "magic", "answer": {"status": 503}},
                    {"json": {"/a/b": 1}, "answer": {"status": 409}})
        c = self.client()
        self.assertEqual(c.call("PUT", "/a/1", json_body={})[0], 418)
        self.assertEqual(c.call("PUT", "/b/1", json_body={"x": "magic"})[0], 503)
        self.assertEqual(c.call("PUT", "/b/1", json_body={"a": {"b": 1}})[0], 409)
        self.assertEqual(c.call("POST", "/a/1", json_body={})[0], 201)
        self.assertEqual([r["hits"] for r in self.look("state")["rules"]], [1, 1, 1])

    def test_times_and_nth(self):
        self.script({"times": 2, "answer": {"status": 503}}, {"nth": [2], "answer": {"status": 429}}, {"nth": {"every": 3}, "answer": {"status": 500}})
        c = self.client()
        self.assertEqual([c.call("PUT", "/records/1", json_body={})[0] for _ in range(8)], [503, 503, 201, 429, 200, 500, 200, 200])

    def test_echo_rows_template_headers(self):
        self.script({"path": "echo", "answer": {"echo": True}},
                    {"path": "rows", "answer": {"headers": {"X-A": "b"}, "rows": {"from": "/in", "into": "out", "each": {"id": "{/row/id}", "text": "row {/index}"}}}})
        c = self.client()
        self.assertEqual(c.call("POST", "/echo", json_body={"a": 1}), (200, {"a": 1}))
        c.send("POST", "/rows", json_body={"in": [{"id": 5}]})
        status, headers, body = c.receive()
        self.assertEqual((status, headers["x-a"], json.loads(body)), (200, "b", {"out": [{"id": 5, "text": "row 0"}]}))

    def test_retry_after_date(self):
        self.script({"answer": {"status": 429, "headers": {"Retry-After-Date": 2}}})
        c = self.client()
        c.send("GET", "/x")
        self.assertRegex(c.receive()[1]["retry-after"], r"^\w{3}, \d\d \w{3} \d{4} .* GMT$")

    def test_rate_over(self):
        self.script({"rate_over": {"requests": 3, "window_ms": 60000}, "answer": {"status": 429}})
        c = self.client()
        self.assertEqual([c.call("GET", "/records")[0] for _ in range(5)], [200, 200, 200, 429, 429])
        self.assertEqual(self.look("rates?window_ms=60000&limit=3")["over"], True)

    def test_required_header(self):
        self.script(require_headers={"Authorization": "Bearer s"})
        c = self.client()
        self.assertEqual(c.call("GET", "/records")[0], 401)
        self.assertEqual(c.call("GET", "/records", headers=[("Authorization", "Bearer s")])[0], 200)
        self.assertEqual(self.violations(), ["header: authorization is missing or wrong"])

    def test_unknown_words_are_errors(self):
        for program in ({"rule": []}, {"rules": [{"pth": "x"}]}, {"rules": [{"answer": {"statsu": 1}}]}, {"rules": [{"answer": {"misbehave": "x"}}]},
                        {"rules": [{"nth": "x"}]}, {"rules": [{"path": "("}]}, {"records": {"x": 1}}):
            self.assertEqual(self.control.call("POST", "/_control/script", json_body=program)[0], 400, program)
        self.assertEqual(self.control.call("GET", "/_control/nothing")[0], 404)

    def test_delay_does_not_hold_others(self):
        self.script({"path": "slow", "answer": {"delay_ms": 60000}})
        slow = self.client()
        slow.send("GET", "/slow")
        self.assertEqual(self.client().call("GET", "/records")[0], 200)
        self.assertTrue(until(lambda: self.look("state")["in_flight"] == 1))
        slow.close()
        self.assertTrue(until(lambda: self.look("state")["in_flight"] == 0))
        self.assertEqual(self.look("state")["aborted"], 1)

    def test_apply_and_lose_the_answer(self):
        client = self.misbehaving("close", apply=True)
        self.assertEqual(client.rest(), b"")
        self.assertEqual(self.look("records"), {"1": {"a": 1}})

    def test_apply_after(self):
        self.script({"method": "PUT", "answer": {"apply_after_ms": 100, "apply_when_gone_ms": 300}})
        self.assertEqual(self.client().call("PUT", "/contacts/1", json_body={"v": 1})[0], 201)
        gone = self.client()
        gone.send("PUT", "/contacts/1", json_body={"v": 2})
        self.assertTrue(until(lambda: self.look("state")["in_flight"] == 1))
        gone.close()
        self.assertTrue(until(lambda: self.look("state")["in_flight"] == 0))
        self.assertEqual(self.look("records?collection=contacts"), {"1": {"v": 1}})
        self.assertTrue(until(lambda: self.look("records?collection=contacts") == {"1": {"v": 2}}))

    def test_keys_that_are_not_honoured(self):
        self.script(records={"honour_keys": False})
        c = self.client()
        for status in (201, 200):
            self.assertEqual(c.call("PUT", "/a/1", json_body={"v": 1}, headers=[("Idempotency-Key", "k")])[0], status)
        self.assertEqual(self.look("state")["repeats"], 1)
        self.assertEqual(c.call("PUT", "/a/1", json_body={"v": 2}, headers=[("Idempotency-Key", "k")])[0], 422)
        self.assertEqual(len(self.violations()), 1)


class Kept(unittest.TestCase):
    def start(self):
        port = os.path.join(self.dir, "port")
        if os.path.exists(port):
            os.remove(port)
        command = [sys.executable, os.path.join(HERE, "destination.py"), "--dir", self.dir, "--keep", self.kept, "--program", self.program]
        self.process = subprocess.Popen(command)
        self.assertTrue(until(lambda: os.path.exists(port)))
        with open(port, encoding="ascii") as f:
            self.client = Client(int(f.read()))

    def stop(self, how):
        self.client.close()
        how()
        self.process.wait()

    def test_records_outlive_the_process(self):
        self.dir = tempfile.mkdtemp(prefix="ondatra-destination.")
        self.addCleanup(shutil.rmtree, self.dir)
        self.kept, self.program = os.path.join(self.dir, "kept.jsonl"), os.path.join(self.dir, "program.json")
        with open(self.program, "w", encoding="ascii") as f:
            json.dump({"rules": [{"path": "late", "answer": {"apply_after_ms": 60000}}]}, f)
        self.start()
        self.client.call("PUT", "/a/1", json_body={"v": 1})
        self.client.call("POST", "/batch?collection=a", json_body=[{"id": "1", "v": 2}, {"id": "2", "v": 2}])
        self.client.call("DELETE", "/a/2")
        self.client.send("PUT", "/late/1", json_body={"v": 3})
        self.stop(self.process.kill)
        self.start()
        self.assertEqual(self.client.call("GET", "/_control/records?collection=a")[1], {"1": {"id": "1", "v": 2}})
        self.assertEqual(self.client.call("PUT", "/a/2", json_body={"v": 4})[0], 201)
        self.stop(self.process.terminate)
        with open(self.kept, encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual([(x["request"], x["op"], x["id"]) for x in lines if "op" in x],
                         [("1.1", "put", "1"), ("1.2", "put", "1"), ("1.2", "put", "2"), ("1.3", "delete", "2"), ("2.1", "put", "2")])
        # 1.3 was answered, but the process may have died before it wrote that
        self.assertEqual([x["answered"] for x in lines if x.get("answered", "1.3") != "1.3"], ["1.1", "1.2", "2.1"])
        self.assertEqual([x["start"] for x in lines if "start" in x], [1, 2])


class Misbehaviour(DestinationTest):
    def test_silent(self):
        self.assertEqual(self.misbehaving("close").rest(), b"")
        with self.assertRaises(ConnectionResetError):
            self.misbehaving("reset").rest()
        self.assertTrue(self.misbehaving("garbage").rest().startswith(b"220 "))

    def test_cut(self):
        self.assertEqual(len(self.misbehaving({"close_after": 20}).rest()), 20)
        with self.assertRaises(EOFError):
            self.misbehaving("half_body", json={"a": "b" * 100}).receive()
        with self.assertRaises(EOFError):
            self.misbehaving({"wrong_length": 5}).receive()
        self.assertNotIn(b"0\r\n\r\n", self.misbehaving("half_chunked").rest())

    def test_hang_and_release(self):
        client = self.misbehaving("hang", status=202)
        self.assertTrue(until(lambda: self.look("state")["hanging"] == 1))
        self.assertEqual(self.control.call("POST", "/_control/release")[1], {"released": 1})
        self.assertEqual(client.receive()[0], 202)
        client = self.misbehaving("hang_body", json={"a": "b" * 100})
        self.assertEqual(client.head()[0], 200)
        self.control.call("POST", "/_control/release")
        self.assertTrue(until(lambda: len(client.buffer) >= 108 or not client.fill()))

    def test_large(self):
        self.assertEqual(len(self.misbehaving({"big": 10000000}).receive()[2]), 10000000)
        body = self.misbehaving({"gzip_bomb": 20000000}).receive()[2]
        self.assertLess(len(body), 100000)
        self.assertGreater(len(gzip.decompress(body)), 20000000)
        for kind in ("endless", "header_flood"):
            client = self.misbehaving(kind)
            while len(client.buffer) < 3000000:
                self.assertTrue(client.fill())
            client.close()
        self.assertTrue(until(lambda: self.look("state")["connections"] <= 3))

    def test_bodies(self):
        with self.assertRaises(json.JSONDecodeError):
            json.loads(self.misbehaving("invalid_json").receive()[2])
        with self.assertRaises(UnicodeDecodeError):
            self.misbehaving("invalid_utf8").receive()[2].decode()
        status, headers, body = self.misbehaving("html", status=502).receive()
        self.assertEqual((status, headers["content-type"], b"<html>" in body), (502, "text/html", True))
        self.assertEqual(self.misbehaving("empty").receive()[2], b"")
        self.assertEqual(len(self.misbehaving("deep_json").receive()[2]), 200000)
        with self.assertRaises((OSError, zlib.error)):
            gzip.decompress(self.misbehaving("bad_gzip").receive()[2])
        status, headers, _ = self.misbehaving({"redirect": "http://evil.example/"}).receive()
        self.assertEqual((status, headers["location"]), (302, "http://evil.example/"))
        self.assertEqual(self.misbehaving({"drip": 0.1}).receive()[2], b"{}")

    def test_answer_before_the_body(self):
        self.script({"at_head": True, "path": "early", "answer": {"status": 413}})
        client = self.client()
        client.socket.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        self.assertEqual(client.receive()[0], 413)


class Checks(DestinationTest):
    def raw(self, data):
        client = self.client()
        client.socket.sendall(data)
        return client

    def test_bodies_that_are_not_what_they_say(self):
        c = self.client()
        for body in (b"{", b'{"a":NaN}', b'{"a":1,"a":2}', b'"\xff"'):
            self.assertEqual(c.call("PUT", "/records/1", body=body, headers=[("Content-Type", "application/json")])[0], 400, body)
        self.assertEqual(len(self.violations()), 4)

    def test_heads(self):
        self.raw(b"GET / HTTP/1.1\r\n\r\n").receive()
        self.raw(b"GET /a/%2e%2e/b HTTP/1.1\r\nHost: x\r\n\r\n").receive()
        self.raw(b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n").receive()
        self.assertEqual(self.raw(b"GET / HTTP/1.1\r\nHost: x\r\nbroken\r\n\r\n").receive()[0], 400)
        self.assertEqual(self.raw(b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n").receive()[0], 400)
        self.assertEqual(len(self.violations()), 5, self.violations())

    def test_chunked_gzip_continue_pipeline(self):
        packed = gzip.compress(b'{"a":1}')
        self.client().call("PUT", "/records/1", body=packed, headers=[("Content-Type", "application/json"), ("Content-Encoding", "gzip")])
        self.raw(b"PUT /records/2 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                 b"3\r\n{\"a\r\n4\r\n\":2}\r\n0\r\n\r\n").receive()
        client = self.raw(b"PUT /records/3 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n")
        self.assertEqual(client.head()[0], 100)
        client.socket.sendall(b'{"a":3}')
        self.assertEqual(client.receive()[0], 201)
        client = self.raw(b"GET /records/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /records/2 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual([client.receive()[2], client.receive()[2]], [b'{"a":1}', b'{"a":2}'])
        self.assertEqual(self.look("records"), {"1": {"a": 1}, "2": {"a": 2}, "3": {"a": 3}})
        self.assertEqual(self.violations(), [])

    def test_log(self):
        c = self.client()
        c.call("PUT", "/records/1?x=y", json_body={"a": "ü"})
        c.call("PUT", "/records/2", body=b"\xff\x00", headers=[("Content-Type", "application/octet-stream")])
        found = self.look("requests?path=records/1&method=PUT")
        row = found["requests"][0]
        self.assertEqual((found["count"], row["query"], row["json"], row["answer"]["status"]), (1, {"x": "y"}, {"a": "ü"}, 201))
        self.assertEqual(self.look("requests?body=u00fc&count=1"), {"count": 1})
        self.assertEqual(self.look("requests?last=1")["requests"][0]["base64"], "/wA=")
        lines = [json.loads(line) for line in open(os.path.join(self.dir, "requests.jsonl"), encoding="utf-8")]
        self.assertEqual([line["path"] for line in lines[-2:]], ["/records/1", "/records/2"])

    def test_tls(self):
        context = ssl.create_default_context(cafile=self.cert)
        client = Client(self.tls_port, context)
        self.addCleanup(client.close)
        self.assertEqual(client.call("PUT", "/records/1", json_body={"a": 1})[0], 201)
        self.assertTrue(self.look("requests")["requests"][0]["tls"])

    def test_many_connections_at_once(self):
        def work(number):
            client = Client(self.port)
            for i in range(100):
                client.call("PUT", f"/records/{number}-{i}", json_body={"seq": i})
            client.close()
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(self.look("state")["records"], 800)
        self.assertEqual(self.look("rates?window_ms=600000")["max"], 800)


if __name__ == "__main__":
    unittest.main()
