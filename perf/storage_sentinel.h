#pragma once
/// Our engine, as the comparison sees it.

#include <memory>

#include "perf/storage_work.h"

namespace sentinel::perf {

/// `work` outlives the engine.
std::unique_ptr<Engine> make_sentinel(const Work& work);

}  // namespace sentinel::perf
