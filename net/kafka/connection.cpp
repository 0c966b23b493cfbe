#include "net/kafka/connection.h"

#include <algorithm>

#include "net/kafka/dispatch.h"

namespace sentinel::net::kafka {

namespace {
// So many requests in a row that another shard served alone make a connection move there.
constexpr std::uint32_t kFavourBeforeMove = 16;

/// A frame has to fit the memory that there is for requests.
std::uint32_t frame_bytes_max(const ConnectionBudgets& budgets) {
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(kFrameBytesMax, budgets.requests.total()));
}
}  // namespace

/// A request in flight and its place in the order of answers.
struct Connection::Slot {
  bool done = false;
  std::optional<core::Chain> response;
  std::uint64_t response_bytes = 0;  // Taken from the budget.
};

Connection::Connection(const BrokerConfig& config, consensus::BrokerShard& broker, Socket socket,
                       HostPort endpoint, ConnectionBudgets& budgets,
                       const ConnectionLimits& limits)
    : shard_(broker.shard()),
      config_(config),
      broker_(broker),
      socket_(std::move(socket)),
      endpoint_(std::move(endpoint)),
      budgets_(budgets),
      limits_(limits),
      reader_(shard_, socket_, frame_bytes_max(budgets), &budgets.requests, this),
      slot_done_(shard_),
      slot_freed_(shard_),
      order_{.changed = core::Signal(shard_)},
      scope_(shard_) {}

Connection::~Connection() = default;

void Connection::stop() {
  scope_.cancel();
  polls_.cancel();
  order_.ended = true;
  order_.changed.notify_all();
}

void Connection::too_slow() {
  if (end_.error.empty()) {
    end_.error =
        "it sends or reads too slowly, and others wait for the memory that its messages take";
  }
  stop();
}

core::Task<ConnectionEnd> Connection::run() {
  scope_.spawn(write_responses());
  co_await read_requests();
  reading_ = false;
  slot_done_.notify_all();
  // What was asked before the client ended its side is still answered, but nothing is waited for.
  polls_.cancel();
  if (!end_.error.empty()) stop();
  co_await scope_.join();
  for (const auto& slot : slots_) budgets_.responses.release(slot->response_bytes);
  slots_.clear();
  co_return std::move(end_);
}

core::Task<void> Connection::read_requests() {
  while (!scope_.cancelled()) {
    while (slots_.size() >= limits_.requests_max || (wants_to_move() && !slots_.empty())) {
      const core::Wake wake = co_await slot_freed_.wait({}, scope_.token());
      if (wake != core::Wake::signalled) co_return;
    }
    if (wants_to_move()) {
      if (reader_.empty()) {
        end_.move_to = favoured_shard_;
        co_return;
      }
      favoured_count_ = 0;
    }
    auto frame = co_await reader_.next(limits_.idle, limits_.frame, scope_.token());
    if (!frame) {
      const core::Errc code = frame.error().code;
      // A client may just go; only what it sent wrong is worth a line.
      if (code == core::Errc::corruption) end_.error = frame.error().message;
      if (code != core::Errc::cancelled) stop();
      co_return;
    }
    if (!frame->has_value()) co_return;
    Slot* slot = slots_.emplace_back(std::make_unique<Slot>()).get();
    scope_.spawn(serve(slot, std::move(**frame)));
  }
}

core::Task<void> Connection::serve(Slot* slot, Frame frame) {
  const std::uint64_t request_bytes = frame.reserved;
  RequestContext context{.config = config_,
                         .broker = broker_,
                         .endpoint = endpoint_,
                         .responses = budgets_.responses,
                         .order = order_,
                         .number = next_number_++,
                         .token = core::CancelToken(polls_),
                         .body = {}};
  Reply reply = co_await dispatch(std::move(context), std::move(frame.bytes));
  if (request_bytes > 0) budgets_.requests.release(request_bytes);
  note_served_by(reply);
  if (!reply.close_reason.empty()) {
    if (end_.error.empty()) end_.error = std::move(reply.close_reason);
    stop();
  }
  slot->response = std::move(reply.response);
  slot->response_bytes = reply.reserved;
  slot->done = true;
  slot_done_.notify_all();
}

core::Task<void> Connection::write_responses() {
  for (;;) {
    while (slots_.empty() || !slots_.front()->done) {
      if (slots_.empty() && !reading_) co_return;
      const core::Wake wake = co_await slot_done_.wait({}, scope_.token());
      if (wake != core::Wake::signalled) co_return;
    }
    // All answers that are ready leave in one send.
    core::Chain data;
    std::uint64_t response_bytes = 0;
    while (!slots_.empty() && slots_.front()->done) {
      Slot& slot = *slots_.front();
      if (slot.response.has_value()) {
        for (const core::Bytes& part : slot.response->parts()) data.append(part);
      }
      response_bytes += std::exchange(slot.response_bytes, 0);
      slots_.pop_front();
      ++order_.next;
    }
    slot_freed_.notify_all();
    order_.changed.notify_all();
    const bool sent = co_await send(std::move(data), response_bytes);
    if (!sent) {
      stop();
      co_return;
    }
  }
}

core::Task<bool> Connection::send(core::Chain data, std::uint64_t response_bytes) {
  const core::Deadline deadline = shard_.deadline_in(limits_.send);
  core::Status sent;
  if (response_bytes == 0) {
    sent = co_await socket_.send(std::move(data), deadline, scope_.token());
  } else {
    const FlowBudget::Passage passage(budgets_.responses, *this);
    sent = co_await socket_.send(std::move(data), deadline, scope_.token());
    budgets_.responses.release(response_bytes);
  }
  co_return sent.has_value();
}

void Connection::note_served_by(const Reply& reply) {
  if (!reply.served_by.has_value()) {
    return;
  }
  if (*reply.served_by != favoured_shard_) favoured_count_ = 0;
  favoured_shard_ = *reply.served_by;
  ++favoured_count_;
}

bool Connection::wants_to_move() const {
  return favoured_count_ >= kFavourBeforeMove && favoured_shard_ != shard_.id();
}

}  // namespace sentinel::net::kafka
