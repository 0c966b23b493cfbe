#pragma once
/// Cancellation is a request: the waiting operation ends early with Errc::cancelled, and its owner
/// then unwinds in order.

#include "core/intrusive_list.h"

namespace sentinel::core {

struct CancelTag;

/// What a wait registers with a source. Unlinks itself when the wait ends another way.
class CancelHook : public ListHook<CancelTag> {
 protected:
  using OnCancel = void (*)(CancelHook&);
  OnCancel on_cancel_ = nullptr;

 private:
  friend class CancelSource;
};

/// Owned by whoever may end the work. Outlives every token taken from it.
class CancelSource {
 public:
  void cancel() {
    cancelled_ = true;
    while (!hooks_.empty()) {
      CancelHook& hook = hooks_.pop_front();
      hook.on_cancel_(hook);
    }
  }
  [[nodiscard]] bool cancelled() const { return cancelled_; }

 private:
  friend class CancelToken;
  bool cancelled_ = false;
  IntrusiveList<CancelHook, CancelTag> hooks_;
};

/// A reference to a source, or to none. Passed by value.
class CancelToken {
 public:
  CancelToken() = default;
  explicit CancelToken(CancelSource& source) : source_(&source) {}
  [[nodiscard]] bool cancelled() const { return source_ != nullptr && source_->cancelled(); }
  void register_hook(CancelHook& hook) const {
    if (source_ != nullptr) source_->hooks_.push_back(hook);
  }

 private:
  CancelSource* source_ = nullptr;
};

}  // namespace sentinel::core
