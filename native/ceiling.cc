// The upper bound that scripts/bench compares the ledger with: the work that every rank of any
// ledger of this shape has to do, and nothing else. No votes, no epochs, no recovery, no clients,
// no queues.
//
// A round on each rank, B blocks of T transactions:
//   make    writes the transactions (key-value inserts of the ledger's layout), hashes each one
//           (Merkle leaf) and each block (Merkle head and header), and mines each header
//   gather  MPI_Iallgather of the blocks, which runs while the next round's blocks are made
//   check   hashes every received transaction and block again, compares root and difficulty, and
//           writes each transaction's value to a hash table of 100 000 keys of 23 bytes
//   append  rank 0 hands the round's bytes to a thread that writes them and calls fdatasync. While
//           one fdatasync runs the next rounds collect and share the following one (group commit)
// A transaction counts when every rank applied it and its bytes are on disk; with --no-sync, when
// they are written.
//
// Threads: the main thread makes all MPI calls; rank 0 has the disk thread besides.
#include <fcntl.h>
#include <mpi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "sha256.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kHeaderBytes = 160;      // src/ledger/block.ts
constexpr size_t kRootOffset = 120;
constexpr size_t kNonceOffset = 152;
constexpr size_t kTxnHeaderBytes = 48;    // src/ledger/transaction.ts
constexpr size_t kKeyBytes = 23;          // "user" and 19 digits, as YCSB's
constexpr size_t kKeys = 100'000;
// kKeys at a load of 0.4: probes stay short. Of 64-byte slots and up they fill whole huge pages.
constexpr size_t kTableSlots = size_t{1} << 18;
static_assert(kTableSlots == size_t{1} << (64 - 46), "Table::place keeps the upper bits of a hash");
constexpr size_t kAhead = 12;             // accesses under way at once: what a core keeps in flight
constexpr size_t kLengthBytes = 4;        // before each transaction in a block's body
constexpr size_t kDiskBytesMax = size_t{1} << 30;  // then the file starts over
constexpr size_t kUnwrittenRoundsMax = 64;         // UNRECORDED_ROUNDS_MAX of src/limits.ts

[[noreturn]] void die(int code, const std::string& why) {
  std::fprintf(stderr, "ceiling: %s\n", why.c_str());
  int started = 0;
  MPI_Initialized(&started);
  if (started != 0) MPI_Abort(MPI_COMM_WORLD, code);
  std::exit(code);
}

struct Options {
  size_t txnBytes = 182, valueBytes = 100, blockTxns = 1000, blocksPerRound = 1;
  int bits = 8;
  double seconds = 5;
  std::string dir = ".";
  bool json = false, sync = true;

  size_t blockBytes() const { return kHeaderBytes + blockTxns * (kLengthBytes + txnBytes); }
  size_t roundBytes() const { return blocksPerRound * blockBytes(); }
};

double number(const char* flag, const char* text, double min, double max) {
  char* end = nullptr;
  const double value = text == nullptr ? 0 : std::strtod(text, &end);
  if (text == nullptr || end == text || *end != 0 || !(value >= min && value <= max)) {
    char why[96];
    std::snprintf(why, sizeof why, "%s needs a number from %g to %g", flag, min, max);
    die(2, why);
  }
  return value;
}

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i++) {
    const std::string flag = argv[i];
    if (flag == "--json") {
      o.json = true;
      continue;
    }
    if (flag == "--no-sync") {
      o.sync = false;
      continue;
    }
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    const char* name = flag.c_str();
    if (flag == "--txn-bytes") {
      o.txnBytes = static_cast<size_t>(number(name, value, kTxnHeaderBytes + kKeyBytes, 65536));
    } else if (flag == "--value-bytes") {
      o.valueBytes = static_cast<size_t>(number(name, value, 8, 65536));
    } else if (flag == "--block-txns") {
      o.blockTxns = static_cast<size_t>(number(name, value, 1, 16384));
    } else if (flag == "--blocks-per-round") {
      o.blocksPerRound = static_cast<size_t>(number(name, value, 1, 4096));
    } else if (flag == "--bits") o.bits = static_cast<int>(number(name, value, 0, 40));
    else if (flag == "--seconds") o.seconds = number(name, value, 0.01, 3600);
    else if (flag == "--dir" && value != nullptr) o.dir = value;
    else die(2, "unknown or incomplete flag " + flag +
                    "; flags: --txn-bytes --value-bytes --block-txns --blocks-per-round --bits"
                    " --seconds --dir --no-sync --json");
    i++;
  }
  if (o.txnBytes < kTxnHeaderBytes + kKeyBytes + o.valueBytes) {
    die(2, "a transaction of --txn-bytes has no room for its header, its key and --value-bytes");
  }
  if (o.roundBytes() > (size_t{1} << 30)) die(2, "a round of one rank may take 1 GiB at most");
  return o;
}

// A small generator (SplitMix64) that costs next to nothing: the keys are spread evenly.
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

// Open addressing, linear probes, key and value in the slot. Keys are never taken out. Almost every
// access misses the caches, so callers look a few keys ahead. Where the compiler knows the size of
// the values (kFixed; 0: it does not) the whole program takes a fifteenth less processor time.
template <size_t kFixed>
class Table {
 public:
  explicit Table(size_t valueBytes) : valueBytes_(kFixed > 0 ? kFixed : valueBytes) {
    const size_t bytes = kTableSlots * slotBytes();
    slots_.reset(static_cast<uint8_t*>(std::aligned_alloc(kHugePageBytes, bytes)));
    if (!slots_) die(70, "no memory for the table");
    madvise(slots_.get(), bytes, MADV_HUGEPAGE);  // a refusal only costs time
    std::memset(slots_.get(), 0, bytes);
  }

  static size_t place(const uint8_t* key) {
    uint64_t parts[3] = {};
    std::memcpy(parts, key, kKeyBytes);
    uint64_t hash = (parts[0] ^ (parts[1] * 0x9e3779b97f4a7c15)) + parts[2];
    hash = (hash ^ (hash >> 32)) * 0xbf58476d1ce4e5b9;
    return hash >> 46;
  }

  void comingTo(size_t place) const {
    const uint8_t* slot = at(place);
    for (size_t i = 0; i < slotBytes(); i += kLineBytes) __builtin_prefetch(slot + i, 1);
  }

  void put(size_t place, const uint8_t* key, const uint8_t* value) {
    for (size_t i = place;; i++) {
      uint8_t* slot = at(i % kTableSlots);  // used, key, value
      if (slot[0] == 0) {
        slot[0] = 1;
        std::memcpy(slot + 1, key, kKeyBytes);
      } else if (std::memcmp(slot + 1, key, kKeyBytes) != 0) {
        continue;
      }
      std::memcpy(slot + 1 + kKeyBytes, value, valueBytes());
      return;
    }
  }

 private:
  static constexpr size_t kHugePageBytes = size_t{2} << 20;
  static constexpr size_t kLineBytes = 64;
  struct Free {
    void operator()(uint8_t* slots) const { std::free(slots); }
  };
  size_t valueBytes() const { return kFixed > 0 ? kFixed : valueBytes_; }
  size_t slotBytes() const {
    return (1 + kKeyBytes + valueBytes() + kLineBytes - 1) / kLineBytes * kLineBytes;
  }
  uint8_t* at(size_t place) const { return &slots_[place * slotBytes()]; }

  const size_t valueBytes_;
  std::unique_ptr<uint8_t[], Free> slots_;
};

// Makes and checks blocks. `spans` is the same for every block: all transactions have one size.
class Blocks {
 public:
  Blocks(const Options& options, int rank) : o_(options), random_{uint64_t(rank) * 7919 + 1} {
    for (size_t i = 0; i < o_.blockTxns; i++) {
      spans_.push_back(static_cast<uint32_t>(kHeaderBytes + i * (kLengthBytes + o_.txnBytes) + 4));
      spans_.push_back(static_cast<uint32_t>(o_.txnBytes));
    }
    places_.resize(o_.blockTxns);
    leaves_.resize(o_.blockTxns * baash::kHashBytes);
    template_.resize(o_.txnBytes, 'v');
    std::memset(template_.data(), 0, kTxnHeaderBytes);
    template_[0] = 2, template_[1] = kKeyBytes, template_[2] = 1;
    std::memcpy(&template_[20], &rank, sizeof rank);
  }

  void make(uint8_t* round) {
    for (size_t b = 0; b < o_.blocksPerRound; b++) {
      uint8_t* block = round + b * o_.blockBytes();
      for (size_t i = 0; i < o_.blockTxns; i++) writeTransaction(block + spans_[2 * i]);
      std::memset(block, 0, kHeaderBytes);
      headOf(block, block + kRootOffset);
      const int64_t tries =
          baash::searchPuzzle(block, kHeaderBytes, kNonceOffset, o_.bits, 0, uint64_t{1} << 52);
      if (tries < 0) die(70, "the puzzle has no answer");
    }
  }

  template <class Table>
  void check(const uint8_t* round, Table& table) {
    for (size_t b = 0; b < o_.blocksPerRound; b++) {
      const uint8_t* block = round + b * o_.blockBytes();
      uint8_t root[baash::kHashBytes];
      headOf(block, root);
      if (std::memcmp(root, block + kRootOffset, sizeof root) != 0) {
        die(70, "a root does not match");
      }
      baash::State state;
      uint8_t tail[2 * baash::kBlockBytes];
      baash::initialState(state);
      baash::compress.one(state, block, kHeaderBytes / baash::kBlockBytes);
      const size_t rest = kHeaderBytes % baash::kBlockBytes;
      const size_t blocks = baash::padTail(tail, block + kHeaderBytes - rest, rest, kHeaderBytes);
      baash::compress.one(state, tail, blocks);
      if (!baash::hasLeadingZeroBits(state, o_.bits)) die(70, "a puzzle is not solved");
      for (size_t i = 0; i < o_.blockTxns + kAhead; i++) {
        if (i < o_.blockTxns) {
          places_[i] = Table::place(block + spans_[2 * i] + kTxnHeaderBytes);
          table.comingTo(places_[i]);
        }
        if (i < kAhead) continue;
        const uint8_t* txn = block + spans_[2 * (i - kAhead)];
        table.put(places_[i - kAhead], txn + kTxnHeaderBytes, txn + o_.txnBytes - o_.valueBytes);
      }
    }
  }

 private:
  void headOf(const uint8_t* block, uint8_t* root) {
    baash::hashSpans(block, spans_.data(), o_.blockTxns, true, leaves_.data());
    baash::merkleRoot(leaves_.data(), o_.blockTxns, root);
  }

  void writeTransaction(uint8_t* txn) {
    const auto length = static_cast<uint32_t>(o_.txnBytes);
    std::memcpy(txn - kLengthBytes, &length, kLengthBytes);
    std::memcpy(txn, template_.data(), o_.txnBytes);
    std::memcpy(txn + 28, &sequence_, sizeof sequence_);
    sequence_++;
    uint64_t key = random_.next() % kKeys;
    uint8_t* at = txn + kTxnHeaderBytes;
    std::memcpy(at, "user", 4);
    for (size_t digit = kKeyBytes - 1; digit >= 4; digit--, key /= 10) at[digit] = '0' + key % 10;
    const uint64_t value = random_.next();
    std::memcpy(txn + o_.txnBytes - o_.valueBytes, &value, sizeof value);
  }

  const Options& o_;
  Random random_;
  uint64_t sequence_ = 0;
  std::vector<uint32_t> spans_;
  std::vector<size_t> places_;
  std::vector<uint8_t> leaves_, template_;
};

// Appends rounds in a thread of its own. Owns the bytes from `take` until it hands the buffer back.
class Disk {
 public:
  using Buffer = std::vector<uint8_t>;

  Disk(const Options& options, size_t roundBytes)
      : roundBytes_(roundBytes), sync_(options.sync) {
    path_ = options.dir + "/ceiling-" + std::to_string(getpid()) + ".log";
    file_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (file_ < 0) die(74, "cannot create " + path_ + ": " + std::strerror(errno));
    thread_ = std::thread([this] { run(); });
  }

  // Copies a round; waits while the disk is kUnwrittenRoundsMax rounds behind.
  void take(const uint8_t* round) {
    std::unique_lock hold(mutex_);
    changed_.wait(hold, [&] { return pending_.size() < kUnwrittenRoundsMax; });
    Buffer buffer;
    if (!spare_.empty()) {
      buffer = std::move(spare_.back());
      spare_.pop_back();
    }
    hold.unlock();
    buffer.assign(round, round + roundBytes_);
    hold.lock();
    pending_.push_back(std::move(buffer));
    changed_.notify_all();
  }

  // Waits until all is on disk. Returns how many fdatasyncs that took.
  uint64_t finish() {
    {
      std::lock_guard hold(mutex_);
      ending_ = true;
      changed_.notify_all();
    }
    thread_.join();
    close(file_);
    unlink(path_.c_str());
    return syncs_;
  }

 private:
  void run() {
    std::vector<Buffer> batch;
    size_t written = 0;
    while (true) {
      {
        std::unique_lock hold(mutex_);
        for (Buffer& buffer : batch) spare_.push_back(std::move(buffer));
        batch.clear();
        changed_.wait(hold, [&] { return ending_ || !pending_.empty(); });
        batch.swap(pending_);
        changed_.notify_all();
      }
      if (batch.empty()) return;
      if (written > kDiskBytesMax && ftruncate(file_, written = 0) != 0) fail("cannot truncate");
      for (const Buffer& buffer : batch) {
        for (size_t done = 0; done < buffer.size();) {
          const ssize_t n = pwrite(file_, &buffer[done], buffer.size() - done, written + done);
          if (n < 0) fail("cannot write");
          done += n;
        }
        written += buffer.size();
      }
      if (!sync_) continue;
      if (fdatasync(file_) != 0) fail("cannot sync");
      syncs_++;
    }
  }

  [[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "ceiling: %s %s: %s\n", what, path_.c_str(), std::strerror(errno));
    std::_Exit(74);  // not the MPI thread: mpirun ends the others
  }

  const size_t roundBytes_;
  const bool sync_;
  std::string path_;
  int file_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Buffer> pending_, spare_;
  bool ending_ = false;
  uint64_t syncs_ = 0;
  std::thread thread_;
};

template <size_t kFixed>
void run(const Options& o, int rank, int size) {
  // One round is checked while the next one travels: two buffers of each kind.
  std::vector<uint8_t> mine[2], all[2];
  for (auto& buffer : mine) buffer.resize(o.roundBytes());
  for (auto& buffer : all) buffer.resize(o.roundBytes() * size);
  MPI_Datatype block;  // a count of blocks stays below 2^31 where a count of bytes would not
  MPI_Type_contiguous(static_cast<int>(o.blockBytes()), MPI_BYTE, &block);
  MPI_Type_commit(&block);
  const int blocks = static_cast<int>(o.blocksPerRound);
  MPI_Request travelling = MPI_REQUEST_NULL;
  const auto gather = [&](uint64_t round) {
    uint8_t* from = mine[round % 2].data();
    MPI_Iallgather(from, blocks, block, all[round % 2].data(), blocks, block, MPI_COMM_WORLD,
                   &travelling);
  };

  Blocks work(o, rank);
  Table<kFixed> table(o.valueBytes);
  std::unique_ptr<Disk> disk;
  if (rank == 0) disk = std::make_unique<Disk>(o, o.roundBytes() * size);

  MPI_Barrier(MPI_COMM_WORLD);
  const auto start = Clock::now();
  const auto elapsed = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  // Rank 0 decides the end by its clock; the 4-byte broadcast is what a ledger pays as votes at
  // least.
  uint64_t rounds = 0;
  work.make(mine[0].data());
  gather(0);
  for (bool last = false; !last; rounds++) {
    const uint64_t next = rounds + 1;
    work.make(mine[next % 2].data());
    MPI_Wait(&travelling, MPI_STATUS_IGNORE);
    const uint8_t* received = all[rounds % 2].data();
    int end = rank == 0 && elapsed() >= o.seconds ? 1 : 0;
    MPI_Bcast(&end, 1, MPI_INT, 0, MPI_COMM_WORLD);
    last = end != 0;
    if (!last) gather(next);
    if (disk) disk->take(received);
    for (int r = 0; r < size; r++) work.check(received + r * o.roundBytes(), table);
  }
  MPI_Barrier(MPI_COMM_WORLD);
  const uint64_t syncs = disk ? disk->finish() : 0;
  const double seconds = elapsed();

  if (rank == 0) {
    const double txns = double(rounds) * o.blocksPerRound * o.blockTxns * size;
    const char* format = o.json
        ? "{\"ranks\":%d,\"txnBytes\":%zu,\"valueBytes\":%zu,\"blockTxns\":%zu,"
          "\"blocksPerRound\":%zu,\"bits\":%d,\"seconds\":%.3f,\"rounds\":%llu,"
          "\"fdatasyncs\":%llu,\"txns\":%.0f,\"txnsPerSecond\":%.0f}\n"
        : "ceiling: %d ranks, %zu-byte transactions with values of %zu, %zu a block,"
          " %zu blocks a rank and round, %d bits, %.3f s, %llu rounds, %llu fdatasyncs,"
          " %.0f transactions, %.0f tx/s\n";
    using Count = unsigned long long;
    std::printf(format, size, o.txnBytes, o.valueBytes, o.blockTxns, o.blocksPerRound, o.bits,
                seconds, static_cast<Count>(rounds), static_cast<Count>(syncs), txns,
                txns / seconds);
  }
  MPI_Type_free(&block);
}

}  // namespace

int main(int argc, char** argv) {
  const Options o = parse(argc, argv);
  int provided = 0, rank = 0, size = 0;
  MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  switch (o.valueBytes) {  // those that scripts/bench measures
    case 16: run<16>(o, rank, size); break;
    case 100: run<100>(o, rank, size); break;
    case 256: run<256>(o, rank, size); break;
    case 1024: run<1024>(o, rank, size); break;
    default: run<0>(o, rank, size);
  }
  MPI_Finalize();
  return 0;
}
