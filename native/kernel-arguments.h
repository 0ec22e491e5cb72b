// The arguments of a kernel's call, unpacked and checked before a byte is touched.
#pragma once

#include <cmath>
#include <cstdio>

#include <napi.h>

#include "sha256.h"
#include "state-tables.h"

namespace baash {

constexpr double kSafeIntegerMax = 9007199254740991.0;  // 2^53 - 1

// The arguments of one call. A reader that fails throws in JavaScript, answers zero and makes
// `ok()` false; the callers read everything, ask once, and only then touch memory.
template <size_t COUNT>
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = COUNT;
    const napi_status status = napi_get_cb_info(env, info, &count, values_, nullptr, nullptr);
    if (status != napi_ok || count < COUNT) {
      fail(false, "needs %zu arguments", COUNT);
    }
  }

  bool ok() const { return ok_; }

  struct Bytes {
    uint8_t* data = nullptr;
    uint64_t length = 0;
  };
  struct Words {
    const uint32_t* data = nullptr;
    uint64_t count = 0;
  };

  Bytes bytes(size_t index) {
    Bytes view;
    void* data = nullptr;
    if (typedArray(index, napi_uint8_array, &data, &view.length)) {
      view.data = static_cast<uint8_t*>(data);
    } else {
      fail(false, "argument %zu is not a Uint8Array", index);
    }
    return view;
  }

  Words words(size_t index) {
    Words view;
    void* data = nullptr;
    if (typedArray(index, napi_uint32_array, &data, &view.count)) {
      view.data = static_cast<const uint32_t*>(data);
    } else {
      fail(false, "argument %zu is not a Uint32Array", index);
    }
    return view;
  }

  Array<int32_t> ints(size_t index) { return array<int32_t>(index, napi_int32_array); }
  Array<double> doubles(size_t index) { return array<double>(index, napi_float64_array); }

  // A whole number from 0 to `max`.
  uint64_t integer(size_t index, double max = kSafeIntegerMax) {
    double value = 0;
    if (!ok_) return 0;
    if (napi_get_value_double(env_, values_[index], &value) != napi_ok) {
      fail(false, "argument %zu is not a number", index);
      return 0;
    }
    if (!(value >= 0 && value <= max) || value != std::floor(value)) {
      fail(true, "argument %zu is out of range", index);
      return 0;
    }
    return static_cast<uint64_t>(value);
  }

  // Both are below 2^53, so the sum cannot wrap.
  void within(const Bytes& view, uint64_t offset, uint64_t length, const char* what) {
    if (ok_ && offset + length > view.length) fail(true, "%s reaches beyond its array", what);
  }

  void spansWithin(const Words& spans, uint64_t count, const Bytes& view) {
    if (!ok_) return;
    if (count > spans.count / 2) return fail(true, "count reaches beyond the spans");
    for (uint64_t i = 0; i < count; i++) {
      if (uint64_t{spans.data[2 * i]} + spans.data[2 * i + 1] > view.length) {
        return fail(true, "span %zu reaches beyond its array", static_cast<size_t>(i));
      }
    }
  }

  void hashesWithin(const Bytes& view, uint64_t offset, uint64_t count, const char* what) {
    if (ok_ && count > view.length / kHashBytes) {
      return fail(true, "%s reaches beyond its array", what);
    }
    within(view, offset, count * kHashBytes, what);
  }

  template <typename... Values>
  void fail(bool range, const char* format, Values... values) {
    if (!ok_) return;
    ok_ = false;
    char text[96];
    std::snprintf(text, sizeof text, format, values...);
    if (range) napi_throw_range_error(env_, "OUT_OF_RANGE", text);
    else napi_throw_type_error(env_, "BAD_ARGUMENT", text);
  }

 private:
  template <typename T>
  Array<T> array(size_t index, napi_typedarray_type type) {
    Array<T> view;
    void* data = nullptr;
    if (typedArray(index, type, &data, &view.count)) view.data = static_cast<T*>(data);
    else fail(false, "argument %zu is not an array of its type", index);
    return view;
  }

  bool typedArray(size_t index, napi_typedarray_type wanted, void** data, uint64_t* length) {
    if (!ok_) return true;
    napi_typedarray_type type;
    size_t count = 0;
    const napi_status status =
        napi_get_typedarray_info(env_, values_[index], &type, &count, data, nullptr, nullptr);
    if (status != napi_ok || type != wanted) return false;
    *length = count;
    return true;
  }

  napi_env env_;
  napi_value values_[COUNT];
  bool ok_ = true;
};

}  // namespace baash
