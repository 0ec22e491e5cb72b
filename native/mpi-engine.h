// The MPI engine: one thread that owns every MPI call (but those that block, which run on helper
// threads with a deadline, mpi-operation.h). JavaScript hands in commands under a mutex; received
// messages and events go back under another one, with ONE notification for everything that is
// pending. It moves bytes and knows no blocks.
#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "mpi-arena.h"
#include "mpi-backoff.h"
#include "mpi-error.h"
#include "mpi-gather.h"
#include "mpi-operation.h"

namespace baash {

// Bytes to send, shared by all destinations of one sendMany. `owned` holds a copy; else `data`
// points into a Uint8Array of JavaScript's that `pin` (opaque here) keeps alive until `users` is
// zero.
struct Payload {
  std::unique_ptr<uint8_t[]> owned;
  const uint8_t* data = nullptr;
  size_t length = 0;
  int users = 0;  // MPI thread only, after it was handed over
  void* pin = nullptr;
};

struct Command {
  enum class Kind {
    Send, Forget, Allgather, Allreduce, Barrier, Regroup, Spawn, Install, Start, Close, Abort
  };
  Kind kind = Kind::Start;
  int to = 0;
  std::vector<int> ranks;  // destinations of a sendMany, members of a regroup or spawn
  std::vector<std::string> words;  // what to spawn
  Payload* payload = nullptr;
  int lane = 0;
  double id = 0;
  double deadlineMs = 0;  // absolute, of the steady clock
  const uint8_t* sendBytes = nullptr;
  uint8_t* receiveBytes = nullptr;
  int count = 0;   // bytes or doubles of a collective, processes to spawn
  int option = 0;  // operation of an allreduce, attempt of a regroup or spawn, code of an abort
};

struct Event {
  enum class Kind {
    Opened, Complete, LaneFailed, Regrouped, Spawned, OperationFailed, Reachable, Error, Closed
  };
  Kind kind = Kind::Error;
  double id = 0;  // of the command; of LaneFailed: how often lanes were installed
  int lane = -1;
  int peer = -1;
  bool flag = false;
  std::string code, call, text;
  // Process numbers. Spawned: the new ones. Reachable: all; those of this machine in `neighbours`.
  std::vector<int> numbers, neighbours;
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
  // Communicators probed, helper threads left behind, bytes of sends to the dead that stay pinned.
  std::atomic<uint64_t> meshesProbed{0}, helpersLeft{0}, bytesAbandoned{0};
};

class Engine {
 public:
  struct Options {
    int lanes = 1;
    uint8_t* arena = nullptr;
    size_t arenaBytes = 0;
    size_t messageBytesMax = 0;
    int ranksOnHost = 0;   // 0: ask MPI
    int doublingFrom = 0;  // lanes of so many members gather by doubling
    std::function<void()> notify;
  };

  // Facts for JavaScript, written before the Opened event and never after. `size`: of the start.
  int rank = -1, size = 0, threadLevel = 0;
  bool spawned = false;
  std::string host, library;
  std::vector<int> processes, ranksOnHost;
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
    double id = 0, deadlineMs = 0;
    bool done = false;
    MPI_Request request = MPI_REQUEST_NULL;
    std::shared_ptr<Gather> gather;  // instead of a request
  };
  struct Lane {
    MPI_Comm communicator = MPI_COMM_NULL;
    std::vector<int> processes;  // by rank in it
    uint64_t gathers = 0;
    std::deque<Collective> queue;
    bool poisoned = false;
  };
  // A message on its way into the arena. Its length is what was reserved until the last frame is
  // known.
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
    int tag;  // how many frames the whole message has, or CONTROL_TAG
    bool last;
  };
  // Another process, or this one. A pair uses the first mesh that both came to share, for ever: so
  // the order of its messages outlives every spawn.
  struct Peer {
    size_t mesh = 0;  // index in meshes_
    int meshRank = 0;
    uint64_t hostHash = 0;
    Doorbell* bell = nullptr;  // nullptr: cannot be rung
    bool forgotten = false;  // nothing more is sent to it
    bool buried = false;     // nothing more is received from it
    std::deque<Frame> outbox;
    size_t outboxBytes = 0;
    int inFlight = 0, syncsInFlight = 0, sendsSinceSync = 0;
    size_t bytesSinceSync = 0;
    bool stalled = false;
    std::deque<Incoming*> inbound;  // oldest first: delivery keeps the order per pair
    Assembly assembly;
  };
  // What a request of `requests_` belongs to: a send, a receive, a control message, or (none) a
  // discarded frame.
  struct Pending {
    int peer;
    Frame frame;         // payload nullptr if it is no send
    bool sync;
    Incoming* incoming;  // nullptr if it is no receive
    std::shared_ptr<ControlMessage> control;
  };

  // mpi-loop.h
  void run();
  void open();
  void openWorld();
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
  void queueFrame(Peer& peer, const Frame& frame);
  bool pump(int to);
  void completeSend(const Pending& pending);
  void finishPayload(Payload* payload);
  bool receiveAll();
  bool probe();
  bool receiveFrame();
  void receiveControl();
  bool beginMessage(Peer& peer);
  void receiveInto(uint8_t* bytes, Incoming* incoming);
  void deliver(Peer& peer);
  // mpi-collective.h
  void startCollective(Command& command);
  bool gathersByDoubling(const Lane& lane, int bytes) const;
  bool isDone(Collective& collective);
  bool testLanes();
  void poison(int lane, const MpiError& error);
  // mpi-mesh.h
  Peer* peerOf(int process);
  void ring(int process);
  bool isRungByAll() const;
  void addMesh(const Mesh& mesh);
  void announce(const Mesh& mesh, const std::vector<int>& newPeers);
  void sendControlToAll(const ControlMessage& message);
  [[noreturn]] void abortJob(int code);
  void sendControl(int to, const ControlMessage& message);
  void onControl(int from, const ControlMessage& message);
  void forget(int process);
  bool buryForgotten();
  template <typename Applies>
  void abandonRequests(Applies applies);
  void chooseProbed();
  // mpi-regroup.h
  void startOperation(Command& command);
  int tagOf(const Operation& operation) const;
  void tryLaunch(const std::shared_ptr<Operation>& operation);
  bool checkOperations();
  void unblockOthers(double now);
  void finishOperation(const std::shared_ptr<Operation>& operation);
  void leaveBehind(Operation& operation);
  void failOperation(Operation& operation, const MpiError& error);
  void failOperationsWith(int process);
  void onSpawnFailed(int root, int64_t attempt);
  void install(double id);

  Options options_;
  Arena arena_;
  Backoff backoff_;

  Doorbell* bell_ = nullptr;  // made before the thread is launched
  std::mutex commandMutex_;
  std::vector<Command> commands_;
  std::atomic<bool> hasCommands_{false};

  std::mutex outputMutex_;
  Output output_;
  bool notified_ = false;  // under outputMutex_

  // All below: the MPI thread only.
  std::vector<Mesh> meshes_;  // all that this process is in, oldest first; none is ever freed
  std::vector<size_t> probed_;  // indices of those that may still carry messages
  size_t probeTurn_ = 0;        // where in `probed_` the next turn of the loop begins
  Directory directory_;         // all meshes that this process has heard of
  size_t directoryTried_ = 0;   // how many it knew when operations were last tried
  Place place_;
  int tagMax_ = 32767;
  // Under way, those of lost lanes for ever: MPI may still write to them.
  std::set<std::shared_ptr<Gather>> gathers_;
  std::vector<Lane> lanes_;  // the last one is the control lane: barrier and allreduce
  std::vector<std::unique_ptr<Peer>> peers_;  // by process number; nullptr: never met
  uint32_t processesMet_ = 0;  // those of `peers_`, this one among them
  struct Burial {
    int process;
    double atMs;
  };
  std::deque<Burial> burials_;  // forgotten processes whose last messages may still come
  // Requests that will never complete: kept, because MPI may still use their buffers.
  std::vector<Pending> abandoned_;
  std::vector<MPI_Request> requests_;
  std::vector<Pending> pending_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
  std::unique_ptr<uint8_t[]> scratch_;  // discarded frames go here
  std::vector<std::shared_ptr<Operation>> operations_;   // under way, or left behind
  std::vector<std::shared_ptr<Operation>> installable_;  // regroups that succeeded
  int operationsUnderWay_ = 0;                           // those that nobody gave up yet
  double unblockAtMs_ = 0;
  double generation_ = 0;                                // how often lanes were installed
  std::vector<Descriptor> ready_;
  std::vector<Event> events_;
  std::vector<Payload*> sent_;
  int collectivesPending_ = 0;
  bool started_ = false, failed_ = false;
  double sendCompletedMs_ = 0;
  // A matched frame that waits for space in the arena; nothing else is received meanwhile.
  struct Held {
    bool present = false;
    MPI_Message message = MPI_MESSAGE_NULL;
    int from = 0, tag = 0;
    size_t length = 0;
  } held_;
  enum class Closing { No, Flushing, Meeting, Finished } closing_ = Closing::No;
  double closeDeadlineMs_ = 0, closeId_ = 0;
  MPI_Request closeRequest_ = MPI_REQUEST_NULL;
};

}  // namespace baash
