// Regrouping and spawning: what they are about. Meshes, what is known of them, the plan by which
// members come together, and the operation that a helper thread and the engine share.
//
// A mesh is a communicator in which processes can talk to each other: MPI_COMM_WORLD is the first
// one, each spawn makes another one over its members and the new processes, each bridging one over
// processes that had none in common. Meshes have ids that grow, so that all choose alike; process
// numbers are what everybody but MPI speaks of.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mpi-doorbell.h"
#include "mpi-error.h"

namespace baash {

// FNV-1a, a word at a time.
constexpr uint64_t HASH_SEED = 14695981039346656037u;
inline uint64_t mixed(uint64_t hash, uint64_t word) { return (hash ^ word) * 1099511628211u; }

struct Mesh {
  int64_t id = 0;  // counts up in the upper half; chance in the lower tells two of one count apart
  std::vector<int> processes;        // by rank in the communicators
  std::vector<Address> addresses;    // by rank too
  MPI_Comm pointToPoint = MPI_COMM_NULL;
  // For making further communicators, which sends messages with plain tags: probing would take
  // them.
  MPI_Comm parent = MPI_COMM_NULL;

  int rankOf(int process) const {
    const auto found = std::find(processes.begin(), processes.end(), process);
    return found == processes.end() ? -1 : static_cast<int>(found - processes.begin());
  }
};

// Who is in which mesh, by id. Each member of a mesh tells those outside it, so that whoever comes
// back after a long pause can find out how to meet processes that it never met.
using Directory = std::map<int64_t, std::vector<int>>;

// Words of a control message: its kind first.
using ControlMessage = std::vector<int64_t>;
enum Control : int64_t {
  CONTROL_MESH = 1,          // id, processes…: there is such a mesh
  CONTROL_SPAWN_FAILED = 2,  // attempt: its root gave up, nobody needs to wait any longer
  CONTROL_LEAVING = 3,       // the sender ends without finalizing
  CONTROL_ABORT = 4,         // exit code: the sender ends the whole job
};

// How members come together: those of `base` through that mesh; then, step by step, those of
// `right`, whom mesh `mesh` connects with `leader`, one of those who are together already.
struct Plan {
  struct Step {
    int64_t mesh;
    int leader;
    std::vector<int> right;
  };
  int64_t mesh = 0;
  std::vector<int> base;
  std::vector<Step> steps;
  bool possible = false;
};

// More parts than this would need more tags; a job that is torn so often is better started again.
constexpr size_t PLAN_STEPS_MAX = 8;

// Depends on nothing but the members and the directory: equal at all who know the same.
inline Plan planMeeting(const std::vector<int>& members, const Directory& directory) {
  const auto among = [](const std::vector<int>& some, const std::vector<int>& others) {
    std::vector<int> both;
    for (int process : some) {
      if (std::find(others.begin(), others.end(), process) != others.end()) both.push_back(process);
    }
    return both;
  };
  Plan plan;
  // The oldest mesh wins: of two, it is the one that more surely everybody knows.
  for (const auto& [id, processes] : directory) {
    std::vector<int> base = among(members, processes);
    if (base.size() <= plan.base.size()) continue;
    plan.mesh = id;
    plan.base = std::move(base);
  }
  std::vector<int> together = plan.base, missing;
  for (int process : members) {
    if (among({process}, together).empty()) missing.push_back(process);
  }
  while (!missing.empty() && plan.steps.size() < PLAN_STEPS_MAX) {
    Plan::Step best{0, -1, {}};
    for (const auto& [id, processes] : directory) {
      const std::vector<int> leaders = among(together, processes);
      std::vector<int> right = among(missing, processes);
      if (leaders.empty() || right.size() <= best.right.size()) continue;
      best = {id, *std::min_element(leaders.begin(), leaders.end()), std::move(right)};
    }
    if (best.right.empty()) return plan;
    together.insert(together.end(), best.right.begin(), best.right.end());
    std::vector<int> rest;
    for (int process : missing) {
      if (among({process}, best.right).empty()) rest.push_back(process);
    }
    missing = std::move(rest);
    plan.steps.push_back(std::move(best));
  }
  plan.possible = missing.empty();
  return plan;
}

// What a process brings to the making of a mesh, and takes from it.
struct Place {
  int process = -1;         // its number; -1: newly spawned, gets one
  int64_t sizeAtStart = 0;  // of the job
  int64_t numberNext = 0;   // above all process numbers that it has heard of
  int64_t meshIdMax = 0;
  Address address{};
};

// Shared by the engine and the helper thread that performs it, which may outlive its deadline.
struct Operation {
  enum class Kind { Regroup, Spawn };
  Kind kind = Kind::Regroup;
  double id = 0, startedMs = 0, deadlineMs = 0;
  int attempt = 0;
  std::vector<int> members;
  std::vector<std::string> command;  // of a spawn
  int count = 0;                     // processes to spawn

  // What the engine gives the helper.
  int communicatorCount = 0, tag = 0;
  Place place;
  Plan plan;
  std::map<int64_t, Mesh> meshes;  // that this process is in

  // What the helper gives back; read once `done`.
  std::vector<MPI_Comm> communicators;  // lanes of a regroup
  std::vector<Mesh> made;
  std::vector<int> numbers;             // of spawned processes
  MpiError error;
  bool failed = false;
  std::atomic<bool> done{false};

  // The engine's: JavaScript was answered.
  std::atomic<bool> answered{false};
  bool launched = false;
  bool left = false;  // its helper was left behind
};

}  // namespace baash
