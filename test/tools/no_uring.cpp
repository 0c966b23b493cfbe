/// sentinel-no-uring COMMAND [ARGUMENTS...]: runs a command as a container that forbids io_uring
/// would.
///
/// A seccomp filter answers the three io_uring system calls with EPERM, for the command and all it
/// starts. Source: seccomp(2), and the default seccomp profile of container runtimes.

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#endif

constexpr std::uint16_t kLoadWord = BPF_LD | BPF_W | BPF_ABS;
constexpr std::uint16_t kJumpIfEqual = BPF_JMP | BPF_JEQ | BPF_K;
constexpr std::uint16_t kReturn = BPF_RET | BPF_K;

/// False with errno set when the kernel refuses the filter.
bool forbid_io_uring() {
  // Jumps count the instructions to skip: `equal` first, `different` second.
  std::array<sock_filter, 8> program{{
      {kLoadWord, 0, 0, offsetof(seccomp_data, arch)},
      {kJumpIfEqual, 0, 4, kArchitecture},
      {kLoadWord, 0, 0, offsetof(seccomp_data, nr)},
      {kJumpIfEqual, 3, 0, SYS_io_uring_setup},
      {kJumpIfEqual, 2, 0, SYS_io_uring_enter},
      {kJumpIfEqual, 1, 0, SYS_io_uring_register},
      {kReturn, 0, 0, SECCOMP_RET_ALLOW},
      {kReturn, 0, 0, SECCOMP_RET_ERRNO | EPERM},
  }};
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fputs("usage: sentinel-no-uring COMMAND [ARGUMENTS...]\n", stderr);
    return 2;
  }
  if (!forbid_io_uring()) {
    std::fprintf(stderr, "sentinel-no-uring: seccomp filter refused: %s\n", std::strerror(errno));
    return 1;
  }
  ::execvp(arguments[1], arguments + 1);
  std::fprintf(stderr, "sentinel-no-uring: cannot run %s: %s\n", arguments[1],
               std::strerror(errno));
  return 127;
}
