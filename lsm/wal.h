#pragma once
/// The write-ahead log of one store: group commit into preallocated, recycled segments.
///
/// One write is in flight; what arrives meanwhile is encoded into the other of two buffers and
/// forms the next write: no timer, and one sync serves every partition of the shard. Segments are
/// files that already have written blocks behind them (zeros, or an older generation), opened with
/// O_DIRECT and O_DSYNC, so that a commit waits for one device write and never for file-system
/// metadata. Where a file system refuses O_DIRECT the segment is written through the page cache,
/// with O_DSYNC all the same.
///
/// A failed write or sync is final: the shard is told, and no append resolves any more (the kernel
/// may have dropped the dirty pages, so a retry that succeeds would prove nothing).
///
/// Segment format: lsm/block_log.h with records  1 header (magic, format version, store id, first
/// sequence)  and  2 write batch. A batch lies within one segment.

#include <array>
#include <coroutine>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/aligned_memory.h"
#include "core/intrusive_list.h"
#include "core/io.h"
#include "core/scope.h"
#include "core/sync.h"
#include "lsm/block_log.h"
#include "lsm/manifest.h"
#include "lsm/write_batch.h"

namespace sentinel::lsm {

struct WalOptions {
  std::string directory;
  std::uint64_t store_id = 0;
  std::uint64_t segment_bytes = std::uint64_t{32} << 20;
  /// The first segment of a start is small, because it is zero-filled before the first append can
  /// happen.
  std::uint64_t first_segment_bytes = std::uint64_t{1} << 20;
  std::size_t buffer_bytes = std::size_t{1} << 20;
};

/// What the log header record says.
struct WalHeader {
  std::uint64_t magic = 0;
  std::uint32_t format_version = kFormatVersion;
  std::uint64_t store_id = 0;
  SequenceNumber first_sequence;

  static void fields(auto& self, auto& visit) {
    visit(self.magic);
    visit(self.format_version);
    visit(self.store_id);
    visit(self.first_sequence);
  }
};
inline constexpr std::uint64_t kWalMagic = 0x534e544c57414c31;  // "SNTLWAL1"
inline constexpr std::uint8_t kWalHeaderRecord = 1;
inline constexpr std::uint8_t kWalBatchRecord = 2;

/// When a batch counts as written.
enum class Durability : std::uint8_t {
  /// Once it is on disk.
  on_disk,
  /// Once the log has taken it, to be written in the background. A crash may lose it, together with
  /// all that came behind it: what survives is always what was written up to some moment. For data
  /// that can be made again; nothing may be acknowledged to a client on it.
  queued,
};

class Wal {
 public:
  struct Segment {
    FileNumber number;
    std::uint64_t size_bytes = 0;
    SequenceNumber last_sequence;  ///< Zero while it holds nothing.
  };

  /// Starts a new segment. `recovered` are those of earlier lives; which hold nothing above
  /// `flushed` are used again. `manifest` outlives the log.
  static core::Task<core::Result<std::unique_ptr<Wal>>> start(core::Shard& shard,
                                                              WalOptions options,
                                                              Manifest& manifest,
                                                              std::vector<Segment> recovered,
                                                              SequenceNumber flushed);
  ~Wal();

  /// Resolves when the batch is on disk, or taken, in the order of the calls; the position in the
  /// log is taken when the call starts. The batch outlives the task, fits() and has its sequence
  /// set. Never resolves after a failure.
  core::Task<void> append(const WriteBatch& batch, Durability durability = Durability::on_disk);
  /// Takes a batch as Durability::queued without waiting; false, and nothing is done, when the
  /// buffer or the segment lacks room for it. Not while an append() waits.
  bool try_append(const WriteBatch& batch);
  /// Resolves when all that was appended before is on disk. Never resolves after a failure.
  core::Task<void> sync();

  /// Stops and resumes taking new writes: the memtables behind are full. What is queued stays
  /// queued.
  void pause() { paused_ = true; }
  void resume();
  /// From now on pause() has no effect: the end is near, and who waits for a write must end.
  void stop_pausing();

  /// Segments of which every entry is at or below `flushed`; the active one is never among them. To
  /// be named in the manifest edit that makes the flush durable, and to be handed to recycle()
  /// after it.
  [[nodiscard]] std::vector<FileNumber> obsolete(SequenceNumber flushed) const;
  void recycle(const std::vector<FileNumber>& numbers);

  /// Segments before the active one that are still needed.
  [[nodiscard]] std::size_t sealed_count() const { return sealed_.size(); }

  /// Writes what is queued, then stops.
  core::Task<void> close();

  /// Whether writes bypass the page cache; false on file systems that refuse it.
  [[nodiscard]] bool direct() const { return direct_; }
  /// Writes made since the start: how well group commit groups.
  [[nodiscard]] std::uint64_t writes() const { return writes_; }
  /// No segment could be made ready, for want of space; it is tried again.
  [[nodiscard]] bool lacks_space() const { return lacks_space_; }
  [[nodiscard]] std::uint64_t written_bytes() const { return written_bytes_; }

 private:
  struct Pending;
  struct PendingTag;
  using PendingList = core::IntrusiveList<Pending, PendingTag>;

  /// One of the two buffers and the appends that are complete once it is written.
  struct Fill {
    Fill(std::span<std::byte> memory, std::int32_t index);
    ~Fill();
    BlockEncoder encoder;
    std::int32_t buffer_index;
    PendingList completes;
    SequenceNumber last_sequence;
    bool opens_segment = false;
  };
  struct Ready {
    Segment segment;
    core::File file;
  };

  Wal(core::Shard& shard, WalOptions options, Manifest& manifest);

  void encode_queued();
  void complete(Pending& encoded);
  bool begin_segment(SequenceNumber first_sequence);
  [[nodiscard]] bool fits_segment(std::size_t record_bytes) const;
  core::Task<void> commit_loop();
  core::Task<core::Status> write_flight();
  core::Task<void> take_next_segment();

  core::Task<core::Status> sort_recovered(const std::vector<Segment>& recovered,
                                          SequenceNumber flushed);
  void trim_free();
  core::Task<void> prepare_loop();
  core::Task<core::Result<bool>> prepare_one(std::uint64_t size_bytes);
  core::Task<core::Status> prefill(FileNumber number, bool paced);
  [[nodiscard]] const Ready* find_ready(FileNumber number) const;
  core::Task<core::Result<core::File>> open_segment_file(std::string path,
                                                         std::uint32_t extra_flags);
  void report(const core::Error& error);
  [[nodiscard]] std::string path(FileNumber number) const {
    return options_.directory + "/" + wal_file_name(number);
  }

  // Constant after start.
  core::Shard& shard_;
  const WalOptions options_;
  Manifest& manifest_;
  bool direct_ = true;

  // The active segment; changed by write_flight() only.
  Segment active_;
  core::File active_file_;
  std::uint32_t write_number_ = 0;
  std::uint64_t next_block_ = 0;

  // Encoding. planned_* describe the segment that `fill_` goes to, which may not be the active one
  // yet.
  core::AlignedMemory memory_;
  std::array<std::unique_ptr<Fill>, 2> fills_;
  Fill* fill_ = nullptr;
  Fill* flight_ = nullptr;
  PendingList queue_;
  SequenceNumber appended_;  // The last one that was given to the log.
  SequenceNumber durable_;   // The last one on disk.
  bool segment_open_ = false;
  std::uint64_t planned_block_ = 0;
  std::uint64_t planned_blocks_max_ = 0;

  // Segments before and after the active one.
  std::deque<Segment> sealed_;
  std::deque<Ready> ready_;
  std::vector<Segment> free_;

  bool paused_ = false;
  bool closing_ = false;
  bool failed_ = false;
  bool lacks_space_ = false;
  bool never_pauses_ = false;
  FileNumber filling_{0};  // The segment that a prefill write is in flight to.
  std::uint64_t writes_ = 0;
  std::uint64_t written_bytes_ = 0;
  core::Signal work_;
  core::Signal written_;
  core::Signal resumed_;
  core::Signal ready_changed_;
  core::TaskScope scope_;
};

}  // namespace sentinel::lsm
