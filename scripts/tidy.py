#!/usr/bin/env python3
"""Runs clang-tidy over the sources that changed since they last passed.

    scripts/tidy.py BUILD_DIRECTORY [PATH...]

BUILD_DIRECTORY holds compile_commands.json. A source whose command, checks, text and included project headers hash
to what passed before is skipped; the record is build/tidy-cache. Without PATHs: all of core, lsm, consensus, net, apps.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
FOLDERS = ("core/", "lsm/", "consensus/", "net/", "apps/")
CACHE = os.path.join(ROOT, "build", "tidy-cache")
TIDY = "clang-tidy-19"


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def project_files(path):
    """`path` and all project headers it reaches, sorted."""
    reached, waiting = set(), [path]
    while waiting:
        current = waiting.pop()
        if current in reached or not os.path.isfile(os.path.join(ROOT, current)):
            continue
        reached.add(current)
        waiting += re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', read(current), re.MULTILINE)
    return sorted(reached)


def fingerprint(path, command, version):
    digest = hashlib.sha256((version + command + read(".clang-tidy")).encode())
    for each in project_files(path):
        digest.update(f"\0{each}\0{read(each)}".encode())
    return digest.hexdigest()


def tidy(path, build, mark):
    """The findings of one source, empty when it is clean; a clean one is recorded under `mark`."""
    if os.path.exists(mark):
        return ""
    result = subprocess.run([TIDY, "--quiet", "-p", build, os.path.join(ROOT, path)],
                            cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        with open(mark, "w", encoding="utf-8") as file:
            file.write(path + "\n")
        return ""
    # stderr counts suppressed warnings of system headers; it matters only when clang-tidy itself failed.
    return (result.stdout or result.stderr).replace(ROOT + "/", "")


def main(arguments):
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    build, chosen = arguments[1], arguments[2:]
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = {os.path.relpath(os.path.realpath(each["file"]), ROOT): each["command"] for each in json.load(file)}
    paths = sorted(path for path in commands if path.startswith(FOLDERS) and (not chosen or path in chosen))
    if not paths:
        print("tidy: nothing to check: no such source in compile_commands.json", file=sys.stderr)
        return 2

    os.makedirs(CACHE, exist_ok=True)
    version = subprocess.run([TIDY, "--version"], capture_output=True, text=True, check=True).stdout
    marks = [os.path.join(CACHE, fingerprint(path, commands[path], version)) for path in paths]
    known = sum(os.path.exists(mark) for mark in marks)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as workers:
        outputs = list(workers.map(tidy, paths, [build] * len(paths), marks))
    # A header's finding is reported by every source that includes it.
    print("\n".join(dict.fromkeys(output.rstrip() for output in outputs if output)))
    failed = sum(bool(output) for output in outputs)
    print(f"tidy: {len(paths)} sources, {known} unchanged, {failed} with findings")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
