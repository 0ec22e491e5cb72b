// The MPI addon: what JavaScript sees of the engine (mpi-engine.h). All functions here run on
// JavaScript's thread, check their arguments, enqueue a command and return; none calls MPI.
//
// Who owns a buffer: a send either copies (pin = false) or keeps a reference to the Uint8Array until
// MPI is done with it; buffers of collectives are kept by the caller (src/transport/mpi.ts) until the
// event with their id, or for ever once their lane is poisoned; the arena is kept by a reference here.
#include <napi.h>

#include <cstring>

#include "mpi-arguments.h"
#include "mpi-loop.h"

namespace {

using baash::Command;
using baash::Descriptor;
using baash::Engine;
using baash::Event;
using baash::Output;
using baash::Payload;
using baash::arrayOf;
using baash::bytesAt;
using baash::deadlineAt;
using baash::numberAt;
using baash::processesAt;
using baash::processOf;

// One per process: MPI itself can be initialized only once.
struct Addon {
  std::unique_ptr<Engine> engine;
  Napi::ThreadSafeFunction notifier;
  Napi::FunctionReference onMessages, onEvent, onReachable;
  Napi::ObjectReference arena;
  Napi::Reference<Napi::Int32Array> descriptors;
  size_t descriptorsMax = 0;
  Output output;
};
Addon* addon = nullptr;

Engine& engineOf(const Napi::CallbackInfo& info) {
  if (addon == nullptr || !addon->engine) throw Napi::Error::New(info.Env(), "MPI is not open");
  return *addon->engine;
}

Payload* payloadOf(const Napi::Uint8Array& bytes, bool pin, int users) {
  auto* payload = new Payload();
  payload->length = bytes.ByteLength();
  payload->users = users;
  if (pin) {
    payload->data = bytes.Data();
    payload->pin = new Napi::ObjectReference(Napi::Persistent(bytes.As<Napi::Object>()));
  } else {
    payload->owned.reset(new uint8_t[payload->length]);
    if (payload->length > 0) memcpy(payload->owned.get(), bytes.Data(), payload->length);
    payload->data = payload->owned.get();
  }
  return payload;
}

void emit(Napi::Env env, const Event& event) {
  static const char* const KINDS[] = {"opened",  "complete",        "laneFailed", "regrouped",
                                      "spawned", "operationFailed", "reachable",  "error",
                                      "closed"};
  if (event.kind == Event::Kind::Reachable) {
    addon->onReachable.Call({arrayOf(env, event.numbers), arrayOf(env, event.neighbours)});
    return;
  }
  addon->onEvent.Call({Napi::String::New(env, KINDS[static_cast<int>(event.kind)]),
                       Napi::Number::New(env, event.id), Napi::Number::New(env, event.lane),
                       Napi::Number::New(env, event.peer), Napi::Boolean::New(env, event.flag),
                       Napi::String::New(env, event.code), Napi::String::New(env, event.call),
                       Napi::String::New(env, event.text), arrayOf(env, event.numbers)});
}

// Runs on JavaScript's thread, once for all that is pending. The space of messages is given back when
// their callback returns, also when it throws.
void drain(Napi::Env env, Napi::Function) {
  if (addon == nullptr || !addon->engine) return;
  Output& output = addon->output;
  output.messages.clear();
  output.events.clear();
  output.sent.clear();
  addon->engine->takeOutput(output);
  for (Payload* payload : output.sent) {
    delete static_cast<Napi::ObjectReference*>(payload->pin);
    delete payload;
  }
  // Before the first message of a process that was not there before.
  for (const Event& event : output.events) {
    if (event.kind != Event::Kind::Reachable) continue;
    Napi::HandleScope scope(env);
    emit(env, event);
  }
  std::vector<Descriptor> batch;
  int32_t* descriptors = addon->descriptors.Value().Data();
  for (size_t first = 0; first < output.messages.size(); first += batch.size()) {
    const size_t count = std::min(addon->descriptorsMax, output.messages.size() - first);
    batch.assign(output.messages.begin() + static_cast<long>(first),
                 output.messages.begin() + static_cast<long>(first + count));
    for (size_t i = 0; i < count; i++) {
      descriptors[3 * i] = batch[i].from;
      descriptors[3 * i + 1] = static_cast<int32_t>(batch[i].offset);
      descriptors[3 * i + 2] = static_cast<int32_t>(batch[i].length);
    }
    Napi::HandleScope scope(env);
    try {
      addon->onMessages.Call({Napi::Number::New(env, static_cast<double>(count))});
    } catch (const Napi::Error&) {
      addon->engine->release(batch);
      throw;
    }
    addon->engine->release(batch);
  }
  for (const Event& event : output.events) {
    if (event.kind == Event::Kind::Reachable) continue;
    Napi::HandleScope scope(env);
    emit(env, event);
    if (event.kind == Event::Kind::Closed) {
      addon->engine->thread.join();
      addon->notifier.Release();
    }
  }
}

// open(lanes, messageBytesMax, ranksOnHost, arena, descriptors: Int32Array of triples, onMessages,
// onEvent, onReachable, doublingFrom)
Napi::Value open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (addon != nullptr) throw Napi::Error::New(env, "MPI can be opened once in a process");
  Engine::Options options;
  options.lanes = static_cast<int>(numberAt(info, 0, 0, 64));
  options.messageBytesMax = static_cast<size_t>(numberAt(info, 1, 1, 0x7fffffff));
  options.ranksOnHost = static_cast<int>(numberAt(info, 2, 0, 1e6));
  options.doublingFrom = static_cast<int>(numberAt(info, 8, 1, 1e9));
  Napi::Uint8Array arena = bytesAt(info, 3);
  const Napi::Int32Array descriptors = info[4].As<Napi::Int32Array>();
  options.arena = arena.Data();
  options.arenaBytes = arena.ByteLength();
  if (options.arenaBytes > 0x7fffffff || options.arenaBytes < 2 * options.messageBytesMax) {
    throw Napi::RangeError::New(env, "the arena must hold two messages and stay below 2 GiB");
  }
  addon = new Addon();
  addon->arena = Napi::Persistent(arena.As<Napi::Object>());
  addon->descriptors = Napi::Reference<Napi::Int32Array>::New(descriptors, 1);
  addon->descriptorsMax = descriptors.ElementLength() / 3;
  addon->onMessages = Napi::Persistent(info[5].As<Napi::Function>());
  addon->onEvent = Napi::Persistent(info[6].As<Napi::Function>());
  addon->onReachable = Napi::Persistent(info[7].As<Napi::Function>());
  addon->notifier = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "baash-mpi", 0, 1);
  options.notify = [] { addon->notifier.NonBlockingCall(drain); };
  addon->engine = std::make_unique<Engine>(std::move(options));
  addon->engine->launch();
  return env.Undefined();
}

Napi::Value facts(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Engine& engine = engineOf(info);
  Napi::Object object = Napi::Object::New(env);
  object.Set("rank", engine.rank);
  object.Set("size", engine.size);
  object.Set("threadMultiple", engine.threadLevel >= MPI_THREAD_MULTIPLE);
  object.Set("host", engine.host);
  object.Set("library", engine.library);
  object.Set("spawned", engine.spawned);
  object.Set("processes", arrayOf(env, engine.processes));
  object.Set("ranksOnHost", arrayOf(env, engine.ranksOnHost));
  return object;
}

// send(to, bytes, pin)
Napi::Value send(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Send;
  command.to = processOf(info.Env(), info[0]);
  command.payload = payloadOf(bytesAt(info, 1), info[2].ToBoolean(), 1);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// sendMany(processes, bytes, pin)
Napi::Value sendMany(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Send;
  command.ranks = processesAt(info, 0);
  if (command.ranks.empty()) return info.Env().Undefined();
  const int users = static_cast<int>(command.ranks.size());
  command.payload = payloadOf(bytesAt(info, 1), info[2].ToBoolean(), users);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// allgather(lane, id, send, receive, bytes a rank, members, deadlineMs)
Napi::Value allgather(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Allgather;
  command.lane = static_cast<int>(numberAt(info, 0, 0, engine.lanes() - 1));
  command.id = numberAt(info, 1, 0, 9e15);
  Napi::Uint8Array send = bytesAt(info, 2), receive = bytesAt(info, 3);
  const double count = numberAt(info, 4, 0, 0x7fffffff), members = numberAt(info, 5, 1, 1e6);
  if (send.ByteLength() < count || static_cast<double>(receive.ByteLength()) < count * members) {
    throw Napi::RangeError::New(info.Env(), "a buffer of the allgather is too small");
  }
  command.sendBytes = send.Data();
  command.receiveBytes = receive.Data();
  command.count = static_cast<int>(count);
  command.deadlineMs = deadlineAt(info, 6);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// allreduce(id, send: bytes of doubles, receive, operation, deadlineMs)
Napi::Value allreduce(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Allreduce;
  command.id = numberAt(info, 0, 0, 9e15);
  Napi::Uint8Array send = bytesAt(info, 1), receive = bytesAt(info, 2);
  if (send.ByteLength() != receive.ByteLength() || send.ByteLength() % sizeof(double) != 0) {
    throw Napi::RangeError::New(info.Env(), "the buffers of the allreduce differ");
  }
  command.sendBytes = send.Data();
  command.receiveBytes = receive.Data();
  command.count = static_cast<int>(send.ByteLength() / sizeof(double));
  command.option = static_cast<int>(numberAt(info, 3, 0, 2));
  command.deadlineMs = deadlineAt(info, 4);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// barrier(id, deadlineMs)
Napi::Value barrier(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Barrier;
  command.id = numberAt(info, 0, 0, 9e15);
  command.deadlineMs = deadlineAt(info, 1);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// forget(process)
Napi::Value forget(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Forget;
  command.to = processOf(info.Env(), info[0]);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// regroup(id, members, attempt, deadlineMs)
Napi::Value regroup(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Regroup;
  command.id = numberAt(info, 0, 0, 9e15);
  command.ranks = processesAt(info, 1);
  command.option = static_cast<int>(numberAt(info, 2, 0, 0x7fffffff));
  command.deadlineMs = deadlineAt(info, 3);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// spawn(id, members, attempt, count, command: words, deadlineMs)
Napi::Value spawn(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  Command command;
  command.kind = Command::Kind::Spawn;
  command.id = numberAt(info, 0, 0, 9e15);
  command.ranks = processesAt(info, 1);
  command.option = static_cast<int>(numberAt(info, 2, 0, 0x7fffffff));
  command.count = static_cast<int>(numberAt(info, 3, 1, 1e6));
  command.words = baash::wordsAt(info, 4);
  command.deadlineMs = deadlineAt(info, 5);
  engine.enqueue(std::move(command));
  return info.Env().Undefined();
}

// install(id of a regroup that succeeded): later collectives use its lanes
Napi::Value install(const Napi::CallbackInfo& info) {
  Command command;
  command.kind = Command::Kind::Install;
  command.id = numberAt(info, 0, 0, 9e15);
  engineOf(info).enqueue(std::move(command));
  return info.Env().Undefined();
}

Napi::Value start(const Napi::CallbackInfo& info) {
  Command command;
  command.kind = Command::Kind::Start;
  engineOf(info).enqueue(std::move(command));
  return info.Env().Undefined();
}

// close(deadlineMs)
Napi::Value close(const Napi::CallbackInfo& info) {
  Command command;
  command.kind = Command::Kind::Close;
  command.deadlineMs = deadlineAt(info, 0);
  engineOf(info).enqueue(std::move(command));
  return info.Env().Undefined();
}

// Lets the process end although the MPI thread hangs in a finalize.
Napi::Value leave(const Napi::CallbackInfo& info) {
  engineOf(info);
  addon->notifier.Unref(info.Env());
  return info.Env().Undefined();
}

// abort(code)
Napi::Value abortJob(const Napi::CallbackInfo& info) {
  Command command;
  command.kind = Command::Kind::Abort;
  command.option = static_cast<int>(numberAt(info, 0, 0, 255));
  engineOf(info).enqueue(std::move(command));
  return info.Env().Undefined();
}

Napi::Value counters(const Napi::CallbackInfo& info) {
  Engine& engine = engineOf(info);
  const baash::Counters& c = engine.counters;
  Napi::Object object = Napi::Object::New(info.Env());
  auto set = [&](const char* name, uint64_t value) { object.Set(name, static_cast<double>(value)); };
  set("sends", c.sends);
  set("sendBytes", c.sendBytes);
  set("sendsPending", c.sendsPending);
  set("sendBytesPending", c.sendBytesPending);
  set("sendsDropped", c.sendsDropped);
  set("receives", c.receives);
  set("receiveBytes", c.receiveBytes);
  set("oversizeRejected", c.oversizeRejected);
  set("arenaBytesUsed", engine.arenaUsed());
  set("arenaWaits", c.arenaWaits);
  set("collectives", c.collectives);
  set("lanesPoisoned", c.lanesPoisoned);
  set("errors", c.errors);
  set("polls", c.polls);
  set("sleeps", c.sleeps);
  set("batches", c.batches);
  set("meshesProbed", c.meshesProbed);
  set("helpersLeft", c.helpersLeft);
  set("bytesAbandoned", c.bytesAbandoned);
  return object;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto set = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name));
  };
  set("open", open);
  set("facts", facts);
  set("start", start);
  set("send", send);
  set("sendMany", sendMany);
  set("allgather", allgather);
  set("allreduce", allreduce);
  set("barrier", barrier);
  set("forget", forget);
  set("regroup", regroup);
  set("spawn", spawn);
  set("install", install);
  set("counters", counters);
  set("close", close);
  set("leave", leave);
  set("abort", abortJob);
  return exports;
}

}  // namespace

NODE_API_MODULE(baash_mpi, init)
