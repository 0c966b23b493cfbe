#pragma once
/// The disk of one simulated node: a DiskImage, the handles of the running life, latencies and
/// injected faults. It survives the crashes of its node.
///
/// An operation begins when it is submitted and takes effect when it finishes; changes of names
/// take effect at once. Space is charged by file size, in blocks of 4 KiB.

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/ring.h"
#include "test/support/sim_crash.h"
#include "test/support/sim_disk_image.h"
#include "test/support/sim_schedule.h"

namespace sentinel::test {

struct DiskOptions {
  std::uint64_t capacity_bytes = std::uint64_t{1} << 40;
  bool direct = true;  ///< False: opening with open_flags::direct is -EINVAL, as on tmpfs.
  /// How often a read or write of several sectors does less than was asked.
  double short_transfer_probability = 0;
  LatencyModel read{.least = std::chrono::microseconds(5),
                    .mean = std::chrono::microseconds(60),
                    .stall_max = {}};
  LatencyModel write{.least = std::chrono::microseconds(10),
                     .mean = std::chrono::microseconds(80),
                     .stall_max = {}};
  LatencyModel sync{.least = std::chrono::microseconds(50),
                    .mean = std::chrono::microseconds(400),
                    .stall_max = {}};
  LatencyModel metadata{.least = std::chrono::microseconds(2),
                        .mean = std::chrono::microseconds(20),
                        .stall_max = {}};
};

class SimDisk {
 public:
  SimDisk(DiskOptions options, core::Random random, DiskImage image = {});

  /// Free for the test to change at any time.
  DiskOptions options;

  [[nodiscard]] const DiskImage& image() const { return image_; }
  /// For tests; not while the node runs and has files open.
  [[nodiscard]] DiskImage& image() { return image_; }

  /// The `nth` (from 1) later operation of this kind on a path that contains `path` fails with
  /// `error`, a positive errno. A failed sync turns its pages clean: see DiskImage::fail_sync().
  void fail_next(core::OpCode code, std::string path, int nth, int error);
  /// It takes `longer` than it would.
  void delay_next(core::OpCode code, std::string path, int nth, core::Duration longer);
  /// Takes back what has not happened yet to operations of a kind. Whether there was any.
  bool take_back(core::OpCode code);
  [[nodiscard]] std::size_t faults_left() const { return faults_.size(); }
  void clear_faults() { faults_.clear(); }

  /// Called at each write point: after each submission and each completion of an operation that can
  /// change the disk. Points are numbered from 1 over the life of this object.
  using Observer = std::function<void(const DiskImage&, std::uint64_t point)>;
  void set_observer(Observer observer) { observer_ = std::move(observer); }
  [[nodiscard]] std::uint64_t write_points() const { return write_points_; }

  /// The node has crashed: the image is what the policy left, all handles are gone.
  void crash(const CrashPolicy& policy);
  /// The process has ended in peace: its handles are gone, the system keeps its writes.
  void release_handles();

  // For SimRing.

  /// An operation between its submission and its completion.
  struct Ticket {
    core::Duration latency{};
    std::int64_t result = 0;
    InodeId inode = 0;
    std::uint64_t change = 0;  ///< Of a write in flight.
    std::uint64_t sync_until = 0;
    bool write_point = false;
  };
  static bool handles(core::OpCode code);
  /// `handle` is the number that open_file gives to the file.
  Ticket begin(const core::Operation& operation, core::Handle handle);
  /// Fills what the operation asked for and returns its result.
  std::int64_t finish(const Ticket& ticket, const core::Operation& operation);
  [[nodiscard]] bool is_open(core::Handle handle) const { return handles_.contains(handle); }

 private:
  struct OpenFile {
    InodeId inode = 0;
    std::uint32_t flags = 0;
    std::string path;
    bool locked = false;
  };
  struct Fault {
    core::OpCode code;
    std::string path;
    int nth;
    int error = 0;
    core::Duration longer{};
  };
  std::optional<Fault> next_fault(const core::Operation& operation);
  void execute(const core::Operation& operation, core::Handle handle, Ticket& ticket);
  std::int64_t open(const core::Operation& operation, core::Handle handle);
  std::int64_t open_existing(const DiskImage::Place& place, std::uint32_t flags);
  void begin_transfer(const core::Operation& operation, Ticket& ticket);
  void begin_resize(const core::Operation& operation, Ticket& ticket);
  void begin_hole(const core::Operation& operation, Ticket& ticket);
  std::int64_t begin_sync(const core::Operation& operation, std::int64_t error, Ticket& ticket);
  std::int64_t rename(const core::Operation& operation);
  std::int64_t unlink(const core::Operation& operation);
  std::int64_t make_directory(const core::Operation& operation);
  std::int64_t remove_directory(const core::Operation& operation);
  std::int64_t close(core::Handle handle);
  std::int64_t lock(core::Handle handle);
  std::int64_t read(const Ticket& ticket, const core::Operation& operation);
  [[nodiscard]] std::int64_t list(const core::Operation& operation) const;
  [[nodiscard]] std::int64_t stat(const core::Operation& operation) const;
  [[nodiscard]] bool fits(InodeId inode, std::uint64_t size) const;
  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] bool is_in_use(InodeId inode) const;
  void sweep();
  void note_write_point();

  DiskImage image_;
  core::Random random_;
  std::map<core::Handle, OpenFile> handles_;
  std::vector<Fault> faults_;
  Observer observer_;
  std::uint64_t write_points_ = 0;
};

}  // namespace sentinel::test
