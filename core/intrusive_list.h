#pragma once
/// Doubly linked lists whose links live in the elements: linking allocates nothing, and an element
/// that dies leaves its list.

#include "core/assert.h"

namespace sentinel::core {

/// A link. An element that sits in several lists derives from one ListHook a list, told apart by
/// `Tag`.
template <typename Tag>
class ListHook {
 public:
  ListHook() = default;
  ListHook(const ListHook&) = delete;
  ListHook& operator=(const ListHook&) = delete;
  ~ListHook() { unlink(); }

  [[nodiscard]] bool linked() const { return next_ != this; }
  void unlink() {
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = previous_ = this;
  }

 private:
  template <typename, typename>
  friend class IntrusiveList;

  void insert_before(ListHook& position) {
    SENTINEL_ASSERT(!linked());
    previous_ = position.previous_;
    next_ = &position;
    previous_->next_ = this;
    position.previous_ = this;
  }

  ListHook* next_ = this;
  ListHook* previous_ = this;
};

/// A list of elements that derive from ListHook<Tag>. It owns nothing; what is still linked when it
/// dies is unlinked.
template <typename T, typename Tag>
class IntrusiveList {
 public:
  IntrusiveList() = default;
  ~IntrusiveList() {
    while (!empty()) head_.next_->unlink();
  }

  [[nodiscard]] bool empty() const { return !head_.linked(); }
  void push_back(T& element) { static_cast<ListHook<Tag>&>(element).insert_before(head_); }
  [[nodiscard]] T& front() {
    SENTINEL_ASSERT(!empty());
    return static_cast<T&>(*head_.next_);
  }
  T& pop_front() {
    T& element = front();
    static_cast<ListHook<Tag>&>(element).unlink();
    return element;
  }
  /// Calls `visit` for each element; it may unlink the element it is given, but no other.
  template <typename Visit>
  void for_each(Visit visit) {
    for (ListHook<Tag>* hook = head_.next_; hook != &head_;) {
      ListHook<Tag>* next = hook->next_;
      visit(static_cast<T&>(*hook));
      hook = next;
    }
  }

 private:
  ListHook<Tag> head_;
};

}  // namespace sentinel::core
