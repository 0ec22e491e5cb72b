// Which processes this one can reach and over which communicator; news of meshes; forgetting the
// dead.
#pragma once

#include <unistd.h>

#include "mpi-engine.h"

namespace baash {

// What a process sent before its death may still be on the way for so long.
constexpr double BURIAL_MS = 1000;

inline Engine::Peer* Engine::peerOf(int process) {
  const size_t index = static_cast<size_t>(process);
  return process >= 0 && index < peers_.size() ? peers_[index].get() : nullptr;
}

// It has something to receive.
inline void Engine::ring(int process) {
  const Peer* peer = peerOf(process);
  if (peer != nullptr && peer->bell != nullptr) peer->bell->ring();
}

// Whoever sends to this process wakes it: nobody is on another host or cannot reach its bell.
inline bool Engine::isRungByAll() const { return bell_->ringers() + 1 >= processesMet_; }

inline void Engine::addMesh(const Mesh& mesh) {
  const size_t index = meshes_.size();
  meshes_.push_back(mesh);
  directory_[mesh.id] = mesh.processes;
  place_.meshIdMax = std::max(place_.meshIdMax, mesh.id);
  std::vector<int> newPeers;
  for (size_t i = 0; i < mesh.processes.size(); i++) {
    const int process = mesh.processes[i];
    place_.numberNext = std::max(place_.numberNext, static_cast<int64_t>(process) + 1);
    if (peerOf(process) != nullptr) continue;
    const size_t needed = static_cast<size_t>(process) + 1;
    if (needed > peers_.size()) peers_.resize(needed);
    auto peer = std::make_unique<Peer>();
    peer->mesh = index;
    peer->meshRank = static_cast<int>(i);
    peer->hostHash = mesh.addresses[i].hostHash;
    if (peer->hostHash == place_.address.hostHash && process != place_.process) {
      peer->bell = Doorbell::find(mesh.addresses[i]);
    }
    peers_[static_cast<size_t>(process)] = std::move(peer);
    processesMet_++;
    newPeers.push_back(process);
  }
  chooseProbed();
  if (index == 0) return;
  failed_ = true;  // finalizing would wait for all that were ever connected
  announce(mesh, newPeers);
  Event event;
  event.kind = Event::Kind::Reachable;
  for (size_t process = 0; process < peers_.size(); process++) {
    if (peers_[process] == nullptr) continue;
    event.numbers.push_back(static_cast<int>(process));
    if (peers_[process]->hostHash == place_.address.hostHash) {
      event.neighbours.push_back(static_cast<int>(process));
    }
  }
  post(std::move(event));
}

// Those outside learn of the mesh; those who are new to this process learn of all that it knows.
inline void Engine::announce(const Mesh& mesh, const std::vector<int>& newPeers) {
  const auto includes = [](const std::vector<int>& processes, int process) {
    return std::find(processes.begin(), processes.end(), process) != processes.end();
  };
  for (int process = 0; process < static_cast<int>(peers_.size()); process++) {
    if (peers_[static_cast<size_t>(process)] == nullptr || process == place_.process) continue;
    const bool isNew = includes(newPeers, process);
    for (const auto& [id, processes] : directory_) {
      const bool concerns = isNew ? id != mesh.id : id == mesh.id && !includes(processes, process);
      if (!concerns) continue;
      ControlMessage news{CONTROL_MESH, id};
      news.insert(news.end(), processes.begin(), processes.end());
      sendControl(process, news);
    }
  }
}

inline void Engine::sendControl(int to, const ControlMessage& message) {
  Peer* peer = peerOf(to);
  const size_t length = message.size() * sizeof(int64_t);
  if (peer == nullptr || peer->forgotten || length > FRAME_BYTES_MAX) return;
  auto* payload = new Payload();
  payload->length = length;
  payload->users = 1;
  payload->owned.reset(new uint8_t[length]);
  memcpy(payload->owned.get(), message.data(), length);
  payload->data = payload->owned.get();
  queueFrame(*peer, {payload, 0, length, CONTROL_TAG, true});
  pump(to);
}

inline void Engine::sendControlToAll(const ControlMessage& message) {
  for (int to = 0; to < static_cast<int>(peers_.size()); to++) {
    if (to != place_.process) sendControl(to, message);
  }
}

// MPI_Abort reaches only those who were started together: not from the first ones to spawned ones,
// nor back. So everybody is told, and aborts as well.
inline void Engine::abortJob(int code) {
  constexpr double TELLING_MS = 100;
  sendControlToAll({CONTROL_ABORT, code});
  for (const double end = nowMs() + TELLING_MS; counters.sendsPending > 0 && nowMs() < end;) {
    testRequests();
  }
  MPI_Abort(MPI_COMM_WORLD, code);
  _exit(code);
}

inline void Engine::onControl(int from, const ControlMessage& message) {
  if (message.empty()) return;
  switch (message[0]) {
    case CONTROL_MESH: {
      if (message.size() < 3) return;
      std::vector<int> processes(message.begin() + 2, message.end());
      for (int process : processes) {
        place_.numberNext = std::max(place_.numberNext, static_cast<int64_t>(process) + 1);
      }
      place_.meshIdMax = std::max(place_.meshIdMax, message[1]);
      directory_.emplace(message[1], std::move(processes));
      break;
    }
    case CONTROL_SPAWN_FAILED:
      if (message.size() == 2) onSpawnFailed(from, message[1]);
      break;
    case CONTROL_LEAVING:
      failed_ = true;
      break;
    case CONTROL_ABORT:
      if (message.size() == 2) abortJob(static_cast<int>(message[1]));
      break;
  }
}

// Communicators over which nothing can come any more are not asked: each costs a poll of all of
// MPI.
inline void Engine::chooseProbed() {
  probed_.clear();
  for (size_t i = 0; i < meshes_.size(); i++) {
    const bool used = std::any_of(peers_.begin(), peers_.end(), [i](const auto& peer) {
      return peer != nullptr && !peer->buried && peer->mesh == i;
    });
    if (used) probed_.push_back(i);
  }
  counters.meshesProbed = probed_.size();
}

// Sends to the dead never complete: their buffers stay pinned, MPI may still read them. How many
// these are is bounded by the windows of mpi-point-to-point.h; all that waits behind them is
// dropped.
inline void Engine::forget(int process) {
  Peer* peer = peerOf(process);
  if (peer == nullptr || peer->forgotten || process == place_.process) return;
  peer->forgotten = true;
  failed_ = true;
  const auto drop = [this](const Frame& frame) {
    if (frame.last) counters.sendsPending--;
    counters.sendBytesPending -= frame.length;
  };
  for (const Frame& frame : peer->outbox) {
    drop(frame);
    finishPayload(frame.payload);
  }
  peer->outbox.clear();
  peer->outboxBytes = 0;
  abandonRequests([process, &drop](const Pending& pending) {
    if (pending.peer != process || pending.frame.payload == nullptr) return false;
    drop(pending.frame);
    return true;
  });
  burials_.push_back({process, nowMs() + BURIAL_MS});
  failOperationsWith(process);
}

// Messages of the dead of which a part is missing: given up once what was on the way must have
// come.
inline bool Engine::buryForgotten() {
  if (nowMs() < burials_.front().atMs) return false;
  const int process = burials_.front().process;
  burials_.pop_front();
  Peer& peer = *peers_[static_cast<size_t>(process)];
  peer.buried = true;
  for (Incoming* incoming : peer.inbound) {
    if (incoming->framesUnderWay > 0) continue;  // MPI may still write: its space is lost
    arena_.giveAll(std::vector<Descriptor>{incoming->message});
    delete incoming;
  }
  peer.inbound.clear();
  peer.assembly = Assembly{};
  abandonRequests([process](const Pending& pending) {
    return pending.peer == process && pending.frame.payload == nullptr;
  });
  chooseProbed();
  return true;
}

template <typename Applies>
inline void Engine::abandonRequests(Applies applies) {
  size_t kept = 0;
  for (size_t i = 0; i < requests_.size(); i++) {
    if (applies(pending_[i])) {
      counters.bytesAbandoned += pending_[i].frame.length;
      abandoned_.push_back(std::move(pending_[i]));
      continue;
    }
    if (kept != i) {
      requests_[kept] = requests_[i];
      pending_[kept] = std::move(pending_[i]);
    }
    kept++;
  }
  requests_.resize(kept);
  pending_.resize(kept);
}

}  // namespace baash
