"""Add up what the tests of a CI run reported, in one last line: `N passed, M failed`.

Reads build/logs/ (cargo's `test result:` lines) and build/reports/ (JUnit XML from pytest), so the
line counts tests that ran and nothing else. The exit status is 1 if one failed or none ran.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed;", re.MULTILINE)


def main() -> int:
    """Print the counts of each report, then the line; return an exit status."""
    build = Path(__file__).resolve().parent.parent / "build"
    passed = failed = skipped = 0
    for log in sorted((build / "logs").glob("*.log")):
        for good, bad in CARGO.findall(log.read_text(encoding="utf-8", errors="replace")):
            passed += int(good)
            failed += int(bad)
    for report in sorted((build / "reports").glob("*.xml")):
        suites = list(ET.parse(report).getroot().iter("testsuite"))
        count = {
            name: sum(int(suite.get(name, 0)) for suite in suites)
            for name in ("tests", "failures", "errors", "skipped")
        }
        bad_tests = count["failures"] + count["errors"]
        passed += count["tests"] - bad_tests - count["skipped"]
        failed += bad_tests
        skipped += count["skipped"]
    if skipped:
        print(f"{skipped} skipped (each with its reason in the reports above)")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
