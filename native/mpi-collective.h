// Collectives: one communicator a lane, results in the order of the calls, a deadline on each. A
// collective with a dead rank may complete here and hang there, so its deadline poisons the lane:
// its communicator is never used again and its buffers stay pinned, because MPI may still write
// there.
#pragma once

#include "mpi-engine.h"

namespace baash {

inline void Engine::startCollective(Command& command) {
  const int index = command.kind == Command::Kind::Allgather ? command.lane
                                                            : static_cast<int>(lanes_.size()) - 1;
  Lane& lane = lanes_[index];
  // The event that tells JavaScript of the poisoning is on its way and answers this call as well.
  if (lane.poisoned) return;
  Collective collective;
  collective.id = command.id;
  collective.deadlineMs = command.deadlineMs;
  try {
    switch (command.kind) {
      case Command::Kind::Allgather:
        if (gathersByDoubling(lane, command.count)) {
          const int tag = static_cast<int>(lane.gathers++ % tagMax_);
          collective.gather = std::make_shared<Gather>(
              lane.communicator, tag, command.sendBytes, command.receiveBytes, command.count,
              [this, processes = lane.processes](int to) { ring(processes[static_cast<size_t>(to)]); });
          gathers_.insert(collective.gather);
          break;
        }
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
  // Of a collective of MPI's own nobody knows who is sent what: all who may wait for it are rung.
  if (collective.gather == nullptr) {
    for (int process : lane.processes) ring(process);
  }
}

// Few members are told faster one by one: a chain of messages is as long as its slowest links.
inline bool Engine::gathersByDoubling(const Lane& lane, int bytes) const {
  int ranks = 0;
  CHECK(MPI_Comm_size(lane.communicator, &ranks));
  return ranks >= options_.doublingFrom && Gather::fits(ranks, bytes);
}

inline bool Engine::isDone(Collective& collective) {
  if (collective.done) return true;
  int done = 0;
  if (collective.gather == nullptr) {
    CHECK(MPI_Test(&collective.request, &done, MPI_STATUS_IGNORE));
  } else if (collective.gather->advance()) {
    done = 1;
    gathers_.erase(collective.gather);
  }
  collective.done = done != 0;
  return collective.done;
}

inline bool Engine::testLanes() {
  bool worked = false;
  for (size_t i = 0; i < lanes_.size(); i++) {
    Lane& lane = lanes_[i];
    while (!lane.poisoned && !lane.queue.empty()) {
      Collective& front = lane.queue.front();
      bool done = false;
      try {
        done = isDone(front);
        // Others wait for this rank's steps of later calls as well.
        for (Collective& later : lane.queue)
          if (later.gather != nullptr) isDone(later);
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

}  // namespace baash
