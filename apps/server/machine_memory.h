#pragma once
/// How much memory this process may use at all.

#include <cstdint>

namespace sentinel::apps {

/// The machine's memory, or the limit of the control group that the process runs in, whichever is
/// less; 0 when neither can be found out. Source: proc(5), the kernel's cgroup-v1 and -v2
/// documents.
std::uint64_t machine_memory();

}  // namespace sentinel::apps
