// The compression function of SHA-256 (FIPS 180-4), picked once at run time: the SHA instructions
// of x86 when the processor has them, portable C++ else. Any thread may call it; it keeps no state.
//
// `sha256rnds2` needs 4 cycles to answer but a new one can start every 2, so one message leaves
// half of the unit idle: `two` runs two independent messages side by side and takes as long as one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace baash {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the byte layouts here are little-endian");

inline constexpr size_t kBlockBytes = 64;
inline constexpr size_t kHashBytes = 32;

using State = uint32_t[8];

alignas(64) inline constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

inline constexpr uint32_t kInitialState[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                              0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

inline void initialState(State state) { std::memcpy(state, kInitialState, sizeof kInitialState); }

// ---- portable ---------------------------------------------------------------------------------

inline uint32_t rotateRight(uint32_t x, int by) { return (x >> by) | (x << (32 - by)); }

inline void portableOne(State state, const uint8_t* blocks, size_t count) {
  for (; count > 0; count--, blocks += kBlockBytes) {
    uint32_t w[64];
    std::memcpy(w, blocks, kBlockBytes);
    for (int i = 0; i < 16; i++) w[i] = __builtin_bswap32(w[i]);
    for (int i = 16; i < 64; i++) {
      const uint32_t s0 = rotateRight(w[i - 15], 7) ^ rotateRight(w[i - 15], 18) ^ (w[i - 15] >> 3);
      const uint32_t s1 = rotateRight(w[i - 2], 17) ^ rotateRight(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
      const uint32_t s1 = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25);
      const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRoundConstants[i] + w[i];
      const uint32_t s0 = rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22);
      const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
}

inline void portableTwo(State s, const uint8_t* p, State t, const uint8_t* q, size_t count) {
  portableOne(s, p, count);
  portableOne(t, q, count);
}

// ---- SHA instructions -------------------------------------------------------------------------

#if defined(__x86_64__)
#define BAASH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define BAASH_SHA_INLINE BAASH_SHA __attribute__((always_inline)) inline

// The instructions want the state as (a b e f) and (c d g h).
struct NiState {
  __m128i abef, cdgh;
};

BAASH_SHA_INLINE NiState niLoad(const uint32_t* state) {
  const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state));
  const __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i*>(state + 4));
  const __m128i badc = _mm_shuffle_epi32(low, 0xb1);
  const __m128i hgfe = _mm_shuffle_epi32(high, 0x1b);
  return {_mm_alignr_epi8(badc, hgfe, 8), _mm_blend_epi16(hgfe, badc, 0xf0)};
}

BAASH_SHA_INLINE void niStore(uint32_t* state, const NiState& s) {
  const __m128i feba = _mm_shuffle_epi32(s.abef, 0x1b);
  const __m128i dchg = _mm_shuffle_epi32(s.cdgh, 0xb1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state), _mm_blend_epi16(feba, dchg, 0xf0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

// 4 * LANES message words each, one block further. Fully unrolled, so that all of it stays in
// registers.
template <int LANES>
BAASH_SHA_INLINE void niBlock(NiState* states, const uint8_t* const* blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i w[LANES][4];
  NiState s[LANES];
#pragma GCC unroll 2
  for (int lane = 0; lane < LANES; lane++) {
    s[lane] = states[lane];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const auto* at = reinterpret_cast<const __m128i*>(blocks[lane] + 16 * i);
      w[lane][i] = _mm_shuffle_epi8(_mm_loadu_si128(at), swap);
    }
  }
#pragma GCC unroll 16
  for (int group = 0; group < 16; group++) {
    const __m128i k = _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants + 4 * group));
    __m128i wk[LANES];
#pragma GCC unroll 2
    for (int lane = 0; lane < LANES; lane++) {
      wk[lane] = _mm_add_epi32(w[lane][group & 3], k);
      s[lane].cdgh = _mm_sha256rnds2_epu32(s[lane].cdgh, s[lane].abef, wk[lane]);
    }
#pragma GCC unroll 2
    for (int lane = 0; lane < LANES; lane++) {
      wk[lane] = _mm_shuffle_epi32(wk[lane], 0x0e);
      s[lane].abef = _mm_sha256rnds2_epu32(s[lane].abef, s[lane].cdgh, wk[lane]);
      if (group < 12) {
        __m128i* v = w[lane];
        const __m128i w2 = v[(group + 2) & 3], w3 = v[(group + 3) & 3];
        __m128i next = _mm_sha256msg1_epu32(v[group & 3], v[(group + 1) & 3]);
        next = _mm_add_epi32(next, _mm_alignr_epi8(w3, w2, 4));
        v[group & 3] = _mm_sha256msg2_epu32(next, w3);
      }
    }
  }
#pragma GCC unroll 2
  for (int lane = 0; lane < LANES; lane++) {
    states[lane].abef = _mm_add_epi32(states[lane].abef, s[lane].abef);
    states[lane].cdgh = _mm_add_epi32(states[lane].cdgh, s[lane].cdgh);
  }
}

BAASH_SHA inline void niOne(State state, const uint8_t* blocks, size_t count) {
  NiState s[1] = {niLoad(state)};
  for (; count > 0; count--, blocks += kBlockBytes) niBlock<1>(s, &blocks);
  niStore(state, s[0]);
}

BAASH_SHA inline void niTwo(State s, const uint8_t* p, State t, const uint8_t* q, size_t count) {
  NiState both[2] = {niLoad(s), niLoad(t)};
  const uint8_t* at[2] = {p, q};
  for (; count > 0; count--, at[0] += kBlockBytes, at[1] += kBlockBytes) niBlock<2>(both, at);
  niStore(s, both[0]);
  niStore(t, both[1]);
}
#endif

// ---- the choice -------------------------------------------------------------------------------

struct Compress {
  void (*one)(State state, const uint8_t* blocks, size_t count);
  void (*two)(State s, const uint8_t* p, State t, const uint8_t* q, size_t count);
  bool instructions;
};

// BAASH_PORTABLE_KERNELS=1 takes the portable code everywhere: the tests run both ways on one
// machine.
inline bool portableWanted() {
  const char* value = std::getenv("BAASH_PORTABLE_KERNELS");
  return value != nullptr && std::strcmp(value, "1") == 0;
}

inline Compress chooseCompress() {
#if defined(__x86_64__)
  // CPUID leaf 7, EBX bit 29: asked directly, because __builtin_cpu_supports("sha") needs GCC 14.
  unsigned int a = 0, b = 0, c = 0, d = 0;
  const bool leaf7 = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0;
  const bool sha = leaf7 && (b & (1u << 29)) != 0 && __builtin_cpu_supports("sse4.1");
  if (sha && !portableWanted()) return {niOne, niTwo, true};
#endif
  return {portableOne, portableTwo, false};
}

inline const Compress compress = chooseCompress();

}  // namespace baash
