// The byte loops that JavaScript is slow at, as one Node-API addon: build/kernels.node. Loaded by
// src/base/kernels.ts, where each function is described. It holds no state and no MPI, so every
// Worker of a rank loads it.
//
// The functions are called for every block, some for every transaction, so they use the C interface
// of Node-API (a call costs about 0.1 µs); node-addon-api sets up the module. Views may lie over a
// SharedArrayBuffer: only typed arrays are taken, never their buffers. Nothing is kept after
// return. Every argument is checked before a byte is read or written: RangeError or TypeError, no
// half result.
#include <ctime>
#include <cmath>
#include <cstdio>

#include <napi.h>

#include "crc32c.h"
#include "sha256.h"

namespace {

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
    if (ok_ && count > view.length / baash::kHashBytes) {
      return fail(true, "%s reaches beyond its array", what);
    }
    within(view, offset, count * baash::kHashBytes, what);
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

napi_value number(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}

napi_value sha256(napi_env env, napi_callback_info info) {
  Arguments<5> args(env, info);
  const auto bytes = args.bytes(0);
  const uint64_t offset = args.integer(1), length = args.integer(2);
  const auto out = args.bytes(3);
  const uint64_t outOffset = args.integer(4);
  args.within(bytes, offset, length, "input");
  args.within(out, outOffset, baash::kHashBytes, "out");
  if (args.ok()) baash::sha256(bytes.data + offset, length, out.data + outOffset);
  return nullptr;
}

napi_value hmacSha256(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto key = args.bytes(0), bytes = args.bytes(1);
  const uint64_t offset = args.integer(2), length = args.integer(3);
  const auto out = args.bytes(4);
  const uint64_t outOffset = args.integer(5);
  args.within(bytes, offset, length, "input");
  args.within(out, outOffset, baash::kHashBytes, "out");
  if (!args.ok()) return nullptr;
  baash::hmacSha256(key.data, key.length, bytes.data + offset, length, out.data + outOffset);
  return nullptr;
}

template <bool LEAF>
napi_value hashSpans(napi_env env, napi_callback_info info) {
  Arguments<5> args(env, info);
  const auto bytes = args.bytes(0);
  const auto spans = args.words(1);
  const uint64_t count = args.integer(2);
  const auto out = args.bytes(3);
  const uint64_t outOffset = args.integer(4);
  args.spansWithin(spans, count, bytes);
  args.hashesWithin(out, outOffset, count, "out");
  if (args.ok()) baash::hashSpans(bytes.data, spans.data, count, LEAF, out.data + outOffset);
  return nullptr;
}

napi_value merkleRoot(napi_env env, napi_callback_info info) {
  Arguments<5> args(env, info);
  const auto leaves = args.bytes(0);
  const uint64_t offset = args.integer(1), count = args.integer(2);
  const auto out = args.bytes(3);
  const uint64_t outOffset = args.integer(4);
  args.hashesWithin(leaves, offset, count, "leaves");
  args.within(out, outOffset, baash::kHashBytes, "out");
  if (args.ok()) baash::merkleRoot(leaves.data + offset, count, out.data + outOffset);
  return nullptr;
}

// Several trees whose leaves lie one after the other: one call for all blocks of a proposal.
napi_value merkleRoots(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto leaves = args.bytes(0);
  const uint64_t offset = args.integer(1);
  const auto counts = args.words(2);
  const uint64_t trees = args.integer(3);
  const auto out = args.bytes(4);
  const uint64_t outOffset = args.integer(5);
  if (args.ok() && trees > counts.count) args.fail(true, "trees reach beyond the counts");
  uint64_t total = 0;
  for (uint64_t i = 0; i < trees && args.ok(); i++) total += counts.data[i];
  args.hashesWithin(leaves, offset, total, "leaves");
  args.hashesWithin(out, outOffset, trees, "out");
  if (!args.ok()) return nullptr;
  const uint8_t* from = leaves.data + offset;
  for (uint64_t i = 0; i < trees; i++) {
    baash::merkleRoot(from, counts.data[i], out.data + outOffset + baash::kHashBytes * i);
    from += baash::kHashBytes * counts.data[i];
  }
  return nullptr;
}

// out[i] = SHA-256(item[i] ‖ out[i-1] ‖ u64 first + i), with `tip` before the first.
napi_value hashChain(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto items = args.bytes(0);
  const uint64_t count = args.integer(1);
  const auto tip = args.bytes(2);
  const uint64_t first = args.integer(3);
  const auto out = args.bytes(4);
  const uint64_t outOffset = args.integer(5);
  args.hashesWithin(items, 0, count, "items");
  args.within(tip, 0, baash::kHashBytes, "tip");
  args.hashesWithin(out, outOffset, count, "out");
  if (!args.ok()) return nullptr;
  uint8_t message[2 * baash::kHashBytes + 8];
  std::memcpy(message + baash::kHashBytes, tip.data, baash::kHashBytes);
  for (uint64_t i = 0; i < count; i++) {
    std::memcpy(message, items.data + baash::kHashBytes * i, baash::kHashBytes);
    for (int k = 0; k < 8; k++) message[2 * baash::kHashBytes + k] = (first + i) >> (8 * k);
    uint8_t* to = out.data + outOffset + baash::kHashBytes * i;
    baash::sha256(message, sizeof message, to);
    std::memcpy(message + baash::kHashBytes, to, baash::kHashBytes);
  }
  return nullptr;
}

napi_value searchPuzzle(napi_env env, napi_callback_info info) {
  Arguments<7> args(env, info);
  const auto bytes = args.bytes(0);
  const uint64_t offset = args.integer(1), length = args.integer(2), nonceOffset = args.integer(3);
  const auto bits = static_cast<int>(args.integer(4, 64));
  const uint64_t first = args.integer(5), tries = args.integer(6);
  args.within(bytes, offset, length, "input");
  if (args.ok() && nonceOffset + 8 > length) args.fail(true, "nonce reaches beyond the input");
  if (args.ok() && first + tries > static_cast<uint64_t>(kSafeIntegerMax)) {
    args.fail(true, "nonces reach beyond 2^53");
  }
  if (!args.ok()) return nullptr;
  uint8_t* from = bytes.data + offset;
  return number(env, static_cast<double>(
                         baash::searchPuzzle(from, length, nonceOffset, bits, first, tries)));
}

/** Microseconds that the calling thread has had a processor. */
napi_value threadTime(napi_env env, napi_callback_info) {
  timespec spent{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return number(env, 1e6 * static_cast<double>(spent.tv_sec) + 1e-3 * static_cast<double>(spent.tv_nsec));
}

napi_value crc32c(napi_env env, napi_callback_info info) {
  Arguments<4> args(env, info);
  const auto bytes = args.bytes(0);
  const uint64_t offset = args.integer(1), length = args.integer(2);
  const auto seed = static_cast<uint32_t>(args.integer(3, 4294967295.0));
  args.within(bytes, offset, length, "input");
  return args.ok() ? number(env, baash::crc32c(seed, bytes.data + offset, length)) : nullptr;
}

napi_value scatter(napi_env env, napi_callback_info info) {
  Arguments<4> args(env, info);
  const auto src = args.bytes(0), dst = args.bytes(1);
  const auto triples = args.words(2);
  const uint64_t count = args.integer(3);
  if (args.ok() && count > triples.count / 3) args.fail(true, "count reaches beyond the triples");
  if (!args.ok()) return nullptr;
  const uint32_t* const all = triples.data;
  for (uint64_t i = 0; i < count && args.ok(); i++) {
    args.within(src, all[3 * i], all[3 * i + 2], "source");
    args.within(dst, all[3 * i + 1], all[3 * i + 2], "destination");
  }
  if (!args.ok()) return nullptr;
  // memmove: source and destination may be the same array.
  for (const uint32_t* t = all; t < all + 3 * count; t += 3) {
    if (t[2] > 0) std::memmove(dst.data + t[1], src.data + t[0], t[2]);
  }
  return nullptr;
}

void define(Napi::Env env, Napi::Object exports, const char* name, napi_callback callback) {
  napi_value function = nullptr;
  const napi_status status =
      napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
  if (status != napi_ok) throw Napi::Error::New(env);
  exports.Set(name, Napi::Value(env, function));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  define(env, exports, "sha256", sha256);
  define(env, exports, "hmacSha256", hmacSha256);
  define(env, exports, "leafHashes", hashSpans<true>);
  define(env, exports, "hashMany", hashSpans<false>);
  define(env, exports, "merkleRoot", merkleRoot);
  define(env, exports, "merkleRoots", merkleRoots);
  define(env, exports, "hashChain", hashChain);
  define(env, exports, "searchPuzzle", searchPuzzle);
  define(env, exports, "crc32c", crc32c);
  define(env, exports, "threadTime", threadTime);
  define(env, exports, "scatter", scatter);
  exports.Set("instructions", Napi::Boolean::New(env, baash::compress.instructions));
  return exports;
}

}  // namespace

NODE_API_MODULE(kernels, init)
