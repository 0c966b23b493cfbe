#!/usr/bin/env python3
"""Shows each rule of scripts/lint.py firing on a bad snippet, and keeping quiet on its good counterpart."""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "scripts"))
sys.dont_write_bytecode = True
import lint  # noqa: E402


def findings(path, text, *others):
    sources = [lint.Source(path, text)] + [lint.Source(*other) for other in others]
    return [(line, message) for found, line, message in lint.check(sources) if found == path]


class LintTest(unittest.TestCase):
    def fires(self, path, text, line, words, *others):
        found = findings(path, text, *others)
        self.assertTrue(any(at == line and words in message for at, message in found), f"{words!r} not in {found}")

    def quiet(self, path, text, *others):
        self.assertEqual(findings(path, text, *others), [])

    def test_an_include_may_not_point_up(self):
        self.fires("core/a.cpp", '#include "core/a.h"\n#include "lsm/db.h"\n', 2, "core must not include lsm")
        self.fires("lsm/a.cpp", '#include "consensus/raft.h"\n', 1, "lsm must not include consensus")
        self.fires("net/kafka/a.cpp", '#include "apps/server/server.h"\n', 1, "net must not include apps")
        self.fires("net/a.cpp", '#include "test/support/sim.h"\n', 1, "net must not include test")
        self.fires("core/a.cpp", '#include "a.h"\n', 1, "not a path from the root")
        self.quiet("net/a.cpp", '#include <vector>\n#include "consensus/raft.h"\n#include "core/a.h"\n')
        self.quiet("test/core/a_test.cpp", '#include "net/socket.h"\n#include "test/support/sim.h"\n')
        self.quiet("core/a.cpp", '// #include "lsm/db.h"\n')

    def test_a_header_needs_its_guard(self):
        self.fires("core/a.h", "int f();\n", 1, "#pragma once")
        self.quiet("core/a.h", "#pragma once\nint f();\n")
        self.quiet("core/a.cpp", "int f();\n")

    def test_a_header_has_no_using_directive(self):
        self.fires("core/a.h", "#pragma once\nusing namespace std;\n", 2, "using namespace")
        self.quiet("core/a.h", "#pragma once\nusing std::swap;\n")
        self.quiet("core/a.cpp", "using namespace std::chrono_literals;\n")

    def test_threads_meet_in_the_runtime_only(self):
        for code in ("std::mutex m;", "std::atomic<int> a;", "std::atomic_flag f;", "std::condition_variable c;",
                     "thread_local int x;", "auto f = std::async(g);", "std::shared_mutex m;", "std::thread t;"):
            self.fires("lsm/a.cpp", f"\n{code}\n", 2, "shards share nothing")
            self.quiet("core/mailbox.cpp", f"\n{code}\n")
            self.quiet("test/core/a_test.cpp", f"\n{code}\n")
        self.quiet("apps/server/main.cpp", "pthread_sigmask(SIG_BLOCK, &signals, nullptr);\n")
        self.fires("core/scope.cpp", "std::mutex m;\n", 1, "shards share nothing")
        self.quiet("lsm/a.cpp", '// no std::mutex here\nauto s = "std::mutex";\n')

    def test_nothing_sleeps(self):
        for code in ("std::this_thread::sleep_for(1s);", "std::this_thread::sleep_until(t);", "usleep(5);",
                     "::usleep(5);", "nanosleep(&a, &b);", "::sleep(1);"):
            self.fires("net/a.cpp", code + "\n", 1, "blocks the thread")
            self.fires("test/net/a_test.cpp", code + "\n", 1, "blocks the thread")
            self.quiet("perf/load.cpp", code + "\n")
        self.quiet("core/uring.cpp", "void UringRing::sleep(TimePoint until);\n")
        self.quiet("lsm/wal.cpp", "co_await core::sleep_for(shard_, kPause);\n")

    def test_errors_are_values(self):
        self.fires("lsm/a.cpp", "void f() { throw 1; }\n", 1, "`throw`")
        self.fires("test/lsm/a_test.cpp", "try { f(); } catch (...) {\n}\n", 1, "`catch`")
        self.quiet("apps/server/config.cpp", "try { f(); } catch (const Error& e) {\n}\n")
        self.quiet("lsm/a.cpp", "// nothing may throw\nvoid f() noexcept;\n")

    def test_time_and_chance_come_from_outside(self):
        for code in ("auto t = std::chrono::steady_clock::now();", "auto t = std::chrono::system_clock::now();",
                     "std::random_device d;", "int x = rand();", "int x = std::rand();", "::getrandom(p, 8, 0);",
                     "auto t = time(nullptr);", "auto t = std::time(&now);", "clock_gettime(CLOCK_REALTIME, &t);"):
            self.fires("consensus/a.cpp", code + "\n", 1, "is not repeatable")
            self.fires("test/consensus/a_test.cpp", code + "\n", 1, "is not repeatable")
            self.quiet("core/posix_ops.cpp", code + "\n")
            self.quiet("apps/server/main.cpp", code + "\n")
        self.quiet("consensus/a.cpp", "auto t = clock_.now();\nauto u = batch.time(3);\nTime time(int x);\n")

    def test_nothing_is_left_for_later(self):
        for word in ("TO" + "DO", "FIX" + "ME", "XX" + "X"):
            self.fires("core/a.cpp", f"int x;\n// {word}: later\n", 2, word)
            self.fires("README.md", f"{word}\n", 1, word)
        self.quiet("core/a.cpp", "// XXXL and TODOS are other words\n")

    def test_no_path_of_one_machine(self):
        for path in ("/ho" + "me/me/src", "/wo" + "rk/main", "/ro" + "ot/x"):
            self.fires("scripts/a.sh", f"cd {path}\n", 1, "absolute path of one machine")
        self.quiet("scripts/a.sh", "cd ./work/main; ls /usr/lib /tmp $HOME/work/x\n")

    def test_lines_files_and_functions_have_limits(self):
        self.fires("core/a.cpp", "int " + "x" * 97 + ";\n", 1, "102 columns")
        self.quiet("core/a.cpp", "int " + "x" * 95 + ";\n")
        self.fires("core/a.cpp", "int x;\n" * 1001, 1001, "1001 lines")
        self.quiet("core/a.cpp", "int x;\n" * 1000)
        too_long = "namespace a {\nint f(int a) {\n" + "  g();\n" * 69 + "}\n}\n"
        self.fires("core/a.cpp", too_long, 2, "a function of 71 lines")
        self.quiet("core/a.cpp", too_long.replace("  g();\n", "", 1))
        member = "class A {\n  A() : a_{1}, b_(2) {\n" + "    if (x) { g(); }\n" * 69 + "  }\n};\n"
        self.fires("core/a.h", "#pragma once\n" + member, 3, "a function of 71 lines")
        self.quiet("core/a.cpp", "class A {\n" + "  int f() { return 1; }\n" * 100 + "};\n")
        self.quiet("core/a.cpp", "constexpr int kTable[] = {\n" + "    1,\n" * 100 + "};\n")
        self.quiet("core/a.cpp", "constexpr auto kTable = to_array<int>({\n" + "    1,\n" * 100 + "});\n")

    def test_comments_have_no_banners(self):
        self.fires("core/a.cpp", "int x;\n// --- Files " + "-" * 20 + "\n", 2, "a banner")
        self.fires("core/a.cpp", "  // =======\n", 1, "a banner")
        self.quiet("core/a.cpp", "// -1 when unknown\n/// ----- drawn format -----\n")

    def test_one_co_await_a_statement_and_none_in_a_condition(self):
        for code in ("if (co_await f()) g();", "while (!co_await f()) {", "switch (co_await f()) {",
                     "for (auto x : co_await f()) {", "if (auto x = co_await f(); x) {"):
            self.fires("lsm/a.cpp", f"int a;\n{code}\n", 2, "co_await in the condition")
        self.fires("lsm/a.cpp", "auto x = co_await f(\n    co_await g());\n", 2, "second co_await")
        self.quiet("lsm/a.cpp", "if (x) co_await f();\nauto y = co_await g();\nco_return co_await h();\n")
        self.quiet("lsm/a.cpp", "co_await f();  // co_await in a comment\nif (a) {\n  co_await g();\n}\n")

    def test_a_lambda_coroutine_captures_nothing(self):
        for capture in ("&", "=", "this", "&x", "x", "x = std::move(y)"):
            code = f"void f() {{\n  spawn([{capture}](int a) -> Task<void> {{ co_await g(a); }});\n}}\n"
            self.fires("lsm/a.cpp", code, 2, f"captures [{capture}]")
        self.fires("test/lsm/a_test.cpp", "auto f = [&] { co_return; };\n", 1, "captures [&]")
        self.fires("lsm/a.cpp", "auto f = [&x]() mutable -> Task<int> {\n  co_return 1;\n};\n", 1, "captures [&x]")
        self.quiet("lsm/a.cpp", "auto f = [](Db& db) -> Task<int> {\n  co_return db.size();\n};\n")
        self.quiet("lsm/a.cpp", "auto f = [&](int a) { return a + x; };\nco_await g(a[1], b);\n")
        self.quiet("lsm/a.cpp", "auto f = [](int a) -> Task<int> {\n  sort([&](int b) { return a < b; });\n"
                                "  co_return a;\n};\n")
        self.quiet("lsm/a.cpp", "Task<void> f() {\n  auto [a, b] = g();\n  for (auto& [k, v] : m) {\n"
                                "    co_await h(k);\n  }\n}\n")

    def test_nothing_follows_the_order_of_a_hash_table(self):
        declared = "std::unordered_map<int, std::vector<int>> topics_;\n"
        loop = "for (const auto& [id, topic] : topics_) {\n}\n"
        self.fires("net/a.cpp", declared + loop, 2, "unordered `topics_`")
        self.fires("net/a.cpp", loop, 1, "unordered `topics_`", ("net/a.h", "#pragma once\n" + declared))
        self.fires("net/a.cpp", declared + "auto it = topics_.begin();\n", 2, "unordered `topics_`")
        self.quiet("net/a.cpp", declared + "// lint: order does not matter\n" + loop)
        self.quiet("net/a.cpp", declared + loop.replace("{\n", "{  // lint: order does not matter\n"))
        self.quiet("net/a.cpp", "std::map<int, int> topics_;\n" + loop)
        self.quiet("apps/cli/a.cpp", declared + loop)

    def test_a_test_case_is_where_it_is_found(self):
        self.fires("test/lsm/wal.cpp", 'TEST_CASE("a") {\n}\n', 1, "not run")
        self.quiet("test/lsm/wal_test.cpp", 'TEST_CASE("a") {\n}\n')

    def test_literals_and_comments_are_not_code(self):
        self.quiet("lsm/a.cpp", 'auto a = R"(throw "x" { )";\n/* catch (int) {\n */\nauto n = 1\'000\'000;\n')
        self.fires("lsm/a.cpp", "auto c = '\"';\nthrow 1;\nauto d = '\"';\n", 2, "`throw`")

    def test_the_program_reads_the_work_tree_and_says_where(self):
        with tempfile.TemporaryDirectory() as tree:
            subprocess.run(["git", "init", "-q", tree], check=True)
            os.makedirs(os.path.join(tree, "core"))
            self.write(tree, "core/a.cpp", "int x;\nthrow 1;\n")
            self.write(tree, ".gitignore", "ignored/\n")
            os.makedirs(os.path.join(tree, "ignored"))
            self.write(tree, "ignored/b.cpp", "throw 1;\n")
            result = self.run_lint(tree)
            self.assertEqual(result.returncode, 1)
            self.assertIn("core/a.cpp:2: `throw`", result.stdout)
            self.assertNotIn("ignored", result.stdout)
            self.write(tree, "core/a.cpp", "int x;\n")
            self.assertEqual(self.run_lint(tree).returncode, 0)

    @staticmethod
    def write(tree, path, text):
        with open(os.path.join(tree, path), "w", encoding="utf-8") as file:
            file.write(text)

    @staticmethod
    def run_lint(tree):
        program = os.path.join(ROOT, "scripts", "lint.py")
        return subprocess.run([sys.executable, program, tree], capture_output=True, text=True, check=False)


if __name__ == "__main__":
    unittest.main()
