#include "core/result.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

namespace sentinel::core {

std::string_view to_string(Errc code) {
  switch (code) {
    case Errc::cancelled: return "cancelled";
    case Errc::timed_out: return "timed out";
    case Errc::closed: return "closed";
    case Errc::not_found: return "not found";
    case Errc::already_exists: return "already exists";
    case Errc::not_permitted: return "not permitted";
    case Errc::busy: return "in use";
    case Errc::refused: return "connection refused";
    case Errc::unreachable: return "unreachable";
    case Errc::reset: return "connection reset";
    case Errc::no_space: return "no space left";
    case Errc::out_of_memory: return "out of memory";
    case Errc::too_large: return "too large";
    case Errc::invalid_argument: return "invalid argument";
    case Errc::corruption: return "damaged data";
    case Errc::newer_format: return "newer format";
    case Errc::unsupported: return "unsupported";
    case Errc::io_error: return "I/O error";
  }
  return "unknown error";
}

Errc errc_from_errno(int error_number) {
  switch (error_number) {
    case ECANCELED: return Errc::cancelled;
    case ETIME:
    case ETIMEDOUT: return Errc::timed_out;
    case EBADF:
    case ENOTCONN: return Errc::closed;
    case ENOENT: return Errc::not_found;
    case EEXIST: return Errc::already_exists;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::not_permitted;
    case EBUSY:
    case EWOULDBLOCK:
    case EADDRINUSE: return Errc::busy;
    case ECONNREFUSED: return Errc::refused;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL: return Errc::unreachable;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE: return Errc::reset;
    case ENOSPC:
    case EDQUOT: return Errc::no_space;
    case ENOMEM: return Errc::out_of_memory;
    case EFBIG: return Errc::too_large;
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL: return Errc::invalid_argument;
    case EOPNOTSUPP:
    case ENOSYS: return Errc::unsupported;
    default: return Errc::io_error;
  }
}

Error error_from_errno(int error_number, std::string_view what) {
  return Error{errc_from_errno(error_number),
               fmt::format("{}: {}", what, std::generic_category().message(error_number))};
}

}  // namespace sentinel::core
