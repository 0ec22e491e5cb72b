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

#include "crc32c.h"
#include "execution.h"
#include "kernel-arguments.h"
#include "transactions.h"

namespace {

using baash::Arguments;
using baash::kSafeIntegerMax;

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

bool isPowerOfTwo(uint64_t count) { return count > 0 && (count & (count - 1)) == 0; }

// The tables of a state, from argument `first` on, in the order of src/ledger/native-execution.ts.
template <size_t COUNT>
baash::Tables tablesOf(Arguments<COUNT>& args, size_t first) {
  const auto control = args.doubles(first);
  baash::Tables tables{control.data, args.ints(first + 1), args.ints(first + 2), args.ints(first + 3),
                       args.doubles(first + 4), args.doubles(first + 5), args.ints(first + 6),
                       args.ints(first + 7), args.ints(first + 8)};
  const auto fits = [](uint64_t slots, double shift) {
    return isPowerOfTwo(slots) && shift >= 0 && shift < 32 && (uint64_t{1} << (32 - int(shift))) * 2 <= slots;
  };
  if (!args.ok()) return tables;
  if (control.count < baash::kControlCount || tables.rounds.count < 2 || !isPowerOfTwo(tables.heads.count) ||
      tables.dirty.count < (1 << 11) || !fits(tables.index.count, control.data[baash::kIndexShift]) ||
      !fits(tables.floors.count, control.data[baash::kFloorShift]) ||
      !fits(tables.balances.count, control.data[baash::kBalanceShift]) ||
      (control.data[baash::kCapacity]) * baash::kEntryWords > double(tables.entries.count)) {
    args.fail(true, "a table has no size that it can have");
  }
  return tables;
}

napi_value turn(napi_env env, baash::Turn ended) {
  if (ended != baash::kDamaged) return number(env, ended);
  napi_throw_error(env, "DAMAGED", "a block or a table of the state is not what it must be: a bug");
  return nullptr;
}

napi_value execute(napi_env env, napi_callback_info info) {
  Arguments<16> args(env, info);
  const auto bytes = args.bytes(0), ids = args.bytes(1);
  const auto blocks = args.words(2);
  const uint64_t blockCount = args.integer(3);
  const auto outcomes = args.bytes(4), effects = args.bytes(5);
  const uint64_t effectsOffset = args.integer(6);
  const baash::Tables tables = tablesOf(args, 7);
  if (args.ok() && blockCount > blocks.count / 4) args.fail(true, "count reaches beyond the blocks");
  const double* const control = tables.control;
  uint64_t transactions = 0;
  bool isPlace = false;
  for (uint64_t i = 0; i < blockCount && args.ok(); i++) {
    const uint32_t* const block = blocks.data + 4 * i;
    args.within(bytes, block[0], block[1], "a body");
    args.within(ids, block[3], uint64_t{block[2]} * baash::kHashBytes, "txnIDs");
    if (uint64_t{block[0]} + block[1] > UINT32_MAX) args.fail(true, "a body lies beyond 4 GiB");
    if (args.ok() && double(i) == control[baash::kBlock]) {
      const double index = control[baash::kIndex], at = control[baash::kAt];
      isPlace = index >= 0 && index <= block[2] && control[baash::kDone] == double(transactions) + index &&
                at >= block[0] && at <= double(block[0]) + block[1];
    }
    transactions += block[2];
  }
  args.within(outcomes, 0, transactions, "outcomes");
  args.within(effects, effectsOffset, transactions + blockCount * baash::kHashBytes, "effects");
  if (args.ok() && !isPlace) args.fail(true, "the place to go on at lies outside the blocks");
  if (!args.ok()) return nullptr;
  return turn(env, baash::Execution(tables, bytes.data, ids.data, blocks.data, static_cast<uint32_t>(blockCount),
                                    outcomes.data, effects.data + effectsOffset).run());
}

napi_value forgetRound(napi_env env, napi_callback_info info) {
  Arguments<9> args(env, info);
  const baash::Tables tables = tablesOf(args, 0);
  return args.ok() ? turn(env, baash::forgetRound(tables)) : nullptr;
}

// Chains the entries from `first` on, before `end`, to heads that were all empty or hold the others.
napi_value linkRemembered(napi_env env, napi_callback_info info) {
  Arguments<4> args(env, info);
  baash::Tables tables{};
  tables.entries = args.ints(0);
  tables.heads = args.ints(1);
  const uint64_t first = args.integer(2), end = args.integer(3);
  if (args.ok() && (first == 0 || end * baash::kEntryWords > tables.entries.count)) {
    args.fail(true, "entries reach beyond their memory");
  }
  if (args.ok() && !isPowerOfTwo(tables.heads.count)) args.fail(true, "heads are a power of two");
  if (!args.ok()) return nullptr;
  for (uint64_t i = first; i < end; i++) {
    baash::linkEntry(tables, static_cast<int64_t>(i), tables.entries.data + baash::kEntryWords * i);
  }
  return nullptr;
}

// Verdicts of the transactions from `first` on; answers the index after the last one that is good.
napi_value checkTransactions(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto bytes = args.bytes(0);
  const auto spans = args.words(1);
  const uint64_t first = args.integer(2), end = args.integer(3);
  const auto chainId = args.bytes(4), verdicts = args.bytes(5);
  args.spansWithin(spans, end, bytes);
  args.within(chainId, 0, baash::kChainIdBytes, "chainId");
  args.within(verdicts, 0, end, "verdicts");
  if (!args.ok()) return nullptr;
  uint64_t good = end;
  for (uint64_t i = first; i < end; i++) {
    const uint8_t* const txn = bytes.data + spans.data[2 * i];
    verdicts.data[i] = baash::checkTransaction(txn, spans.data[2 * i + 1], chainId.data);
    if (verdicts.data[i] != baash::kGood && good == end) good = i;
  }
  return number(env, static_cast<double>(good));
}

napi_value scanBody(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto bytes = args.bytes(0);
  const uint64_t offset = args.integer(1), length = args.integer(2), count = args.integer(3);
  const auto spans = args.words(4);
  const uint64_t first = args.integer(5);
  args.within(bytes, offset, length, "body");
  if (args.ok() && first > spans.count / 2) args.fail(true, "first reaches beyond the spans");
  if (!args.ok()) return nullptr;
  auto* const out = const_cast<uint32_t*>(spans.data) + 2 * first;
  return number(env, baash::scanBody(bytes.data, offset, length, count, out, spans.count / 2 - first));
}

napi_value firstRemembered(napi_env env, napi_callback_info info) {
  Arguments<6> args(env, info);
  const auto bytes = args.bytes(0);
  const auto spans = args.words(1);
  const uint64_t from = args.integer(2), count = args.integer(3);
  baash::Tables tables{};
  tables.entries = args.ints(4);
  tables.heads = args.ints(5);
  args.spansWithin(spans, count, bytes);
  for (uint64_t i = from; i < count && args.ok(); i++) {
    if (spans.data[2 * i + 1] < baash::kHeaderBytes) args.fail(true, "a transaction is cut short");
  }
  if (args.ok() && !isPowerOfTwo(tables.heads.count)) args.fail(true, "heads are a power of two");
  if (!args.ok()) return nullptr;
  return number(env, static_cast<double>(
                         baash::firstRemembered(tables, bytes.data, spans.data, from, count)));
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
  define(env, exports, "execute", execute);
  define(env, exports, "forgetRound", forgetRound);
  define(env, exports, "linkRemembered", linkRemembered);
  define(env, exports, "checkTransactions", checkTransactions);
  define(env, exports, "scanBody", scanBody);
  define(env, exports, "firstRemembered", firstRemembered);
  exports.Set("instructions", Napi::Boolean::New(env, baash::compress.instructions));
  return exports;
}

}  // namespace

NODE_API_MODULE(kernels, init)
