// What blocks until others come: making groups, bridges and meshes, spawning. Runs on helper
// threads, or inside the open of a spawned process; each may hang for good when a process dies
// meanwhile.
#pragma once

#include <limits.h>
#include <sched.h>
#include <unistd.h>

#include <random>
#include <thread>

#include "mpi-openmpi.h"

namespace baash {

// Tags of an attempt on the parent communicators of meshes, after those of its lanes.
constexpr int TAG_SPAWN = 0, TAG_BASE = 1, TAG_STEPS = 2, TAGS_A_STEP = 3;
constexpr int TAGS_MORE = TAG_STEPS + TAGS_A_STEP * static_cast<int>(PLAN_STEPS_MAX);

inline void returnErrors(MPI_Comm communicator) {
  CHECK(MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN));
}

// Collective over `processes` alone, in that order.
inline MPI_Comm createGroup(const Mesh& mesh, const std::vector<int>& processes, int tag) {
  std::vector<int> ranks;
  for (int process : processes) ranks.push_back(mesh.rankOf(process));
  MPI_Group all, group;
  MPI_Comm communicator = MPI_COMM_NULL;
  CHECK(MPI_Comm_group(mesh.parent, &all));
  CHECK(MPI_Group_incl(all, static_cast<int>(ranks.size()), ranks.data(), &group));
  CHECK(MPI_Comm_create_group(mesh.parent, group, tag, &communicator));
  CHECK(MPI_Group_free(&group));
  CHECK(MPI_Group_free(&all));
  returnErrors(communicator);
  return communicator;
}

// `later`: of the side whose ranks come after those of the other one.
inline MPI_Comm mergeSides(MPI_Comm sides, bool later) {
  MPI_Comm merged = MPI_COMM_NULL;
  returnErrors(sides);
  CHECK(MPI_Intercomm_merge(sides, later ? 1 : 0, &merged));
  returnErrors(merged);
  return merged;
}

// Collective over `merged`: agrees on the numbers of new processes and on the mesh's id. When it
// returns here, everybody has everything but this last answer.
inline Mesh makeMesh(MPI_Comm merged, Place& place) {
  enum Word { PROCESS, SIZE, NEXT, MESH, CHANCE, ADDRESS, WORDS = ADDRESS + ADDRESS_WORDS };
  int size = 0, rank = 0;
  CHECK(MPI_Comm_size(merged, &size));
  CHECK(MPI_Comm_rank(merged, &rank));
  int64_t mine[WORDS] = {place.process, place.sizeAtStart, place.numberNext, place.meshIdMax,
                         std::random_device{}()};
  memcpy(mine + ADDRESS, &place.address, sizeof place.address);
  std::vector<int64_t> all(static_cast<size_t>(size) * WORDS);
  CHECK(MPI_Allgather(mine, WORDS, MPI_INT64_T, all.data(), WORDS, MPI_INT64_T, merged));
  for (int i = 0; i < size; i++) {
    place.sizeAtStart = std::max(place.sizeAtStart, all[i * WORDS + SIZE]);
    place.numberNext = std::max(place.numberNext, all[i * WORDS + NEXT]);
    place.meshIdMax = std::max(place.meshIdMax, all[i * WORDS + MESH]);
  }
  Mesh mesh;
  for (int i = 0; i < size; i++) {
    const int64_t process = all[i * WORDS + PROCESS];
    mesh.processes.push_back(static_cast<int>(process >= 0 ? process : place.numberNext++));
    Address address;
    memcpy(&address, &all[static_cast<size_t>(i * WORDS + ADDRESS)], sizeof address);
    mesh.addresses.push_back(address);
  }
  place.process = mesh.processes[static_cast<size_t>(rank)];
  mesh.id = place.meshIdMax =
      (((place.meshIdMax >> 32) + 1) << 32) | (all[CHANCE] & 0xffffffff);
  mesh.parent = merged;
  CHECK(MPI_Comm_dup(merged, &mesh.pointToPoint));
  returnErrors(mesh.pointToPoint);
  CHECK(MPI_Barrier(merged));
  return mesh;
}

// Brings the members together as planned; returns a mesh that they are all in. Each step bridges
// the two sides over a communicator of their two leaders made for it alone, so that nothing that an
// earlier attempt left on the way can be taken for this one's.
inline const Mesh& meet(Operation& operation) {
  const Plan& plan = operation.plan;
  const int self = operation.place.process;
  const auto includes = [self](const std::vector<int>& processes) {
    return std::find(processes.begin(), processes.end(), self) != processes.end();
  };
  if (plan.steps.empty()) return operation.meshes.at(plan.mesh);
  const int tags = operation.tag + operation.communicatorCount;
  MPI_Comm together = MPI_COMM_NULL;
  std::vector<int> order = plan.base;
  if (includes(plan.base)) {
    together = createGroup(operation.meshes.at(plan.mesh), plan.base, tags + TAG_BASE);
  }
  for (size_t i = 0; i < plan.steps.size(); i++) {
    const Plan::Step& step = plan.steps[i];
    const int tag = tags + TAG_STEPS + TAGS_A_STEP * static_cast<int>(i);
    const bool right = includes(step.right);
    if (right || together != MPI_COMM_NULL) {
      const bool leads = self == (right ? step.right[0] : step.leader);
      MPI_Comm leaders = MPI_COMM_SELF, local = together, sides = MPI_COMM_NULL;
      if (leads) {
        const Mesh& mesh = operation.meshes.at(step.mesh);
        leaders = createGroup(mesh, {step.leader, step.right[0]}, tag);
      }
      if (right) local = createGroup(operation.meshes.at(step.mesh), step.right, tag + 1);
      const auto leader = std::find(order.begin(), order.end(), step.leader);
      CHECK(MPI_Intercomm_create(local, right ? 0 : static_cast<int>(leader - order.begin()),
                                 leaders, right ? 0 : 1, tag + 2, &sides));
      together = mergeSides(sides, right);
    }
    order.insert(order.end(), step.right.begin(), step.right.end());
  }
  operation.made.push_back(makeMesh(together, operation.place));
  return operation.made.back();
}

// As execvp would find it.
inline bool isProgram(const std::string& name) {
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0;
  const char* path = getenv("PATH");
  const std::string folders = path == nullptr ? "" : path;
  for (size_t start = 0; start <= folders.size();) {
    const size_t end = std::min(folders.find(':', start), folders.size());
    if (access((folders.substr(start, end - start) + "/" + name).c_str(), X_OK) == 0) return true;
    start = end + 1;
  }
  return false;
}

// A process that may use all cores wants its replacement to be free as well.
inline bool isUnbound() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  return sched_getaffinity(0, sizeof allowed, &allowed) == 0 &&
         CPU_COUNT(&allowed) >= static_cast<int>(std::thread::hardware_concurrency());
}

inline void spawnProcesses(Operation& operation, const Mesh& mesh) {
  const int tags = operation.tag + operation.communicatorCount;
  const MPI_Comm members = createGroup(mesh, operation.members, tags + TAG_SPAWN);
  const bool root = operation.place.process == operation.members[0];
  // The members but the root would wait for good if the root found this out alone.
  int runnable = root && isProgram(operation.command[0]) ? 1 : 0;
  CHECK(MPI_Bcast(&runnable, 1, MPI_INT, 0, members));
  if (!runnable) {
    throw MpiError{"SPAWN_FAILED", "MPI_Comm_spawn",
                   "'" + operation.command[0] + "' is no program that can be run here"};
  }
  std::vector<char*> arguments;
  for (size_t i = 1; i < operation.command.size(); i++) {
    arguments.push_back(const_cast<char*>(operation.command[i].c_str()));
  }
  arguments.push_back(nullptr);
  MPI_Info info;
  CHECK(MPI_Info_create(&info));
  if (isUnbound()) CHECK(MPI_Info_set(info, "bind_to", "none"));
  MPI_Comm sides = MPI_COMM_NULL;
  try {
    CHECK(MPI_Comm_spawn(operation.command[0].c_str(), arguments.data(), operation.count, info, 0,
                         members, &sides, MPI_ERRCODES_IGNORE));
  } catch (const MpiError& error) {
    throw MpiError{"SPAWN_FAILED", error.call, error.text};
  }
  operation.made.push_back(makeMesh(mergeSides(sides, false), operation.place));
  const std::vector<int>& processes = operation.made.back().processes;
  operation.numbers.assign(processes.begin() + static_cast<long>(operation.members.size()),
                           processes.end());
}

// All of an operation; what goes wrong is in its `error`.
inline void performBlocking(Operation& operation) {
  try {
    unblockNumbering();
    const Mesh& mesh = meet(operation);
    if (operation.kind == Operation::Kind::Spawn) {
      spawnProcesses(operation, Mesh(mesh));
      return;
    }
    for (int i = 0; i < operation.communicatorCount; i++) {
      operation.communicators.push_back(
          createGroup(mesh, operation.members, operation.tag + i));
    }
  } catch (const MpiError& error) {
    operation.error = error;
    operation.failed = true;
  }
}

}  // namespace baash
