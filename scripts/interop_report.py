"""Puts the tables of a run into docs/interop.md, between its two marks.

    scripts/interop_report.py REPORT RECORDS"""

import datetime
import os
import pathlib
import platform
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured -->\n", "<!-- end -->"


def versions():
    """Client, library and version, from the table of tests/clients/README.md."""
    text = (ROOT / "tests/clients/README.md").read_text().split("## Command line")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \|", text, re.M)
    return "; ".join(f"{name}: {library.strip()}" for name, library in rows)


def broker():
    jars = sorted((ROOT / ".clients/kafka/libs").glob("kafka_2.13-*.jar"))
    return jars[0].stem if jars else "unknown"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    tables, records = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2]
    cpu = re.search(r"model name\s*:\s*(.+)", pathlib.Path("/proc/cpuinfo").read_text())
    head = (f"`scripts/interop {records}`, {datetime.date.today()}, {platform.system()} {platform.release()}, "
            f"{os.cpu_count()} cores ({cpu.group(1) if cpu else platform.machine()}), load average "
            f"{os.getloadavg()[2]:.1f}. Broker: {broker()}. Clients: {versions()}.\n")
    path = ROOT / "docs/interop.md"
    text = path.read_text()
    start, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    path.write_text(f"{text[:start]}\n{head}\n{tables}\n{text[end:]}")


if __name__ == "__main__":
    main()
