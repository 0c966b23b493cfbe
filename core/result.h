#pragma once
/// Errors that are part of normal work. See core/assert.h for the other two kinds (broken
/// environment, bug).

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace sentinel::core {

/// What went wrong, as far as a caller can act on it.
enum class Errc : std::uint8_t {
  cancelled,  ///< The owner of the work asked it to end.
  timed_out,  ///< The deadline passed.
  closed,     ///< The object or the other side is closed.
  not_found,
  already_exists,
  not_permitted,
  busy,         ///< Held by another process: a locked directory, a bound address.
  refused,      ///< Nobody listens at that address.
  unreachable,  ///< No route, or a name that does not resolve.
  reset,        ///< The connection broke.
  no_space,
  out_of_memory,
  too_large,
  invalid_argument,
  corruption,    ///< Stored or received bytes fail their checks.
  newer_format,  ///< Written by a later release of this program.
  unsupported,
  io_error,  ///< Any other failure of the operating system.
};

std::string_view to_string(Errc code);

/// A code for programs and a sentence for people: what failed, on which object. The message may be
/// empty on hot paths.
struct Error {
  Errc code = Errc::io_error;
  std::string message;
};

template <typename T, typename E = Error>
using Result = std::expected<T, E>;
using Status = Result<void>;

inline std::unexpected<Error> fail(Errc code, std::string message = {}) {
  return std::unexpected(Error{code, std::move(message)});
}

/// Translates an errno value. `what` names the operation and its object: "open ./data/LOCK".
Error error_from_errno(int error_number, std::string_view what);
Errc errc_from_errno(int error_number);

}  // namespace sentinel::core

#define SENTINEL_CONCAT_INNER(a, b) a##b
#define SENTINEL_CONCAT(a, b) SENTINEL_CONCAT_INNER(a, b)

/// SENTINEL_TRY(name, expression): returns the error of `expression`, or binds its value to a new
/// variable.
#define SENTINEL_TRY_IMPL(result, name, keyword, ...)              \
  auto result = __VA_ARGS__;                                       \
  if (!result) keyword std::unexpected(std::move(result).error()); \
  auto name = std::move(*result)
#define SENTINEL_TRY(name, ...) \
  SENTINEL_TRY_IMPL(SENTINEL_CONCAT(try_result_, __LINE__), name, return, __VA_ARGS__)
#define SENTINEL_CO_TRY(name, ...) \
  SENTINEL_TRY_IMPL(SENTINEL_CONCAT(try_result_, __LINE__), name, co_return, __VA_ARGS__)

/// The same for a Status.
#define SENTINEL_CHECK_IMPL(result, keyword, ...) \
  auto result = __VA_ARGS__;                      \
  if (!result) keyword std::unexpected(std::move(result).error())
#define SENTINEL_CHECK(...) \
  SENTINEL_CHECK_IMPL(SENTINEL_CONCAT(check_result_, __LINE__), return, __VA_ARGS__)
#define SENTINEL_CO_CHECK(...) \
  SENTINEL_CHECK_IMPL(SENTINEL_CONCAT(check_result_, __LINE__), co_return, __VA_ARGS__)
