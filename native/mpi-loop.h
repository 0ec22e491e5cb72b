// The life of the MPI thread: open, loop, close; and the hand-over to and from JavaScript.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "mpi-collective.h"
#include "mpi-point-to-point.h"
#include "mpi-keeper.h"
#include "mpi-mesh.h"
#include "mpi-regroup.h"

namespace baash {

inline Engine::Engine(Options options) : options_(std::move(options)) {
  arena_.reset(options_.arenaBytes);
  bell_ = Doorbell::make(place_.address);
  scratch_.reset(new uint8_t[FRAME_BYTES_MAX]);
}

// ---- JavaScript's thread ----

inline void Engine::enqueue(Command&& command) {
  {
    std::lock_guard<std::mutex> lock(commandMutex_);
    commands_.push_back(std::move(command));
    hasCommands_.store(true, std::memory_order_release);  // pairs with the load in takeCommands
  }
  bell_->ring();
}

inline void Engine::takeOutput(Output& output) {
  std::lock_guard<std::mutex> lock(outputMutex_);
  std::swap(output, output_);
  notified_ = false;
}

inline void Engine::release(const std::vector<Descriptor>& messages) { arena_.giveAll(messages); }

// ---- the MPI thread ----

inline void Engine::post(Event&& event) {
  if (event.kind == Event::Kind::Error || event.kind == Event::Kind::LaneFailed) counters.errors++;
  events_.push_back(std::move(event));
}

inline void Engine::postError(const MpiError& error, int lane, int peer) {
  Event event;
  event.lane = lane;
  event.peer = peer;
  event.code = error.code;
  event.call = error.call;
  event.text = error.text;
  post(std::move(event));
}

// Hands over all that is pending with at most one notification under way.
inline void Engine::dispatch() {
  if (ready_.empty() && events_.empty() && sent_.empty()) return;
  bool notify;
  {
    std::lock_guard<std::mutex> lock(outputMutex_);
    auto append = [](auto& to, auto& from) {
      to.insert(to.end(), std::make_move_iterator(from.begin()),
                std::make_move_iterator(from.end()));
    };
    counters.receives += ready_.size();
    for (const Descriptor& message : ready_) counters.receiveBytes += message.length;
    append(output_.messages, ready_);
    append(output_.events, events_);
    append(output_.sent, sent_);
    notify = !notified_;
    notified_ = true;
  }
  ready_.clear();
  events_.clear();
  sent_.clear();
  if (!notify) return;
  counters.batches++;
  options_.notify();
}

// Names are what tells machines apart, at the start and for those who come later alike.
inline uint64_t hashOf(const std::string& name) {
  uint64_t hash = HASH_SEED;
  for (const char byte : name) hash = mixed(hash, static_cast<uint8_t>(byte));
  return hash;
}

inline void Engine::open() {
  startKeeper();
  prepareOpenMpi();
  int initialized = 0;
  CHECK(MPI_Initialized(&initialized));
  if (!initialized) CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &threadLevel));
  registerPause();
  returnErrors(MPI_COMM_WORLD);
  returnErrors(MPI_COMM_SELF);
  char text[std::max(MPI_MAX_PROCESSOR_NAME, MPI_MAX_LIBRARY_VERSION_STRING)];
  int length = 0, found = 0;
  CHECK(MPI_Get_processor_name(text, &length));
  host.assign(text, static_cast<size_t>(length));
  CHECK(MPI_Get_library_version(text, &length));
  library.assign(text, static_cast<size_t>(length));
  int* tagMax = nullptr;
  CHECK(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &tagMax, &found));
  if (found) tagMax_ = *tagMax;

  place_.address.hostHash = hashOf(host);
  lanes_.resize(static_cast<size_t>(options_.lanes) + 1);
  MPI_Comm parents = MPI_COMM_NULL;
  CHECK(MPI_Comm_get_parent(&parents));
  spawned = parents != MPI_COMM_NULL;
  if (spawned) {
    for (Lane& lane : lanes_) lane.poisoned = true;
    addMesh(makeMesh(mergeSides(parents, true), place_));
    failed_ = true;  // finalizing would wait for all that were ever connected
  } else {
    openWorld();
  }
  rank = place_.process;
  size = static_cast<int>(place_.sizeAtStart);
  for (size_t process = 0; process < peers_.size(); process++) {
    if (peers_[process] == nullptr) continue;
    processes.push_back(static_cast<int>(process));
    if (peers_[process]->hostHash == place_.address.hostHash) {
      ranksOnHost.push_back(static_cast<int>(process));
    }
  }
  const int neighbours = static_cast<int>(ranksOnHost.size());
  backoff_.setUp(options_.ranksOnHost > 0 ? options_.ranksOnHost : neighbours);
}

// The first mesh, in which process numbers are ranks, and the lanes of all.
inline void Engine::openWorld() {
  int count = 0;
  CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &place_.process));
  CHECK(MPI_Comm_size(MPI_COMM_WORLD, &count));
  place_.sizeAtStart = count;
  Mesh mesh;
  mesh.addresses.resize(static_cast<size_t>(count));
  for (int process = 0; process < count; process++) mesh.processes.push_back(process);
  CHECK(MPI_Allgather(&place_.address, ADDRESS_WORDS, MPI_UINT64_T, mesh.addresses.data(),
                      ADDRESS_WORDS, MPI_UINT64_T, MPI_COMM_WORLD));
  const auto duplicate = [](MPI_Comm* to) {
    CHECK(MPI_Comm_dup(MPI_COMM_WORLD, to));
    returnErrors(*to);
  };
  duplicate(&mesh.pointToPoint);
  duplicate(&mesh.parent);
  for (Lane& lane : lanes_) {
    duplicate(&lane.communicator);
    lane.processes = mesh.processes;
  }
  addMesh(mesh);
}

inline void Engine::run() {
  pthread_setname_np(pthread_self(), "baash-mpi");
  // The kernel rounds short sleeps up by 50 us by default: ours begin at 20.
  prctl(PR_SET_TIMERSLACK, 1000UL);
  Event event;
  event.kind = Event::Kind::Opened;
  try {
    open();
    event.flag = true;
  } catch (const MpiError& error) {
    event.code = error.code;
    event.call = error.call;
    event.text = error.text;
  }
  // After MPI's own threads and daemons were started, which would inherit it: signals belong to
  // JavaScript's thread. What a thread raises by its own fault stays open.
  sigset_t signals;
  sigfillset(&signals);
  for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&signals, fault);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const bool opened = event.flag;
  post(std::move(event));
  dispatch();
  if (opened) loop();
}

inline void Engine::loop() {
  uint32_t ringsBefore = 0;
  while (closing_ != Closing::Finished) {
    counters.polls++;
    const uint32_t rings = bell_->rings();
    // A probe that finds nothing may have taken the message in for the next one to find.
    if (rings != ringsBefore) backoff_.active();
    ringsBefore = rings;
    bool worked = takeCommands();
    worked |= testRequests();
    worked |= testLanes();
    if (started_) worked |= receiveAll();
    if (!operations_.empty()) worked |= checkOperations();
    if (!burials_.empty()) worked |= buryForgotten();
    if (collectivesPending_ > 0) checkDeadlines();
    if (closing_ != Closing::No) worked |= stepClose();
    dispatch();
    if (worked) {
      backoff_.active();
      continue;
    }
    const bool expecting = collectivesPending_ > 0 || operationsUnderWay_ > 0 ||
                           !requests_.empty() || held_.present ||
                           closing_ != Closing::No;
    const double sleepUs = backoff_.rest(expecting, isRungByAll());
    if (sleepUs == 0) continue;
    counters.sleeps++;
    bell_->sleep(rings, sleepUs);
  }
}

inline bool Engine::takeCommands() {
  if (!hasCommands_.load(std::memory_order_acquire)) return false;
  std::vector<Command> commands;
  {
    std::lock_guard<std::mutex> lock(commandMutex_);
    commands.swap(commands_);
    hasCommands_.store(false, std::memory_order_relaxed);
  }
  for (Command& command : commands) perform(command);
  return true;
}

inline void Engine::perform(Command& command) {
  switch (command.kind) {
    case Command::Kind::Send:
      if (command.ranks.empty()) {
        send(command.to, command.payload);
      } else {
        for (int to : command.ranks) send(to, command.payload);
      }
      break;
    case Command::Kind::Allgather:
    case Command::Kind::Allreduce:
    case Command::Kind::Barrier:
      startCollective(command);
      break;
    case Command::Kind::Forget:
      forget(command.to);
      break;
    case Command::Kind::Regroup:
    case Command::Kind::Spawn:
      startOperation(command);
      break;
    case Command::Kind::Install:
      install(command.id);
      break;
    case Command::Kind::Start:
      started_ = true;
      break;
    case Command::Kind::Close:
      if (closing_ != Closing::No) break;
      closing_ = Closing::Flushing;
      started_ = true;  // peers may wait for us to take their messages
      closeDeadlineMs_ = command.deadlineMs;
      closeId_ = command.id;
      sendCompletedMs_ = nowMs();
      // Whoever waits for this process to finalize with it need not wait out the deadline.
      if (failed_) sendControlToAll({CONTROL_LEAVING});
      break;
    case Command::Kind::Abort:
      abortJob(command.option);
  }
}

inline bool Engine::testRequests() {
  if (requests_.empty()) return false;
  indices_.resize(requests_.size());
  statuses_.resize(requests_.size());
  int count = 0;
  const int result = MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count,
                                  indices_.data(), statuses_.data());
  if (count == MPI_UNDEFINED || count <= 0) {
    if (result != MPI_SUCCESS) postError(describeError(result, "MPI_Testsome"), -1, -1);
    return false;
  }
  std::sort(indices_.begin(), indices_.begin() + count);
  std::vector<int> freed;
  std::vector<Pending> controls;
  for (int i = 0; i < count; i++) {
    const Pending pending = pending_[indices_[i]];
    if (pending.frame.payload != nullptr) {
      completeSend(pending);
      // MPI may have kept it back until now.
      ring(pending.peer);
      freed.push_back(pending.peer);
    } else if (pending.incoming != nullptr) {
      pending.incoming->framesUnderWay--;
      deliver(*peers_[static_cast<size_t>(pending.peer)]);
    } else if (pending.control != nullptr) {
      controls.push_back(pending);
    }
  }
  if (result != MPI_SUCCESS) {
    for (int i = 0; i < count; i++) {
      const int code = statuses_[i].MPI_ERROR;
      if (code != MPI_SUCCESS) {
        postError(describeError(code, "MPI_Testsome"), -1, statuses_[i].MPI_SOURCE);
      }
    }
  }
  // From the back, so that the element that fills a gap is one that stays.
  for (int i = count - 1; i >= 0; i--) {
    requests_[indices_[i]] = requests_.back();
    pending_[indices_[i]] = pending_.back();
    requests_.pop_back();
    pending_.pop_back();
  }
  for (int peer : freed) pump(peer);
  for (const Pending& control : controls) onControl(control.peer, *control.control);
  return true;
}

inline void Engine::checkDeadlines() {
  const double now = nowMs();
  for (size_t i = 0; i < lanes_.size(); i++) {
    const Lane& lane = lanes_[i];
    if (lane.queue.empty()) continue;
    // Later calls of a lane may have earlier deadlines.
    for (const Collective& collective : lane.queue) {
      if (now < collective.deadlineMs) continue;
      poison(static_cast<int>(i),
             {"COLLECTIVE_DEADLINE", "MPI_Test", "a collective did not complete in time"});
      break;
    }
  }
}

// Closing: send what is queued while still receiving; meet everybody in a barrier, so that nobody
// finalizes while another one waits for it; finalize. After any failure there is no finalize: it is
// collective and would hang; and what does not leave within FLUSH_MS goes to somebody who is dead.
inline bool Engine::stepClose() {
  constexpr double FLUSH_MS = 250;
  const double now = nowMs();
  const bool late = now >= closeDeadlineMs_;
  bool met = false;
  if (closing_ == Closing::Flushing) {
    const bool flushed = counters.sendsPending == 0;
    if (late || (failed_ && (flushed || now - sendCompletedMs_ >= FLUSH_MS))) {
      closing_ = Closing::Finished;
    } else if (flushed) {
      const MPI_Comm all = meshes_[0].pointToPoint;
      const bool begun = MPI_Ibarrier(all, &closeRequest_) == MPI_SUCCESS;
      closing_ = begun ? Closing::Meeting : Closing::Finished;
    }
  }
  if (closing_ == Closing::Meeting) {
    int done = 0;
    const int result = MPI_Test(&closeRequest_, &done, MPI_STATUS_IGNORE);
    met = result == MPI_SUCCESS && done;
    if (!met && !late && !failed_ && result == MPI_SUCCESS) return false;
    closing_ = Closing::Finished;
  }
  if (closing_ != Closing::Finished) return false;
  Event event;
  event.kind = Event::Kind::Closed;
  event.id = closeId_;
  event.flag = met && MPI_Finalize() == MPI_SUCCESS;
  post(std::move(event));
  return true;
}

}  // namespace baash
