// The life of the MPI thread: open, loop, close; and the hand-over to and from JavaScript.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "mpi-collective.h"
#include "mpi-point-to-point.h"

namespace baash {

inline Engine::Engine(Options options) : options_(std::move(options)) {
  arena_.reset(options_.arenaBytes);
  scratch_.reset(new uint8_t[FRAME_BYTES_MAX]);
}

// ---- JavaScript's thread ----

inline void Engine::enqueue(Command&& command) {
  bool wake;
  {
    std::lock_guard<std::mutex> lock(commandMutex_);
    commands_.push_back(std::move(command));
    hasCommands_.store(true, std::memory_order_release);  // pairs with the load in takeCommands
    wake = sleeping_;
  }
  if (wake) commandArrived_.notify_one();
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

inline void Engine::open() {
  int initialized = 0;
  CHECK(MPI_Initialized(&initialized));
  if (!initialized) CHECK(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &threadLevel));
  CHECK(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
  CHECK(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN));
  CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
  CHECK(MPI_Comm_size(MPI_COMM_WORLD, &size));
  auto duplicate = [](MPI_Comm* to) {
    CHECK(MPI_Comm_dup(MPI_COMM_WORLD, to));
    CHECK(MPI_Comm_set_errhandler(*to, MPI_ERRORS_RETURN));
  };
  duplicate(&pointToPoint_);
  duplicate(&regroupParent_);
  lanes_.resize(static_cast<size_t>(options_.lanes) + 1);
  for (Lane& lane : lanes_) duplicate(&lane.communicator);
  peers_.resize(static_cast<size_t>(size));

  MPI_Comm hostComm;
  CHECK(MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &hostComm));
  int count = 0;
  CHECK(MPI_Comm_size(hostComm, &count));
  ranksOnHost.resize(static_cast<size_t>(count));
  CHECK(MPI_Allgather(&rank, 1, MPI_INT, ranksOnHost.data(), 1, MPI_INT, hostComm));
  CHECK(MPI_Comm_free(&hostComm));
  char name[MPI_MAX_PROCESSOR_NAME];
  int length = 0;
  CHECK(MPI_Get_processor_name(name, &length));
  host.assign(name, static_cast<size_t>(length));
  char version[MPI_MAX_LIBRARY_VERSION_STRING];
  CHECK(MPI_Get_library_version(version, &length));
  library.assign(version, static_cast<size_t>(length));
  backoff_.setUp(options_.ranksOnHost > 0 ? options_.ranksOnHost : count);
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
  while (closing_ != Closing::Finished) {
    counters.polls++;
    bool worked = takeCommands();
    worked |= testRequests();
    worked |= testLanes();
    if (started_) worked |= receiveAll();
    if (!regroups_.empty()) worked |= checkRegroups();
    if (collectivesPending_ > 0) checkDeadlines();
    if (closing_ != Closing::No) worked |= stepClose();
    dispatch();
    if (worked) {
      backoff_.active();
      continue;
    }
    const double sleepUs = backoff_.rest(collectivesPending_ > 0 || !requests_.empty());
    if (sleepUs == 0) continue;
    std::unique_lock<std::mutex> lock(commandMutex_);
    if (!commands_.empty()) continue;
    counters.sleeps++;
    sleeping_ = true;
    commandArrived_.wait_for(lock, std::chrono::microseconds(static_cast<int64_t>(sleepUs)));
    sleeping_ = false;
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
    case Command::Kind::Regroup:
      startRegroup(command);
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
      break;
    case Command::Kind::Abort:
      MPI_Abort(MPI_COMM_WORLD, command.option);
      break;
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
  for (int i = 0; i < count; i++) {
    const Pending pending = pending_[indices_[i]];
    if (pending.frame.payload != nullptr) {
      completeSend(pending);
      freed.push_back(pending.peer);
    } else if (pending.incoming != nullptr) {
      pending.incoming->framesUnderWay--;
      deliver(peers_[pending.peer]);
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
// collective and would hang.
inline bool Engine::stepClose() {
  const bool late = nowMs() >= closeDeadlineMs_;
  bool met = false;
  if (closing_ == Closing::Flushing && (late || counters.sendsPending == 0)) {
    if (late || failed_) {
      closing_ = Closing::Finished;
    } else if (MPI_Ibarrier(pointToPoint_, &closeRequest_) == MPI_SUCCESS) {
      closing_ = Closing::Meeting;
    } else {
      closing_ = Closing::Finished;
    }
  }
  if (closing_ == Closing::Meeting) {
    int done = 0;
    const int result = MPI_Test(&closeRequest_, &done, MPI_STATUS_IGNORE);
    met = result == MPI_SUCCESS && done;
    if (!met && !late && result == MPI_SUCCESS) return false;
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
