// Collectives: one communicator a lane, results in the order of the calls, a deadline on each.
// A collective with a dead rank may complete here and hang there, so its deadline poisons the lane:
// its communicator is never used again and its buffers stay pinned, because MPI may still write there.
#pragma once

#include <pthread.h>

#include "mpi-engine.h"

namespace baash {

inline void Engine::startCollective(Command& command) {
  const int index = command.kind == Command::Kind::Allgather ? command.lane
                                                            : static_cast<int>(lanes_.size()) - 1;
  Lane& lane = lanes_[index];
  // The event that tells JavaScript of the poisoning is on its way and answers this call as well.
  if (lane.poisoned) return;
  Collective collective{command.id, command.deadlineMs};
  try {
    switch (command.kind) {
      case Command::Kind::Allgather:
        CHECK(MPI_Iallgather(command.sendBytes, command.count, MPI_BYTE, command.receiveBytes,
                             command.count, MPI_BYTE, lane.communicator, &collective.request));
        break;
      case Command::Kind::Allreduce: {
        const MPI_Op operations[] = {MPI_SUM, MPI_MIN, MPI_MAX};
        CHECK(MPI_Iallreduce(command.sendBytes, command.receiveBytes, command.count, MPI_DOUBLE,
                             operations[command.option], lane.communicator, &collective.request));
        break;
      }
      default:
        CHECK(MPI_Ibarrier(lane.communicator, &collective.request));
    }
  } catch (const MpiError& error) {
    poison(index, error);
    return;
  }
  lane.queue.push_back(collective);
  collectivesPending_++;
}

inline bool Engine::testLanes() {
  bool worked = false;
  for (size_t i = 0; i < lanes_.size(); i++) {
    Lane& lane = lanes_[i];
    while (!lane.poisoned && !lane.queue.empty()) {
      Collective& front = lane.queue.front();
      int done = 0;
      try {
        CHECK(MPI_Test(&front.request, &done, MPI_STATUS_IGNORE));
      } catch (const MpiError& error) {
        poison(static_cast<int>(i), error);
        break;
      }
      if (!done) break;
      Event event;
      event.kind = Event::Kind::Complete;
      event.lane = static_cast<int>(i);
      event.id = front.id;
      post(std::move(event));
      lane.queue.pop_front();
      collectivesPending_--;
      counters.collectives++;
      worked = true;
    }
  }
  return worked;
}

inline void Engine::poison(int index, const MpiError& error) {
  Lane& lane = lanes_[index];
  lane.poisoned = true;
  failed_ = true;
  counters.lanesPoisoned++;
  collectivesPending_ -= static_cast<int>(lane.queue.size());
  lane.queue.clear();  // the requests live on inside MPI; JavaScript keeps their buffers for ever
  Event event;
  event.kind = Event::Kind::LaneFailed;
  event.id = generation_;
  event.lane = index;
  event.code = error.code;
  event.call = error.call;
  event.text = error.text;
  post(std::move(event));
}

// MPI_Comm_create_group blocks until every member has called it, and about one in forty hangs for good
// after a death. So a helper thread calls it; when the deadline passes that thread is left behind.
inline void Engine::startRegroup(Command& command) {
  auto regroup = std::make_shared<Regroup>();
  regroup->id = command.id;
  regroup->deadlineMs = command.deadlineMs;
  regroup->tag = command.option;
  regroup->members = command.ranks;
  regroups_.push_back(regroup);
  if (threadLevel < MPI_THREAD_MULTIPLE) {
    regroup->error = {"MPI_THREAD_LEVEL", "MPI_Comm_create_group", "needs MPI_THREAD_MULTIPLE"};
    regroup->failed = true;
    regroup->done = true;
    return;
  }
  const MPI_Comm parent = regroupParent_;
  const int count = static_cast<int>(lanes_.size());
  std::thread([regroup, parent, count] {
    pthread_setname_np(pthread_self(), "baash-regroup");
    try {
      MPI_Group all, group;
      CHECK(MPI_Comm_group(parent, &all));
      CHECK(MPI_Group_incl(all, static_cast<int>(regroup->members.size()),
                           regroup->members.data(), &group));
      for (int i = 0; i < count; i++) {
        MPI_Comm communicator = MPI_COMM_NULL;
        CHECK(MPI_Comm_create_group(parent, group, regroup->tag + i, &communicator));
        CHECK(MPI_Comm_set_errhandler(communicator, MPI_ERRORS_RETURN));
        regroup->communicators.push_back(communicator);
      }
      CHECK(MPI_Group_free(&group));
      CHECK(MPI_Group_free(&all));
    } catch (const MpiError& error) {
      regroup->error = error;
      regroup->failed = true;
    }
    regroup->done.store(true);  // pairs with the load in checkRegroups
  }).detach();
}

inline bool Engine::checkRegroups() {
  bool worked = false;
  for (size_t i = 0; i < regroups_.size();) {
    Regroup& regroup = *regroups_[i];
    const bool done = regroup.done.load();
    if (!done && nowMs() < regroup.deadlineMs) {
      i++;
      continue;
    }
    Event event;
    event.id = regroup.id;
    event.call = "MPI_Comm_create_group";
    if (!done) {
      failed_ = true;
      event.kind = Event::Kind::RegroupFailed;
      event.code = "REGROUP_DEADLINE";
      event.text = "not every member came in time";
    } else if (regroup.failed) {
      event.kind = Event::Kind::RegroupFailed;
      event.code = regroup.error.code;
      event.text = regroup.error.text;
    } else {
      event.kind = Event::Kind::Regrouped;
      installable_.push_back(regroups_[i]);
    }
    post(std::move(event));
    regroups_.erase(regroups_.begin() + static_cast<long>(i));
    worked = true;
  }
  return worked;
}

// JavaScript asks for this once it knows the new members: so each collective that it calls runs on the
// lanes that it has in mind. What is under way on the old lanes is given up; its buffers stay pinned.
inline void Engine::install(double id) {
  for (auto regroup = installable_.begin(); regroup != installable_.end(); ++regroup) {
    if ((*regroup)->id != id) continue;
    for (size_t i = 0; i < lanes_.size(); i++) {
      collectivesPending_ -= static_cast<int>(lanes_[i].queue.size());
      if (!lanes_[i].queue.empty()) failed_ = true;
      lanes_[i] = Lane{};
      lanes_[i].communicator = (*regroup)->communicators[i];
    }
    if (static_cast<int>((*regroup)->members.size()) < size) failed_ = true;
    generation_++;
    installable_.erase(regroup);
    return;
  }
}

}  // namespace baash
