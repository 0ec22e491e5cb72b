// The MPI engine: one thread that owns every MPI call (but create_group, which blocks and runs on a
// helper thread with a deadline). JavaScript hands in commands under a mutex; received messages and
// events go back under another one, with ONE notification for everything that is pending.
// It moves bytes and knows no blocks.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "mpi-arena.h"
#include "mpi-backoff.h"
#include "mpi-error.h"

namespace baash {

// Bytes to send, shared by all destinations of one sendMany. `owned` holds a copy; else `data` points
// into a Uint8Array of JavaScript's that `pin` (opaque here) keeps alive until `users` is zero.
struct Payload {
  std::unique_ptr<uint8_t[]> owned;
  const uint8_t* data = nullptr;
  size_t length = 0;
  int users = 0;  // MPI thread only, after it was handed over
  void* pin = nullptr;
};

struct Command {
  enum class Kind { Send, Allgather, Allreduce, Barrier, Regroup, Install, Start, Close, Abort };
  Kind kind = Kind::Start;
  int to = 0;
  std::vector<int> ranks;  // destinations of a sendMany, members of a regroup
  Payload* payload = nullptr;
  int lane = 0;
  double id = 0;
  double deadlineMs = 0;  // absolute, of the steady clock
  const uint8_t* sendBytes = nullptr;
  uint8_t* receiveBytes = nullptr;
  int count = 0;
  int option = 0;  // operation of an allreduce, tag of a regroup, code of an abort
};

struct Event {
  enum class Kind { Opened, Complete, LaneFailed, Regrouped, RegroupFailed, Error, Closed };
  Kind kind = Kind::Error;
  double id = 0;  // of the command; of LaneFailed: how often lanes were installed
  int lane = -1;
  int peer = -1;
  bool flag = false;
  std::string code, call, text;
};

// A message in the arena.
struct Descriptor {
  int from;
  size_t offset;
  size_t length;
};

struct Output {
  std::vector<Descriptor> messages;
  std::vector<Event> events;
  std::vector<Payload*> sent;  // pinned ones, whose pin JavaScript's thread has to drop
};

struct Counters {
  std::atomic<uint64_t> sends{0}, sendBytes{0}, sendsPending{0}, sendBytesPending{0}, sendsDropped{0};
  std::atomic<uint64_t> receives{0}, receiveBytes{0}, oversizeRejected{0}, arenaWaits{0};
  std::atomic<uint64_t> collectives{0}, lanesPoisoned{0}, errors{0}, polls{0}, sleeps{0}, batches{0};
};

class Engine {
 public:
  struct Options {
    int lanes = 1;
    uint8_t* arena = nullptr;
    size_t arenaBytes = 0;
    size_t messageBytesMax = 0;
    int ranksOnHost = 0;  // 0: ask MPI
    std::function<void()> notify;
  };

  // Facts for JavaScript, written before the Opened event and never after.
  int rank = -1, size = 0, threadLevel = 0;
  std::string host, library;
  std::vector<int> ranksOnHost;
  Counters counters;

  explicit Engine(Options options);
  void launch() {
    thread = std::thread([this] { run(); });
  }
  void enqueue(Command&& command);
  void takeOutput(Output& output);
  void release(const std::vector<Descriptor>& messages);
  int lanes() const { return options_.lanes; }
  size_t arenaUsed() { return arena_.used(); }
  std::thread thread;

 private:
  struct Collective {
    double id, deadlineMs;
    bool done = false;
    MPI_Request request = MPI_REQUEST_NULL;
  };
  struct Lane {
    MPI_Comm communicator = MPI_COMM_NULL;
    std::deque<Collective> queue;
    bool poisoned = false;
  };
  // A message on its way into the arena. Its length is what was reserved until the last frame is known.
  struct Incoming {
    Descriptor message;
    int framesUnderWay = 0;
    bool allPosted = false;
    bool rejected = false;
  };
  // A message of several frames of which some are still to come.
  struct Assembly {
    int frames = 0, framesLeft = 0;
    size_t received = 0;
    Incoming* incoming = nullptr;  // nullptr: the message is being discarded
  };
  // What one MPI send carries: all of a message, or a frame of it.
  struct Frame {
    Payload* payload;
    size_t offset, length;
    int frames;  // of the whole message; travels as the tag
    bool last;
  };
  struct Peer {
    std::deque<Frame> outbox;
    size_t outboxBytes = 0;
    int inFlight = 0, syncsInFlight = 0, sendsSinceSync = 0;
    size_t bytesSinceSync = 0;
    bool stalled = false;
    std::deque<Incoming*> inbound;  // oldest first: delivery keeps the order per pair
    Assembly assembly;
  };
  // What a request of `requests_` belongs to: a send, a receive, or (neither) a discarded frame.
  struct Pending {
    int peer;
    Frame frame;         // payload nullptr if it is no send
    bool sync;
    Incoming* incoming;  // nullptr if it is no receive
  };
  // Shared with the helper thread of create_group, which may outlive its deadline.
  struct Regroup {
    double id, deadlineMs;
    int tag;
    std::vector<int> members;
    std::vector<MPI_Comm> communicators;
    MpiError error;
    bool failed = false;
    std::atomic<bool> done{false};
  };

  // mpi-loop.h
  void run();
  void open();
  void loop();
  bool takeCommands();
  void perform(Command& command);
  bool testRequests();
  bool stepClose();
  void checkDeadlines();
  void post(Event&& event);
  void postError(const MpiError& error, int lane, int peer);
  void dispatch();
  // mpi-point-to-point.h
  void send(int to, Payload* payload);
  bool pump(int to);
  void completeSend(const Pending& pending);
  void finishPayload(Payload* payload);
  bool receiveAll();
  bool receiveFrame();
  bool beginMessage(Peer& peer);
  void receiveInto(uint8_t* bytes, Incoming* incoming);
  void deliver(Peer& peer);
  // mpi-collective.h
  void startCollective(Command& command);
  bool testLanes();
  void poison(int lane, const MpiError& error);
  void startRegroup(Command& command);
  bool checkRegroups();
  void install(double id);

  Options options_;
  Arena arena_;
  Backoff backoff_;

  std::mutex commandMutex_;
  std::condition_variable commandArrived_;
  std::vector<Command> commands_;
  std::atomic<bool> hasCommands_{false};
  bool sleeping_ = false;  // under commandMutex_

  std::mutex outputMutex_;
  Output output_;
  bool notified_ = false;  // under outputMutex_

  // All below: the MPI thread only.
  MPI_Comm pointToPoint_ = MPI_COMM_NULL;
  // Open MPI's create_group sends messages with plain tags on its parent: probing there would take them.
  MPI_Comm regroupParent_ = MPI_COMM_NULL;
  std::vector<Lane> lanes_;  // the last one is the control lane: barrier and allreduce
  std::vector<Peer> peers_;
  std::vector<MPI_Request> requests_;
  std::vector<Pending> pending_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
  std::unique_ptr<uint8_t[]> scratch_;  // discarded frames go here
  std::vector<std::shared_ptr<Regroup>> regroups_;   // under way
  std::vector<std::shared_ptr<Regroup>> installable_;  // done, JavaScript was told
  double generation_ = 0;                            // how often lanes were installed
  std::vector<Descriptor> ready_;
  std::vector<Event> events_;
  std::vector<Payload*> sent_;
  int collectivesPending_ = 0;
  bool started_ = false, failed_ = false;
  // A matched frame that waits for space in the arena; nothing else is received meanwhile.
  struct Held {
    bool present = false;
    MPI_Message message = MPI_MESSAGE_NULL;
    int from = 0, frames = 0;
    size_t length = 0;
  } held_;
  enum class Closing { No, Flushing, Meeting, Finished } closing_ = Closing::No;
  double closeDeadlineMs_ = 0, closeId_ = 0;
  MPI_Request closeRequest_ = MPI_REQUEST_NULL;
};

}  // namespace baash
