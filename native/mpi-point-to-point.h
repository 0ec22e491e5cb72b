// Messages between two ranks: frames, windows of sends, the receive path into the arena.
//
// A message longer than FRAME_BYTES_MAX travels as several MPI messages, its frames; the tag of
// each is the number of frames of its message, so a receiver knows from the first one how long the
// message is at least, before it reserves anything. What is too long is received frame by frame
// into one scratch buffer. (Receiving it into a shorter buffer is no way out: Open MPI 4.1 over
// shared memory then reads the full length all the same, past the buffer's end.) A frame longer
// than FRAME_BYTES_MAX, which no program of ours sends, stays with its sender for ever. Tag 0 marks
// a control message, by which engines tell each other of meshes (mpi-mesh.h).
//
// Back-pressure reaches the sender: MPI would otherwise buffer small messages at a slow receiver
// without bound. Every SYNC_MESSAGES-th message (or SYNC_BYTES) goes as a synchronous send, which
// completes only when the receiver matched it, and no more than SYNCS_MAX of them may be under way
// to one destination. So what waits unreceived at a rank is at most about SYNCS_MAX x SYNC_MESSAGES
// x eager limit a peer; the rest waits in the sender's bounded outbox.
#pragma once

#include "mpi-engine.h"

namespace baash {

constexpr size_t FRAME_BYTES_MAX = 1024 * 1024;
constexpr int FRAMES_MAX = 2048;
constexpr int CONTROL_TAG = 0;
constexpr int IN_FLIGHT_MAX = 64;
constexpr int SYNCS_MAX = 2;
constexpr int SYNC_MESSAGES = 16;
constexpr size_t SYNC_BYTES = 256 * 1024;
constexpr size_t OUTBOX_FRAMES_MAX = 65536;
constexpr size_t OUTBOX_BYTES_MIN = 256u * 1024 * 1024;
// Frames taken from MPI in one turn of the loop, before sends and collectives get theirs.
constexpr int RECEIVES_PER_TURN = 64;

inline void Engine::finishPayload(Payload* payload) {
  if (--payload->users > 0) return;
  if (payload->pin != nullptr) {
    sent_.push_back(payload);
  } else {
    delete payload;
  }
}

inline void Engine::send(int to, Payload* payload) {
  Peer* const found = peerOf(to);
  if (found == nullptr || found->forgotten) {
    counters.sendsDropped++;
    finishPayload(payload);
    return;
  }
  Peer& peer = *found;
  const size_t bytesMax = std::max(OUTBOX_BYTES_MIN, 4 * options_.messageBytesMax);
  if (peer.outbox.size() >= OUTBOX_FRAMES_MAX || peer.outboxBytes + payload->length > bytesMax) {
    // A dead or stuck peer must not fill our memory: what it cannot take is lost, and it is told
    // once.
    counters.sendsDropped++;
    if (!peer.stalled) {
      peer.stalled = true;
      postError({"SEND_QUEUE_FULL", "send", "the destination does not receive"}, -1, to);
    }
    finishPayload(payload);
    return;
  }
  const size_t length = payload->length;
  const int frames = length == 0 ? 1 : static_cast<int>((length - 1) / FRAME_BYTES_MAX) + 1;
  payload->users += frames - 1;  // the caller counted this destination once
  for (int i = 0; i < frames; i++) {
    const size_t offset = static_cast<size_t>(i) * FRAME_BYTES_MAX;
    const size_t frameLength = std::min(FRAME_BYTES_MAX, length - offset);
    queueFrame(peer, {payload, offset, frameLength, frames, i == frames - 1});
  }
  pump(to);
}

inline void Engine::queueFrame(Peer& peer, const Frame& frame) {
  peer.outbox.push_back(frame);
  peer.outboxBytes += frame.length;
  if (frame.last) counters.sendsPending++;
  counters.sendBytesPending += frame.length;
}

// Starts what the windows allow; true if anything was started.
inline bool Engine::pump(int to) {
  Peer& peer = *peers_[static_cast<size_t>(to)];
  const MPI_Comm communicator = meshes_[peer.mesh].pointToPoint;
  bool worked = false;
  while (!peer.outbox.empty() && peer.inFlight < IN_FLIGHT_MAX && peer.syncsInFlight < SYNCS_MAX) {
    const Frame frame = peer.outbox.front();
    peer.outbox.pop_front();
    peer.outboxBytes -= frame.length;
    peer.sendsSinceSync++;
    peer.bytesSinceSync += frame.length;
    const bool sync = peer.sendsSinceSync >= SYNC_MESSAGES || peer.bytesSinceSync >= SYNC_BYTES;
    MPI_Request request = MPI_REQUEST_NULL;
    const Pending pending{to, frame, sync, nullptr, nullptr};
    peer.inFlight++;
    if (sync) {
      peer.syncsInFlight++;
      peer.sendsSinceSync = 0;
      peer.bytesSinceSync = 0;
    }
    try {
      const uint8_t* data = frame.payload->data + frame.offset;
      const int count = static_cast<int>(frame.length);
      if (sync) {
        CHECK(MPI_Issend(data, count, MPI_BYTE, peer.meshRank, frame.tag, communicator, &request));
      } else {
        CHECK(MPI_Isend(data, count, MPI_BYTE, peer.meshRank, frame.tag, communicator, &request));
        int done = 0;  // a small message has left already
        CHECK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
      }
    } catch (const MpiError& error) {
      postError(error, -1, to);
      request = MPI_REQUEST_NULL;
    }
    if (request == MPI_REQUEST_NULL) {
      completeSend(pending);
    } else {
      requests_.push_back(request);
      pending_.push_back(pending);
    }
    worked = true;
  }
  if (worked) ring(to);
  if (peer.stalled && peer.outbox.size() < OUTBOX_FRAMES_MAX / 2) peer.stalled = false;
  return worked;
}

inline void Engine::completeSend(const Pending& pending) {
  Peer& peer = *peers_[static_cast<size_t>(pending.peer)];
  sendCompletedMs_ = nowMs();
  peer.inFlight--;
  if (pending.sync) peer.syncsInFlight--;
  if (pending.frame.last) {
    counters.sends++;
    counters.sendsPending--;
  }
  counters.sendBytes += pending.frame.length;
  counters.sendBytesPending -= pending.frame.length;
  finishPayload(pending.frame.payload);
}

inline bool Engine::receiveAll() {
  bool worked = false;
  // Another mesh comes first each time, so that none waits for good behind a busy one.
  if (probed_.size() > 1) probeTurn_ = (probeTurn_ + 1) % probed_.size();
  for (int i = 0; i < RECEIVES_PER_TURN; i++) {
    try {
      if (!receiveFrame()) break;
    } catch (const MpiError& error) {
      postError(error, -1, -1);
      break;
    }
    worked = true;
  }
  return worked;
}

// Finds the next frame of any mesh and holds it.
inline bool Engine::probe() {
  for (size_t i = 0; i < probed_.size(); i++) {
    const size_t turn = (probeTurn_ + i) % probed_.size();
    const Mesh& mesh = meshes_[probed_[turn]];
    int found = 0;
    MPI_Status status;
    CHECK(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, mesh.pointToPoint, &found, &held_.message,
                      &status));
    if (!found) continue;
    probeTurn_ = turn;  // there may be more where this one came from
    MPI_Count length = 0;
    CHECK(MPI_Get_elements_x(&status, MPI_BYTE, &length));
    held_.from = mesh.processes[static_cast<size_t>(status.MPI_SOURCE)];
    held_.tag = status.MPI_TAG;
    held_.length = static_cast<size_t>(length);
    return true;
  }
  return false;
}

// Takes the next frame into the arena; false if there is none or no space for it.
inline bool Engine::receiveFrame() {
  if (!held_.present) {
    if (!probe()) return false;
    if (held_.length > FRAME_BYTES_MAX || held_.tag < 0 || held_.tag > FRAMES_MAX) {
      counters.oversizeRejected++;
      postError({"FRAME_BAD", "MPI_Improbe", std::to_string(held_.length) + " bytes"}, -1,
                held_.from);
      return true;
    }
    if (held_.tag == CONTROL_TAG) {
      receiveControl();
      return true;
    }
    held_.present = true;
  }
  Peer& peer = *peers_[static_cast<size_t>(held_.from)];
  if (peer.buried) {
    held_.present = false;
    receiveInto(scratch_.get(), nullptr);
    return true;
  }
  if (peer.assembly.framesLeft == 0 && !beginMessage(peer)) {
    counters.arenaWaits++;
    return false;
  }
  held_.present = false;
  Assembly& assembly = peer.assembly;
  Incoming* incoming = assembly.incoming;
  assembly.framesLeft--;
  if (incoming == nullptr) {
    receiveInto(scratch_.get(), nullptr);
    return true;
  }
  const bool last = assembly.framesLeft == 0;
  const size_t end = assembly.received + held_.length;
  // The length of the last frame is news: with it a message may be too long after all.
  if (end > incoming->message.length) {
    incoming->rejected = true;
    counters.oversizeRejected++;
    postError({"MESSAGE_TOO_LARGE", "MPI_Improbe", "the last frame is too much"}, -1, held_.from);
    receiveInto(scratch_.get(), nullptr);
  } else {
    receiveInto(options_.arena + incoming->message.offset + assembly.received, incoming);
    assembly.received = end;
  }
  if (last) {
    incoming->allPosted = true;
    if (!incoming->rejected) {
      arena_.shrink(incoming->message.offset, incoming->message.length, end);
      incoming->message.length = end;
    }
    deliver(peer);
  }
  return true;
}

inline void Engine::receiveControl() {
  auto message = std::make_shared<ControlMessage>(held_.length / sizeof(int64_t) + 1);
  MPI_Request request = MPI_REQUEST_NULL;
  int done = 0;
  CHECK(MPI_Imrecv(message->data(), static_cast<int>(held_.length), MPI_BYTE, &held_.message,
                   &request));
  message->resize(held_.length / sizeof(int64_t));
  CHECK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
  if (done) {
    onControl(held_.from, *message);
    return;
  }
  requests_.push_back(request);
  pending_.push_back({held_.from, Frame{}, false, nullptr, message});
}

// Decides on a message from its first frame; false if it has to wait for space.
inline bool Engine::beginMessage(Peer& peer) {
  const size_t most = static_cast<size_t>(held_.tag) * FRAME_BYTES_MAX;
  const size_t least = held_.tag == 1 ? held_.length : most - FRAME_BYTES_MAX + 1;
  Assembly assembly;
  assembly.frames = assembly.framesLeft = held_.tag;
  if (least > options_.messageBytesMax) {
    counters.oversizeRejected++;
    const std::string text = "at least " + std::to_string(least) + " bytes, allowed are " +
                             std::to_string(options_.messageBytesMax);
    postError({"MESSAGE_TOO_LARGE", "MPI_Improbe", text}, -1, held_.from);
  } else {
    const size_t reserved =
        held_.tag == 1 ? held_.length : std::min(most, options_.messageBytesMax);
    size_t offset = 0;
    if (!arena_.take(reserved, offset)) return false;
    assembly.incoming = new Incoming{{held_.from, offset, reserved}};
    peer.inbound.push_back(assembly.incoming);
  }
  peer.assembly = assembly;
  return true;
}

// Receives the held frame. Several discarded frames may be written to the scratch buffer at once:
// it is never read.
inline void Engine::receiveInto(uint8_t* bytes, Incoming* incoming) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int length = static_cast<int>(held_.length);
  int done = 0;
  try {
    CHECK(MPI_Imrecv(bytes, length, MPI_BYTE, &held_.message, &request));
    CHECK(MPI_Test(&request, &done, MPI_STATUS_IGNORE));
  } catch (const MpiError& error) {
    postError(error, -1, held_.from);
    if (incoming != nullptr) incoming->rejected = true;  // the other frames still have to come
    return;
  }
  if (done) return;
  if (incoming != nullptr) incoming->framesUnderWay++;
  requests_.push_back(request);
  pending_.push_back({held_.from, Frame{}, false, incoming, nullptr});
}

// A small message may be complete before a large one that was sent first: it waits for it.
inline void Engine::deliver(Peer& peer) {
  while (!peer.inbound.empty()) {
    Incoming* front = peer.inbound.front();
    if (!front->allPosted || front->framesUnderWay > 0) return;
    if (front->rejected) {
      arena_.giveAll(std::vector<Descriptor>{front->message});
    } else {
      ready_.push_back(front->message);
    }
    delete front;
    peer.inbound.pop_front();
  }
}

}  // namespace baash
