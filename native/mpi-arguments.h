// Arguments of the addon's functions: checked before anything is done with them.
#pragma once

#include <napi.h>

#include <cmath>
#include <string>
#include <vector>

#include "mpi-backoff.h"

namespace baash {

// Process numbers above this are a mistake of the caller's; below, unknown ones are just
// unreachable.
constexpr double PROCESSES_MAX = 1 << 24;

inline double numberAt(const Napi::CallbackInfo& info, size_t index, double min, double max) {
  const double value = info[index].IsNumber() ? info[index].As<Napi::Number>().DoubleValue() : NAN;
  if (!(value >= min && value <= max)) {
    throw Napi::RangeError::New(info.Env(), "argument " + std::to_string(index) + " out of range");
  }
  return value;
}

inline Napi::Uint8Array bytesAt(const Napi::CallbackInfo& info, size_t index) {
  if (!info[index].IsTypedArray()) {
    throw Napi::TypeError::New(info.Env(), "argument " + std::to_string(index) + " is no bytes");
  }
  return info[index].As<Napi::Uint8Array>();
}

inline int processOf(const Napi::Env& env, const Napi::Value& value) {
  const double process = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(process >= 0 && process <= PROCESSES_MAX) || process != std::floor(process)) {
    throw Napi::RangeError::New(env, "no process number");
  }
  return static_cast<int>(process);
}

inline std::vector<int> processesAt(const Napi::CallbackInfo& info, size_t index) {
  std::vector<int> processes;
  if (!info[index].IsArray()) {
    throw Napi::TypeError::New(info.Env(), "processes must be an array");
  }
  const Napi::Array array = info[index].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) {
    processes.push_back(processOf(info.Env(), array.Get(i)));
  }
  return processes;
}

inline std::vector<std::string> wordsAt(const Napi::CallbackInfo& info, size_t index) {
  std::vector<std::string> words;
  const Napi::Array array = info[index].IsArray() ? info[index].As<Napi::Array>()
                                                  : Napi::Array::New(info.Env());
  for (uint32_t i = 0; i < array.Length(); i++) {
    words.push_back(Napi::Value(array.Get(i)).ToString().Utf8Value());
  }
  if (words.empty()) throw Napi::TypeError::New(info.Env(), "a command is an array of words");
  return words;
}

// An absolute time of the steady clock.
inline double deadlineAt(const Napi::CallbackInfo& info, size_t index) {
  return nowMs() + numberAt(info, index, 0, 1e12);
}

inline Napi::Array arrayOf(const Napi::Env& env, const std::vector<int>& numbers) {
  Napi::Array array = Napi::Array::New(env, numbers.size());
  for (size_t i = 0; i < numbers.size(); i++) array.Set(static_cast<uint32_t>(i), numbers[i]);
  return array;
}

}  // namespace baash
