#!/usr/bin/env python3
"""The house rules that neither the compiler nor clang-tidy checks.

    scripts/lint.py [ROOT]

Prints `path:line: message` for each finding and exits with 1 if there is one. Every rule is a function with a
docstring that says why it is there; test/lint_test.py shows each of them firing.
"""

import os
import re
import subprocess
import sys

FLOORS = {"core": 1, "lsm": 2, "consensus": 3, "net": 4, "apps": 5}
CODE_FOLDERS = (*FLOORS, "test", "perf")
ABOVE_ALL = ("test/", "perf/")

FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 70
COLUMNS_MAX = 100

# Where threads meet: the mailboxes, the counter of Bytes and where they go back to, the start of the process, the file thread pool.
MAY_SYNCHRONISE = ("core/mailbox", "core/bytes.h", "core/buffer_pool", "core/runtime", "core/uring", "core/asio", "core/posix_ops",
                   "core/log", "core/frame_allocator", *ABOVE_ALL)
# Where time and chance enter: behind the Ring seam and at the top. Tests get both from a seed.
MAY_ASK_THE_WORLD = ("core/uring", "core/asio", "core/posix_ops", "core/clock", "core/runtime", "core/log",
                     "apps/", "perf/", "test/fuzz/", "test/simulator/main", "test/simulator/runs")
# What a library throws is caught where it is called: Boost.Asio's set-up, Boost.Program_options' bad flags.
MAY_CATCH = ("core/asio", "apps/", "perf/", "test/simulator/main")

ORDER_MARK = "lint: order does not matter"

UNORDERED = re.compile(r"\bunordered_(?:multi)?(?:map|set)\s*<")
SYNCHRONISING = re.compile(
    r"\bstd::(?:\w*mutex|atomic\w*|condition_variable\w*|async|j?thread|future|promise|packaged_task|latch|barrier|"
    r"counting_semaphore|binary_semaphore|once_flag|call_once)\b|\bthread_local\b|\bpthread_(?!sigmask)\w+")
SLEEPING = re.compile(r"\bthis_thread::sleep_\w+|\b(?:clock_)?nanosleep\s*\(|\busleep\s*\(|(?<!\w)::sleep\s*\(")
WORLD = re.compile(
    r"\w+_clock::now\b|\bstd::random_device\b|"
    r"(?<![\w.>])(?:std::|::)?(?:s?rand|getrandom|getentropy|gettimeofday|clock_gettime|arc4random)\s*\(|"
    r"(?<![\w.>:])(?:std::|::)time\s*\(|\btime\s*\(\s*(?:NULL|nullptr|0)\s*\)")
UNFINISHED = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
MACHINE_PATH = re.compile(r"""(?<![\w./~-])/(?:work|home|root|Users|farm|mnt)/\w""")
CONTROL = re.compile(r"\b(if|while|switch|for)\b\s*(?:constexpr\b\s*)?\(")
SCOPE_WORD = re.compile(r"\b(?:namespace|class|struct|union|enum|extern)\b")


class Source:
    """One file: its text as written, and `code`, where comments and literals are blanks of the same length."""

    def __init__(self, path, text):
        self.path = path
        self.text = text
        self.lines = text.split("\n")
        self.code = blank_comments_and_literals(text) if path.endswith((".h", ".cpp")) else text

    @property
    def floor(self):
        return self.path.split("/")[0]

    @property
    def is_header(self):
        return self.path.endswith(".h")

    def line_of(self, position):
        return self.text.count("\n", 0, position) + 1


def blank_comments_and_literals(text):
    token = re.compile(
        r'//(?:[^\n\\]|\\[\s\S])*|/\*[\s\S]*?\*/|'
        r'R"(?P<tag>[^()\s\\]{0,16})\([\s\S]*?\)(?P=tag)"|"(?:[^"\\\n]|\\[\s\S])*"|'
        r"(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'|(?P<include>^[ \t]*\#[ \t]*include[^\n]*)", re.MULTILINE)

    def blank(match):
        if match.group("include") is not None:
            return match.group()
        return re.sub(r"[^\n]", " ", match.group())

    return token.sub(blank, text)


def without_directives(code):
    """`code` with preprocessor lines blanked: their braces need not balance."""
    directive = re.compile(r"^[ \t]*#(?:[^\n\\]|\\\n|\\.)*", re.MULTILINE)
    return directive.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), code)


def closing(code, opening):
    """The position of the bracket that closes the one at `opening`, or the end of `code`."""
    pairs = {"(": ")", "[": "]", "{": "}"}
    open_mark, close_mark = code[opening], pairs[code[opening]]
    depth = 0
    for position in range(opening, len(code)):
        if code[position] == open_mark:
            depth += 1
        elif code[position] == close_mark:
            depth -= 1
            if depth == 0:
                return position
    return len(code)


def matches(source, pattern, message):
    for match in pattern.finditer(source.code):
        yield source.line_of(match.start()), message.format(match.group().rstrip("( "))


# Rules: each takes a Source and yields (line, message).


def includes_point_down(source):
    """core <- lsm <- consensus <- net <- apps; test and perf may use all, nothing uses them."""
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', source.code, re.MULTILINE):
        line, target = source.line_of(match.start()), match.group(1)
        folder = target.split("/")[0]
        if "/" not in target or folder not in CODE_FOLDERS:
            yield line, f'"{target}" is not a path from the root of the repository'
        elif source.floor in FLOORS and FLOORS.get(folder, 9) > FLOORS[source.floor]:
            yield line, f"{source.floor} must not include {folder}: includes point down"


def headers_are_included_once(source):
    """A header without the guard breaks its second includer only."""
    if source.is_header and not re.search(r"^#pragma once$", source.code, re.MULTILINE):
        yield 1, "the header lacks #pragma once"


def headers_leave_names_alone(source):
    """A using directive in a header changes what names mean in every file that includes it."""
    if source.is_header:
        yield from matches(source, re.compile(r"\busing\s+namespace\b"), "`using namespace` in a header")


def shards_share_nothing(source):
    """One thread a shard: whatever needs a lock belongs to a mailbox."""
    if not source.path.startswith(MAY_SYNCHRONISE):
        yield from matches(source, SYNCHRONISING, "{} outside the runtime: shards share nothing, send a message")


def nothing_sleeps(source):
    """A sleep blocks the shard; in a test it is slow and still fails at random."""
    if not source.path.startswith("perf/"):
        yield from matches(source, SLEEPING, "{} blocks the thread: wait for the event or on a timer of the shard")


def nothing_throws(source):
    """Errors are values (core/result.h): a second channel would be forgotten by half of the callers."""
    if not source.path.startswith(MAY_CATCH):
        yield from matches(source, re.compile(r"\bthrow\b|\bcatch\s*\("), "`{}`: errors are values, see core/result.h")


def time_and_chance_come_from_outside(source):
    """A simulated run repeats only if every clock and every random number goes through the seams."""
    if not source.path.startswith(MAY_ASK_THE_WORLD):
        yield from matches(source, WORLD, "{} is not repeatable: use the clock and the random numbers handed in")


def nothing_is_left_for_later(source):
    """Unfinished work is an issue, not a comment."""
    for number, line in enumerate(source.lines, 1):
        word = UNFINISHED.search(line)
        if word:
            yield number, f"{word.group()}: finish it or file an issue"


def paths_are_relative(source):
    """A path of one machine fails on the next."""
    for number, line in enumerate(source.lines, 1):
        path = MACHINE_PATH.search(line)
        if path:
            yield number, f"absolute path of one machine: {path.group()}..."


def lines_fit(source):
    """Two files fit side by side on a screen."""
    for number, line in enumerate(source.lines, 1):
        if len(line) > COLUMNS_MAX and not line.lstrip().startswith("#include"):
            yield number, f"{len(line)} columns, at most {COLUMNS_MAX}"


def comments_are_plain(source):
    """Style 3.10: a banner draws the eye away from the code; a file that needs one holds two concepts."""
    for match in re.finditer(r"^[ \t]*//(?!/)[ \t]*[-=*~#]{3}", source.text, re.MULTILINE):
        yield source.line_of(match.end()), "a banner: a plain comment says the same"


def files_are_short(source):
    """A file that outgrows this holds more than one concept."""
    count = len(source.lines) - 1
    if count > FILE_LINES_MAX:
        yield count, f"{count} lines, at most {FILE_LINES_MAX} a file"


def functions_are_short(source):
    """A function is read on one screen."""
    for opening, end in functions(source.code):
        first, last = source.line_of(opening), source.line_of(end)
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield first, f"a function of {last - first + 1} lines, at most {FUNCTION_LINES_MAX}"


def functions(code):
    """Braces of each outermost function. A heuristic: a brace after parentheses that is inside types and namespaces only."""
    code = without_directives(code)
    position = statement = 0
    while position < len(code):
        mark = code[position]
        if mark == "{":
            head = code[statement:position]
            if not opens_scope(head):
                end = closing(code, position)
                # After these a brace opens an initialiser.
                if "(" in head and not head.rstrip().endswith(("(", ",", "=")):
                    yield position, end
                position = end
            statement = position + 1
        elif mark in ";}":
            statement = position + 1
        position += 1


def opens_scope(head):
    """Whether the brace after `head` opens a namespace or a type: their functions are looked at one by one."""
    head = re.sub(r"\btemplate\s*<[^(){};]*>|\[\[.*?\]\]|\balignas\s*\([^)]*\)", " ", head, flags=re.DOTALL)
    word = SCOPE_WORD.search(head)
    return word is not None and "(" not in head[:word.start()] and "=" not in head[:word.start()]


def suspension_points_are_visible(source):
    """Style 3.7 rule 9: one co_await a statement, none in a condition: compilers err there and readers miss it."""
    code = without_directives(source.code)
    for match in CONTROL.finditer(code):
        opening = match.end() - 1
        # A lambda in the condition would have its own statements; the style has none there.
        awaited = code.find("co_await", opening, closing(code, opening))
        if awaited >= 0:
            yield source.line_of(awaited), f"co_await in the condition of `{match.group(1)}`: give it its statement"
    for match in re.finditer(r"[^;{}]+", code):
        awaits = [found.start() for found in re.finditer(r"\bco_await\b", match.group())]
        # The parts of a for header are statements of their own here; a condition is reported above.
        if len(awaits) > 1:
            line = source.line_of(match.start() + awaits[1])
            yield line, "a second co_await in one statement: one suspension point a statement"


def lambda_coroutines_capture_nothing(source):
    """Style 3.7 rule 3: captures die with the lambda object, which the suspended coroutine outlives."""
    code = without_directives(source.code)
    lambdas = list(find_lambdas(code))
    for match in re.finditer(r"\bco_(?:await|return|yield)\b", code):
        around = [each for each in lambdas if each[2] < match.start() < each[3]]
        if around and around[-1][1]:
            start, capture = around[-1][:2]
            yield source.line_of(start), f"a lambda coroutine captures [{capture}]: pass it as a parameter"


def find_lambdas(code):
    """(start, capture, opening brace, closing brace) of each lambda, outer ones first."""
    after_capture = re.compile(r"\s*(?:<[^(){};]*>\s*)?(?:requires\b[^(){};]*)?([({])")
    for match in re.finditer(r"\[", code):
        start = match.start()
        before = re.search(r"(\w+|\S)?\s*$", code[:start][-80:]).group(1) or ""
        is_keyword = before in ("return", "co_return", "co_await", "co_yield", "else", "case")
        if code[start - 1:start] == "[" or (re.match(r"[\w\])\[]", before) and not is_keyword):
            continue
        end_capture = closing(code, start)
        shape = after_capture.match(code, end_capture + 1)
        if not shape:
            continue
        opening = shape.start(1)
        if code[opening] == "(":
            specifiers = re.compile(r"[^{};()]*(?:\([^(){};]*\)[^{};()]*)*\{").match(code, closing(code, opening) + 1)
            if not specifiers:
                continue
            opening = specifiers.end() - 1
        yield start, " ".join(code[start + 1:end_capture].split()), opening, closing(code, opening)


def tests_are_found(source):
    """test/CMakeLists.txt registers *_test.cpp: a case elsewhere would never run."""
    if source.path.startswith("test/") and not source.path.endswith("_test.cpp"):
        yield from matches(source, re.compile(r"^[ \t]*TEST_CASE\w*\s*\(", re.MULTILINE),
                           "a test case outside a *_test.cpp file is not run")


CODE_RULES = (includes_point_down, headers_are_included_once, headers_leave_names_alone, shards_share_nothing,
              nothing_sleeps, nothing_throws, time_and_chance_come_from_outside, lines_fit, functions_are_short,
              comments_are_plain, suspension_points_are_visible, lambda_coroutines_capture_nothing, tests_are_found)
TEXT_RULES = (nothing_is_left_for_later, paths_are_relative, files_are_short)
TEXT_NAMES = (".h", ".cpp", ".py", ".sh", ".cmake", ".txt", ".md", ".json", ".yml", ".clang-tidy", ".clang-format",
              ".ci/run")


def iteration_is_ordered(source, unordered_names):
    """The order of a hash table differs between libraries and runs: bytes and messages must not follow it."""
    if source.floor not in ("core", "lsm", "consensus", "net"):
        return
    loops = re.compile(r"\bfor\s*\([^;(){}]*[^:]:[^:;]*?(\w+)(?:\(\))?\s*\)|(\w+)\s*(?:\.|->)\s*c?begin\s*\(")
    for match in loops.finditer(source.code):
        name = match.group(1) or match.group(2)
        line = source.line_of(match.start())
        if name in unordered_names and ORDER_MARK not in " ".join(source.lines[max(0, line - 2):line]):
            yield line, f"iterates over the unordered `{name}`: sort it, or say `// {ORDER_MARK}`"


def unordered_names(sources):
    """Names declared as hash tables, by file without its ending: a source also sees its header's members."""
    names = {}
    for source in sources:
        found = names.setdefault(os.path.splitext(source.path)[0], set())
        for match in UNORDERED.finditer(source.code):
            depth, position = 1, match.end()
            while depth and position < len(source.code):
                depth += {"<": 1, ">": -1}.get(source.code[position], 0)
                position += 1
            declared = re.compile(r"[\s&]*(\w+)").match(source.code, position)
            if declared:
                found.add(declared.group(1))
    return names


def check(sources):
    """All findings over `sources` as (path, line, message), in order."""
    findings = []
    names = unordered_names([each for each in sources if each.path.endswith((".h", ".cpp"))])
    for source in sources:
        is_code = source.path.endswith((".h", ".cpp")) and source.floor in CODE_FOLDERS
        for rule in TEXT_RULES + (CODE_RULES if is_code else ()):
            findings += [(source.path, line, message) for line, message in rule(source)]
        if is_code:
            mine = names.get(os.path.splitext(source.path)[0], set())
            findings += [(source.path, line, message) for line, message in iteration_is_ordered(source, mine)]
    return sorted(findings)


def tracked_files(root):
    """What git tracks or would: the work tree without what .gitignore names."""
    listing = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             check=True, capture_output=True, text=True).stdout
    return [path for path in listing.split("\0") if path and os.path.isfile(os.path.join(root, path))]


def main(arguments):
    root = arguments[1] if len(arguments) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    sources = []
    for path in sorted(set(tracked_files(root))):
        if path.endswith(TEXT_NAMES) and not path.startswith(("test/golden/", "test/fuzz/corpus/")):
            with open(os.path.join(root, path), encoding="utf-8") as file:
                sources.append(Source(path, file.read()))
    findings = check(sources)
    for path, line, message in findings:
        print(f"{path}:{line}: {message}")
    print(f"lint: {len(sources)} files, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
