// Regroup and spawn, the engine's side: each operation gets a helper thread of its own, which calls
// what blocks (mpi-blocking.h). When the deadline passes, JavaScript is told and that thread is
// left behind; should it succeed after all, the processes that it connects are reachable from then
// on.
#pragma once

#include <pthread.h>

#include "mpi-blocking.h"
#include "mpi-engine.h"

namespace baash {

inline void Engine::startOperation(Command& command) {
  auto operation = std::make_shared<Operation>();
  const bool spawn = command.kind == Command::Kind::Spawn;
  operation->kind = spawn ? Operation::Kind::Spawn : Operation::Kind::Regroup;
  operation->id = command.id;
  operation->deadlineMs = command.deadlineMs;
  operation->attempt = command.option;
  operation->members = command.ranks;
  operation->command = std::move(command.words);
  operation->count = command.count;
  operations_.push_back(operation);
  operationsUnderWay_++;
  const char* call = spawn ? "MPI_Comm_spawn" : "MPI_Comm_create_group";
  if (spawn && !isOpenMpi()) {
    failOperation(*operation, {"NOT_SUPPORTED", call,
                               "this MPI ends the job when a process dies: start the job again"});
  } else if (threadLevel < MPI_THREAD_MULTIPLE) {
    failOperation(*operation, {"NOT_SUPPORTED", call, "needs MPI_THREAD_MULTIPLE"});
  } else {
    tryLaunch(operation);
  }
}

// Where the tags of an operation begin, on the parents of meshes. What an attempt that failed left
// on the way must never be taken for a later one's: so members count as well as the attempt's
// number, where the MPI has tags enough (Open MPI: 2^31). Else attempts wrap early.
inline int Engine::tagOf(const Operation& operation) const {
  constexpr int ENOUGH = 1 << 20;
  const int spawnAfter = operation.communicatorCount + TAGS_MORE;
  const int stride = spawnAfter + TAGS_MORE;
  const int places = tagMax_ / stride;
  uint64_t hash = mixed(HASH_SEED, static_cast<uint64_t>(operation.attempt));
  for (int process : operation.members) hash = mixed(hash, static_cast<uint64_t>(process));
  const int place = places >= ENOUGH ? static_cast<int>(hash % static_cast<uint64_t>(places))
                                     : operation.attempt % places;
  const bool spawn = operation.kind == Operation::Kind::Spawn;
  return place * stride + (spawn ? TAGS_MORE : 0);
}

inline MpiError memberDead(int process) {
  return {"REGROUP_IMPOSSIBLE", "MPI_Comm_create_group",
          "process " + std::to_string(process) + " is known to be dead"};
}

// Launches it once every member is known; until then news of meshes may come that name the missing.
inline void Engine::tryLaunch(const std::shared_ptr<Operation>& operation) {
  for (int process : operation->members) {
    const Peer* peer = peerOf(process);
    if (peer != nullptr && peer->forgotten) {
      failOperation(*operation, memberDead(process));
      return;
    }
    const bool known =
        std::any_of(directory_.begin(), directory_.end(), [process](const auto& entry) {
          return std::find(entry.second.begin(), entry.second.end(), process) != entry.second.end();
        });
    if (!known) return;
  }
  operation->plan = planMeeting(operation->members, directory_);
  if (!operation->plan.possible) {
    failOperation(*operation, {"REGROUP_IMPOSSIBLE", "MPI_Intercomm_create",
                               "no chain of communicators connects these members"});
    return;
  }
  operation->communicatorCount = static_cast<int>(lanes_.size());
  operation->tag = tagOf(*operation);
  operation->place = place_;
  for (const Mesh& mesh : meshes_) operation->meshes[mesh.id] = mesh;
  operation->launched = true;
  operation->startedMs = nowMs();
  std::thread([operation] {
    pthread_setname_np(pthread_self(), "baash-regroup");
    helping = operation.get();
    performBlocking(*operation);
    helping = nullptr;
    operation->done.store(true);  // pairs with the load in checkOperations
  }).detach();
}

// An operation that was left behind may come to block others only now, when it was slow to begin.
inline void Engine::unblockOthers(double now) {
  constexpr double UNBLOCK_MS = 100;
  if (operationsUnderWay_ == 0 || counters.helpersLeft == 0 || now < unblockAtMs_) return;
  unblockAtMs_ = now + UNBLOCK_MS;
  std::thread([] {
    try {
      unblockNumbering();
    } catch (const MpiError&) {
      // There will be another one, or the operation's deadline.
    }
  }).detach();
}

inline bool Engine::checkOperations() {
  bool worked = false;
  const double now = nowMs();
  unblockOthers(now);
  const size_t known = directory_.size();
  for (size_t i = 0; i < operations_.size();) {
    const std::shared_ptr<Operation> operation = operations_[i];
    const bool done = operation->done.load();
    if (done) {
      finishOperation(operation);
    } else if (!operation->answered && now >= operation->deadlineMs) {
      const bool spawn = operation->kind == Operation::Kind::Spawn;
      const char* call = spawn ? "MPI_Comm_spawn" : "MPI_Comm_create_group";
      if (operation->launched) {
        leaveBehind(*operation);
        failOperation(*operation, {spawn ? "SPAWN_DEADLINE" : "REGROUP_DEADLINE", call,
                                   "not every process came in time"});
      } else {
        failOperation(*operation, {"REGROUP_IMPOSSIBLE", call,
                                   "a member is not known here, and nobody told of it"});
      }
    } else if (!operation->answered && !operation->launched && known != directoryTried_) {
      tryLaunch(operation);
    }
    const bool over = done || (operation->answered && !operation->launched);
    worked |= over;
    if (over) {
      operations_.erase(operations_.begin() + static_cast<long>(i));
    } else {
      i++;
    }
  }
  directoryTried_ = known;
  return worked;
}

inline void Engine::leaveBehind(Operation& operation) {
  operation.left = true;
  counters.helpersLeft++;
  failed_ = true;
}

inline void Engine::finishOperation(const std::shared_ptr<Operation>& operation) {
  place_.numberNext = std::max(place_.numberNext, operation->place.numberNext);
  place_.meshIdMax = std::max(place_.meshIdMax, operation->place.meshIdMax);
  for (const Mesh& mesh : operation->made) addMesh(mesh);
  if (operation->answered) {
    if (operation->left) counters.helpersLeft--;
    return;
  }
  if (operation->failed) {
    failOperation(*operation, operation->error);
    return;
  }
  operation->answered = true;
  operationsUnderWay_--;
  Event event;
  event.id = operation->id;
  if (operation->kind == Operation::Kind::Spawn) {
    event.kind = Event::Kind::Spawned;
    event.numbers = operation->numbers;
  } else {
    event.kind = Event::Kind::Regrouped;
    installable_.push_back(operation);
  }
  post(std::move(event));
}

inline void Engine::failOperation(Operation& operation, const MpiError& error) {
  operation.answered = true;
  operationsUnderWay_--;
  Event event;
  event.kind = Event::Kind::OperationFailed;
  event.id = operation.id;
  event.code = error.code;
  event.call = error.call;
  event.text = error.text;
  post(std::move(event));
  // Who waits inside MPI_Comm_spawn for a root that gave up would wait for good.
  const bool root = operation.members[0] == place_.process;
  if (operation.kind != Operation::Kind::Spawn || !root || error.code != "SPAWN_FAILED") return;
  for (int process : operation.members) {
    if (process != place_.process) {
      sendControl(process, {CONTROL_SPAWN_FAILED, operation.attempt});
    }
  }
}

// Whoever waits for the dead waits for good.
inline void Engine::failOperationsWith(int process) {
  for (const std::shared_ptr<Operation>& operation : operations_) {
    const std::vector<int>& members = operation->members;
    if (operation->answered) continue;
    if (std::find(members.begin(), members.end(), process) == members.end()) continue;
    if (operation->launched) leaveBehind(*operation);
    failOperation(*operation, memberDead(process));
  }
}

inline void Engine::onSpawnFailed(int root, int64_t attempt) {
  for (const std::shared_ptr<Operation>& operation : operations_) {
    if (operation->kind != Operation::Kind::Spawn || operation->answered) continue;
    if (operation->attempt != attempt || operation->members[0] != root) continue;
    if (operation->launched) leaveBehind(*operation);
    failOperation(*operation,
                  {"SPAWN_FAILED", "MPI_Comm_spawn", "the first member could not start a process"});
  }
}

// JavaScript asks for this once it knows the new members: so each collective that it calls runs on
// the lanes that it has in mind. What is under way on the old lanes is given up; its buffers stay
// pinned.
inline void Engine::install(double id) {
  for (auto regroup = installable_.begin(); regroup != installable_.end(); ++regroup) {
    if ((*regroup)->id != id) continue;
    for (size_t i = 0; i < lanes_.size(); i++) {
      collectivesPending_ -= static_cast<int>(lanes_[i].queue.size());
      if (!lanes_[i].queue.empty()) failed_ = true;
      lanes_[i] = Lane{};
      lanes_[i].communicator = (*regroup)->communicators[i];
      lanes_[i].processes = (*regroup)->members;
    }
    if (static_cast<int>((*regroup)->members.size()) < size) failed_ = true;
    generation_++;
    installable_.erase(regroup);
    return;
  }
}

}  // namespace baash
