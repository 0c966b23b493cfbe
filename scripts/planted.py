#!/usr/bin/env python3
"""Plants bugs in a copy of the sources, one at a time, and counts the seeds that sentinel-sim needs to find each.

    scripts/planted.py                     all bugs of test/simulator/planted_bugs.txt
    scripts/planted.py vote_twice ...      these
    scripts/planted.py --list              what there is
    scripts/planted.py --check             whether each bug still finds its place in the sources; builds nothing

The copy is build/planted/source; its sentinel-sim is built once, with all bugs behind a switch, and has to pass without
any first. A seed that fails is run again without the bug, and counts only if it passes then. A line a bug says how many
seeds each trial took and what told of it; the last lines, how many bugs were caught, the median number of seeds, and
which bugs were the hardest. Exit code 0: all were caught.

One seed with a bug: SENTINEL_PLANTED=NUMBER build/planted/build/bin/sentinel-sim --seed SEED; --list has the numbers.
"""

import argparse
import dataclasses
import math
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys

import lint

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIST = "test/simulator/planted_bugs.txt"
COPY = ROOT / "build" / "planted" / "source"
BUILD = ROOT / "build" / "planted" / "build"
SIMULATOR = BUILD / "bin" / "sentinel-sim"
SWITCH = "core/planted.h"
SWITCH_TEXT = """#pragma once
// Made by scripts/planted.py.

#include <cstdlib>

namespace sentinel {

inline const int planted_bug = [] {
  const char* number = std::getenv("SENTINEL_PLANTED");
  return number == nullptr ? 0 : std::atoi(number);
}();

/// Whether the bug of this number is the one that is switched on.
inline bool planted(int bug) { return planted_bug == bug; }

}  // namespace sentinel
"""

# First seeds of trials lie so far apart.
TRIAL_SEEDS = 1_000_000
# A bug may make a run take all memory there is; what is right needs far less.
MEMORY_BYTES_MAX = 8 << 30
FAILURE_COLUMNS = 100


class Failure(Exception):
    """Something that is no bug of the list: the run ends."""


@dataclasses.dataclass
class Bug:
    line: int  # Of its block in the list.
    name: str = ""
    path: str = ""
    sentence: str = ""
    before: list = dataclasses.field(default_factory=list)
    after: list = dataclasses.field(default_factory=list)
    number: int = 0  # What switches it on.

    def places(self, text):
        """Where `before` stands in a file: the indentation of its lines does not matter."""
        lines = [re.escape(line.strip()) for line in self.before]
        return [match.span() for match in re.finditer(r"\n[ \t]*".join(lines), text)]

    def planted(self, indentation):
        lines = [re.sub(r"\bPLANTED\b", f"sentinel::planted({self.number})", line) for line in self.after]
        return f"\n{indentation}".join(lines)


def read_list(text):
    bugs, bug = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("#"):
            continue
        if not line:
            bug = None
        elif bug is None:
            name, _, path = line.partition(" ")
            bug = Bug(number, name, path, number=len(bugs) + 1)
            bugs.append(bug)
        elif line.startswith("- "):
            bug.before.append(line[2:])
        elif line.startswith("+ "):
            bug.after.append(line[2:])
        else:
            bug.sentence = f"{bug.sentence} {line}".strip()
    return bugs


def sources():
    """What is needed to build, by path."""
    wanted = (".h", ".cpp", "CMakeLists.txt", "CMakePresets.json")
    paths = [path for path in lint.tracked_files(ROOT) if path.endswith(wanted)]
    return {path: (ROOT / path).read_text(encoding="utf-8") for path in paths}


def check(bugs, texts):
    """What keeps bugs from being planted, as (line of the list, sentence)."""
    findings = []
    taken = {}  # Places in each file.
    names = set()
    for bug in bugs:
        found = []
        if not re.fullmatch(r"[a-z][a-z0-9_]*", bug.name) or bug.name in names:
            found.append("not a name, or not the first one of that name")
        names.add(bug.name)
        if not bug.sentence or not bug.before or not any(re.search(r"\bPLANTED\b", line) for line in bug.after):
            found.append("lacks its sentence, what it replaces, or PLANTED in what it replaces it with")
        places = bug.places(texts[bug.path]) if bug.path in texts and bug.before else []
        if bug.path not in texts:
            found.append(f"there is no {bug.path}")
        elif len(places) != 1:
            found.append(f"its text occurs {len(places)} times in {bug.path}, and has to once")
        elif any(places[0][0] < end and begin < places[0][1] for begin, end in taken.get(bug.path, [])):
            found.append("its text overlaps that of another bug")
        taken.setdefault(bug.path, []).extend(places)
        findings += [(bug.line, f"{bug.name}: {sentence}") for sentence in found]
    return findings


def plant(bugs, texts):
    """The sources with all bugs in them, and the switch."""
    planted = {**texts, SWITCH: SWITCH_TEXT}
    for path in {bug.path for bug in bugs}:
        text = texts[path]
        # From the end on, so that the places before stay.
        edits = [(*bug.places(text)[0], bug) for bug in bugs if bug.path == path]
        for begin, end, bug in sorted(edits, key=lambda edit: edit[0], reverse=True):
            indentation = re.match(r"[ \t]*", text[text.rfind("\n", 0, begin) + 1:]).group()
            text = text[:begin] + bug.planted(indentation) + text[end:]
        planted[path] = f'#include "{SWITCH}"\n' + text
    return planted


def write_copy(texts):
    """Leaves alone what is as it should be: it is not built again."""
    for path in [each for each in COPY.rglob("*") if each.is_file()]:
        if str(path.relative_to(COPY)) not in texts:
            path.unlink()
    for path, text in texts.items():
        copy = COPY / path
        if copy.is_file() and copy.read_text(encoding="utf-8") == text:
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, encoding="utf-8")


def build(jobs):
    print(f"Building {SIMULATOR.relative_to(ROOT)} ...", flush=True)
    commands = (["cmake", "--preset", "release", "-B", BUILD],
                ["cmake", "--build", BUILD, "--target", "sentinel-sim", "--parallel", str(jobs), "--", "--quiet"])
    for command in commands:
        done = subprocess.run(command, cwd=COPY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failure(f"{done.stdout[-4000:]}\nThe sources with the bugs in them can't be built; see above.")


def simulate(bug_number, first, seeds, jobs):
    """The first seed that fails and what it says, or nothing."""
    command = [SIMULATOR, "--first", str(first), "--seeds", str(seeds), "--jobs", str(jobs), "--failures", "1",
               "--minimise", "0", "--twice", "0"]
    environment = {**os.environ, "SENTINEL_PLANTED": str(bug_number)}
    done = subprocess.run(command, cwd=BUILD, env=environment, capture_output=True, text=True, errors="replace",
                          check=False)
    # Those that were under way when one failed were let end.
    failed = [(int(match.group(1)), match.group(2)) for match in
              re.finditer(r"^seed (\d+): (.*(?:\n  (?!replay: ).*)*)", done.stdout, re.MULTILINE)]
    if (done.returncode, bool(failed)) not in ((0, False), (1, True)):
        raise Failure(f"sentinel-sim ends with {done.returncode}:\n{done.stdout}{done.stderr}")
    if not failed:
        return None
    seed, text = min(failed)
    return seed, in_short(text, done.stderr)


def in_short(failure, errors):
    """What told of the bug, on one line."""
    first, *findings = failure.splitlines()
    if first.startswith("history: "):
        first = f"history: {findings[0].strip()}" if findings else first
    asserted = re.search(r"assertion failed at \S*?((?:\w+/)?\w+\.\w+:\d+: .*)", errors)
    if first.startswith("crash: ") and asserted:
        first = f"crash: {asserted.group(1)}"
    return first if len(first) <= FAILURE_COLUMNS else first[:FAILURE_COLUMNS - 3] + "..."


class Hunt:
    def __init__(self, options):
        self.options = options
        self.unclean = {}  # Seeds that fail without a bug, and how.

    def trial(self, bug, first):
        """How many seeds it takes, and how the last one fails; more than there may be when none does."""
        end = first + self.options.seeds
        begin = first
        while begin < end:
            found = simulate(bug.number, begin, end - begin, self.options.jobs)
            if found is None:
                break
            seed, text = found
            alone = simulate(0, seed, 1, 1)
            if alone is None:
                return seed - first + 1, text
            self.unclean[seed] = alone[1]
            begin = seed + 1
        return math.inf, None

    def run(self, bugs):
        """The median number of seeds of each bug."""
        medians = {}
        for bug in bugs:
            print(f"{bug.name:28}", end="", flush=True)
            counts, told = [], "not caught"
            for number in range(self.options.trials):
                count, text = self.trial(bug, self.options.first + number * TRIAL_SEEDS)
                told = text if text and not any(each < math.inf for each in counts) else told
                counts.append(count)
                print(f"{shown(count):>7}", end="", flush=True)
            print(f"  {told}", flush=True)
            # Caught is what any trial has found; how fast, all of them say.
            if min(counts) < math.inf:
                medians[bug.name] = statistics.median_low(counts)
        return medians


def shown(count):
    return "-" if count == math.inf else f"{count:g}"


def report(bugs, medians):
    missed = [bug.name for bug in bugs if bug.name not in medians]
    hardest = sorted(medians.items(), key=lambda each: each[1], reverse=True)[:5]
    print(f"caught {len(medians)} of {len(bugs)}")
    if medians:
        print(f"median of seeds: {shown(statistics.median_low(medians.values()))}")
        print(f"hardest: {', '.join(f'{name} {shown(count)}' for name, count in hardest)}")
    if missed:
        print(f"not caught: {', '.join(missed)}")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="only these bugs")
    add("--seeds", type=int, default=2000, metavar="N", help="how many a trial may take (default: 2000)")
    add("--trials", type=int, default=3, metavar="N", help="how often each bug is looked for (default: 3)")
    add("--clean", type=int, default=100, metavar="N", help="seeds that have to pass without a bug (default: 100)")
    add("--first", type=int, metavar="SEED", help="the first seed (default: by chance)")
    add("--jobs", type=int, default=os.cpu_count(), metavar="N", help="runs at the same time (default: one a core)")
    add("--list", action="store_true", help="print number, name, file and sentence of each bug")
    add("--check", action="store_true", help="only look whether each bug finds its place")
    options = parser.parse_args()
    if options.first is None:
        options.first = random.SystemRandom().randrange(1 << 32) * 1000
    return options


def main():
    options = arguments()
    bugs = read_list((ROOT / LIST).read_text(encoding="utf-8"))
    if options.list:
        for bug in bugs:
            print(f"{bug.number:3} {bug.name:28} {bug.path}\n    {bug.sentence}")
        return 0
    texts = sources()
    findings = check(bugs, texts)
    for line, sentence in findings:
        print(f"{LIST}:{line}: {sentence}")
    if options.check or findings:
        print(f"planted: {len(bugs)} bugs, {len(findings)} findings")
        return 1 if findings else 0
    unknown = set(options.names) - {bug.name for bug in bugs}
    if unknown:
        raise Failure(f"There is no bug {', '.join(sorted(unknown))}; see --list.")

    write_copy(plant(bugs, texts))
    build(options.jobs)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    print(f"first seed {options.first}", flush=True)
    dirty = simulate(0, options.first, options.clean, options.jobs) if options.clean > 0 else None
    if dirty is not None:
        raise Failure(f"Seed {dirty[0]} fails without a bug: {dirty[1]}")
    chosen = [bug for bug in bugs if not options.names or bug.name in options.names]
    hunt = Hunt(options)
    medians = hunt.run(chosen)
    report(chosen, medians)
    for seed, text in hunt.unclean.items():
        print(f"seed {seed} fails without a bug, too: {text}")
    return 0 if len(medians) == len(chosen) and not hunt.unclean else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        print(f"planted: {failure}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
