#!/usr/bin/env python3
"""Runs the destination's own tests and reports them as TAP."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


class TapResult(unittest.TestResult):
    def line(self, test, word, note=""):
        print(f"{word} {self.testsRun} - {test.id().split('.', 1)[1]}{note}", flush=True)

    def addSuccess(self, test):
        self.line(test, "ok")

    def addSkip(self, test, reason):
        self.line(test, "ok", f" # SKIP {reason}")

    def complain(self, test, err):
        self.line(test, "not ok")
        print("# " + self._exc_info_to_string(err, test).replace("\n", "\n# "), flush=True)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.complain(test, err)

    def addError(self, test, err):
        super().addError(test, err)
        self.complain(test, err)


suite = unittest.defaultTestLoader.discover(os.path.dirname(os.path.abspath(__file__)), "test_*.py")
print(f"1..{suite.countTestCases()}", flush=True)
result = TapResult()
suite.run(result)
sys.exit(0 if result.wasSuccessful() and result.testsRun else 1)
