// CRC32C (Castagnoli, RFC 3720 appendix B.4): the SSE4.2 instruction when the processor has it,
// eight tables else. `seed` is the CRC of the bytes before these (0 at the start), so parts chain.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "sha256-compress.h"

namespace baash {

inline constexpr uint32_t kCastagnoliReversed = 0x82f63b78;

constexpr std::array<std::array<uint32_t, 256>, 8> makeCrcTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kCastagnoliReversed : 0);
    tables[0][i] = crc;
  }
  for (size_t table = 1; table < 8; table++) {
    for (size_t i = 0; i < 256; i++) {
      const uint32_t before = tables[table - 1][i];
      tables[table][i] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}

inline constexpr auto kCrcTables = makeCrcTables();

inline uint32_t crc32cPortable(uint32_t seed, const uint8_t* bytes, size_t length) {
  uint32_t crc = ~seed;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    word ^= crc;
    crc = 0;
    for (size_t i = 0; i < 8; i++) crc ^= kCrcTables[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; length > 0; bytes++, length--) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *bytes) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) inline uint32_t crc32cInstruction(uint32_t seed,
                                                                    const uint8_t* bytes,
                                                                    size_t length) {
  uint64_t crc = static_cast<uint32_t>(~seed);
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    std::memcpy(&word, bytes, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto narrow = static_cast<uint32_t>(crc);
  for (; length > 0; bytes++, length--) narrow = _mm_crc32_u8(narrow, *bytes);
  return ~narrow;
}
#endif

using Crc32c = uint32_t (*)(uint32_t seed, const uint8_t* bytes, size_t length);

inline Crc32c chooseCrc32c() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") && !portableWanted()) return crc32cInstruction;
#endif
  return crc32cPortable;
}

inline const Crc32c crc32c = chooseCrc32c();

}  // namespace baash
