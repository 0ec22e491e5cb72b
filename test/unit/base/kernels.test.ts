/**
 * The native kernels against published vectors, against Bun's own SHA-256 and against a plain
 * recursive Merkle tree; with the processor's instructions here, and with the portable code in a
 * second process that runs this very file.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { concatBytes, fromHex, readU64, toHex, writeU64 } from "../../../src/base/bytes.ts";
import { kernels } from "../../../src/base/kernels.ts";

const ascii = (text: string) => new TextEncoder().encode(text);
const plainSha256 = (bytes: Uint8Array) =>
  new Uint8Array(new Bun.CryptoHasher("sha256").update(bytes).digest());

function sha256(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(32);
  kernels.sha256(bytes, 0, bytes.length, out, 0);
  return out;
}

function hmac(key: Uint8Array, bytes: Uint8Array): string {
  const out = new Uint8Array(32);
  kernels.hmacSha256(key, bytes, 0, bytes.length, out, 0);
  return toHex(out);
}

/** Lays messages one after the other behind `gap` bytes, in memory that threads can share. */
function layOut(messages: Uint8Array[], gap: number): { bytes: Uint8Array; spans: Uint32Array } {
  const joined = concatBytes([new Uint8Array(gap), ...messages]);
  const bytes = new Uint8Array(new SharedArrayBuffer(joined.length));
  bytes.set(joined);
  const spans = new Uint32Array(2 * messages.length);
  let offset = gap;
  messages.forEach((message, i) => {
    spans.set([offset, message.length], 2 * i);
    offset += message.length;
  });
  return { bytes, spans };
}

function merkleRoot(leaves: Uint8Array[]): string {
  const out = new Uint8Array(40);
  kernels.merkleRoot(concatBytes([new Uint8Array(5), ...leaves]), 5, leaves.length, out, 8);
  return toHex(out, 8);
}

/** RFC 9162 section 2.1.1 word by word. */
function plainRoot(leaves: Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return plainSha256(new Uint8Array(0));
  if (leaves.length === 1) return leaves[0];
  let k = 1;
  while (2 * k < leaves.length) k *= 2;
  const children = [plainRoot(leaves.slice(0, k)), plainRoot(leaves.slice(k))];
  return plainSha256(concatBytes([Uint8Array.of(1), ...children]));
}

function leadingZeroBits(hash: Uint8Array): number {
  let bits = 0;
  for (const byte of hash) {
    if (byte !== 0) return bits + Math.clz32(byte) - 24;
    bits += 8;
  }
  return bits;
}

describe("sha256", () => {
  // FIPS 180-4 examples and NIST CAVP SHA256ShortMsg.
  test.each([
    ["", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    [
      "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
    ],
    [
      "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
      "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1",
    ],
    ["a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
  ])("of %.20s…", (text, digest) => {
    expect(toHex(sha256(ascii(text)))).toBe(digest);
  });

  test("NIST CAVP short message of one byte", () => {
    expect(toHex(sha256(fromHex("d3")))).toBe(
      "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1",
    );
  });

  test("reads and writes at offsets, and may write over its input", () => {
    const bytes = new Uint8Array(200).fill(7);
    const expected = plainSha256(bytes.subarray(3, 193));
    kernels.sha256(bytes, 3, 190, bytes, 10);
    expect(bytes.slice(10, 42)).toEqual(expected);
    expect(bytes[9]).toBe(7);
    expect(bytes[42]).toBe(7);
  });
});

// RFC 4231, test cases 1 to 4, 6 and 7 (5 asks for a truncated code).
test.each([
  [
    "0b".repeat(20),
    toHex(ascii("Hi There")),
    "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
  ],
  [
    toHex(ascii("Jefe")),
    toHex(ascii("what do ya want for nothing?")),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  ],
  [
    "aa".repeat(20),
    "dd".repeat(50),
    "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
  ],
  [
    "0102030405060708090a0b0c0d0e0f10111213141516171819",
    "cd".repeat(50),
    "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
  ],
  [
    "aa".repeat(131),
    toHex(ascii("Test Using Larger Than Block-Size Key - Hash Key First")),
    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
  ],
  [
    "aa".repeat(131),
    toHex(
      ascii(
        "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.",
      ),
    ),
    "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
  ],
])("RFC 4231: HMAC-SHA-256 with key %.8s…", (key, data, code) => {
  expect(hmac(fromHex(key), fromHex(data))).toBe(code);
});

// RFC 3720 appendix B.4, and the check value of the CRC catalogue.
test.each([
  ["32 zeros", new Uint8Array(32), 0x8a9136aa],
  ["32 ones", new Uint8Array(32).fill(0xff), 0x62a8ab43],
  ["0 up to 31", Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
  ["31 down to 0", Uint8Array.from({ length: 32 }, (_, i) => 31 - i), 0x113fdb5c],
  [
    "an iSCSI read command",
    fromHex(
      "01c00000000000000000000000000000140000000000040000000014000000182800000000000000" +
        "0200000000000000",
    ),
    0xd9963a56,
  ],
  ["123456789", ascii("123456789"), 0xe3069283],
  ["nothing", new Uint8Array(0), 0],
])("RFC 3720: CRC32C of %s", (_, bytes, crc) => {
  expect(kernels.crc32c(bytes, 0, bytes.length, 0)).toBe(crc);
});

test("the CRC32C of parts chains to that of the whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, cut) => {
      const head = bytes.length === 0 ? 0 : cut % bytes.length;
      const seed = kernels.crc32c(bytes, 0, head, 0);
      const whole = kernels.crc32c(bytes, 0, bytes.length, 0);
      expect(kernels.crc32c(bytes, head, bytes.length - head, seed)).toBe(whole);
    }),
  );
});

describe("many messages at once", () => {
  test("every length from 0 to 1300 beside its neighbour", () => {
    const messages = Array.from({ length: 1301 }, (_, length) =>
      Uint8Array.from({ length }, (_, i) => i * 31 + length),
    );
    const { bytes, spans } = layOut(messages, 1);
    const leaves = new Uint8Array(32 * messages.length);
    const hashes = new Uint8Array(32 * messages.length);
    kernels.leafHashes(bytes, spans, messages.length, leaves, 0);
    kernels.hashMany(bytes, spans, messages.length, hashes, 0);
    messages.forEach((message, i) => {
      const leaf = plainSha256(concatBytes([Uint8Array.of(0), message]));
      expect(toHex(leaves, 32 * i, 32 * i + 32)).toBe(toHex(leaf));
      expect(toHex(hashes, 32 * i, 32 * i + 32)).toBe(toHex(plainSha256(message)));
    });
  });

  test("agrees with Bun on random messages, and writes nothing else", () => {
    const message = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 9 }), fc.nat(64), (messages, gap) => {
        const { bytes, spans } = layOut(messages, gap);
        const out = new Uint8Array(new SharedArrayBuffer(32 * messages.length + gap + 1)).fill(9);
        const expected = (prefix: number[]) =>
          concatBytes([
            new Uint8Array(gap).fill(9),
            ...messages.map((m) => plainSha256(concatBytes([Uint8Array.from(prefix), m]))),
            Uint8Array.of(9),
          ]);
        kernels.leafHashes(bytes, spans, messages.length, out, gap);
        expect(toHex(out)).toBe(toHex(expected([0])));
        kernels.hashMany(bytes, spans, messages.length, out, gap);
        expect(toHex(out)).toBe(toHex(expected([])));
        for (const m of messages) expect(toHex(sha256(m))).toBe(toHex(plainSha256(m)));
      }),
    );
  });
});

describe("merkleRoot", () => {
  // The published tree of certificate-transparency's reference tests (RFC 6962 and 9162).
  const inputs = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
  ];
  const roots = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
  ];
  test.each(roots.map((root, size) => [size, root] as const))("of the first %d", (size, root) => {
    const { bytes, spans } = layOut(inputs.slice(0, size).map(fromHex), 0);
    const leaves = new Uint8Array(32 * size);
    kernels.leafHashes(bytes, spans, size, leaves, 0);
    const list = Array.from({ length: size }, (_, i) => leaves.subarray(32 * i, 32 * i + 32));
    expect(merkleRoot(list)).toBe(root);
  });

  const leaf = (i: number) => plainSha256(Uint8Array.of(i, i >>> 8));
  // Around each power of two, and beyond one subtree of the kernel (1024 leaves).
  test.each([...Array(70).keys(), 127, 128, 129, 1023, 1024, 1025, 1500, 2047, 2048, 2049, 3073])(
    "of %d leaves is that of the definition",
    (size) => {
      const leaves = Array.from({ length: size }, (_, i) => leaf(i));
      expect(merkleRoot(leaves)).toBe(toHex(plainRoot(leaves)));
    },
  );
});

describe("searchPuzzle", () => {
  test("finds the first nonce that plain hashing finds, wherever the nonce lies", () => {
    const shape = fc.record({
      bytes: fc.uint8Array({ minLength: 8, maxLength: 300 }),
      nonce: fc.nat(),
      gap: fc.nat(16),
      bits: fc.integer({ min: 0, max: 7 }),
      first: fc.oneof(
        fc.nat(),
        fc.maxSafeNat().map((n) => Math.floor(n / 2)),
      ),
      tries: fc.nat(200),
    });
    fc.assert(
      fc.property(shape, ({ bytes, nonce, gap, bits, first, tries }) => {
        const nonceOffset = nonce % (bytes.length - 7);
        const plain = bytes.slice();
        let expected = -1;
        for (let i = 0; i < tries && expected < 0; i++) {
          writeU64(plain, nonceOffset, first + i);
          if (leadingZeroBits(plainSha256(plain)) >= bits) expected = i + 1;
        }
        const message = concatBytes([new Uint8Array(gap), bytes, Uint8Array.of(5)]);
        const length = bytes.length;
        const used = kernels.searchPuzzle(message, gap, length, nonceOffset, bits, first, tries);
        expect(used).toBe(expected);
        const found = message.subarray(gap, gap + length);
        expect(toHex(found)).toBe(toHex(expected < 0 ? bytes : plain));
        expect(message[gap + length]).toBe(5);
      }),
      { numRuns: 60 },
    );
  });

  test("of a block header, 12 bits", () => {
    const header = new Uint8Array(new SharedArrayBuffer(160)).fill(3);
    const tried = kernels.searchPuzzle(header, 0, 160, 152, 12, 1000, 1_000_000);
    expect(tried).toBeGreaterThan(0);
    expect(readU64(header, 152)).toBe(1000 + tried - 1);
    expect(leadingZeroBits(plainSha256(header.slice()))).toBeGreaterThanOrEqual(12);
  });
});

test("scatter copies pieces in order, also inside one array", () => {
  const src = Uint8Array.from({ length: 10 }, (_, i) => i);
  const dst = new Uint8Array(new SharedArrayBuffer(6));
  kernels.scatter(src, dst, Uint32Array.of(8, 0, 2, 1, 3, 3, 5, 1, 1, 10, 6, 0), 4);
  expect([...dst]).toEqual([8, 5, 0, 1, 2, 3]);
  kernels.scatter(src, src, Uint32Array.of(0, 2, 8), 1);
  expect([...src]).toEqual([0, 1, 0, 1, 2, 3, 4, 5, 6, 7]);
});

describe("arguments", () => {
  const bytes = new Uint8Array(64);
  const out = new Uint8Array(32);
  const spans = Uint32Array.of(0, 64, 60, 5);
  const outside: Array<[string, () => unknown]> = [
    ["sha256 input", () => kernels.sha256(bytes, 1, 64, out, 0)],
    ["sha256 out", () => kernels.sha256(bytes, 0, 64, out, 1)],
    ["sha256 negative", () => kernels.sha256(bytes, -1, 2, out, 0)],
    ["sha256 fraction", () => kernels.sha256(bytes, 0.5, 2, out, 0)],
    ["sha256 NaN", () => kernels.sha256(bytes, Number.NaN, 2, out, 0)],
    ["sha256 2^53", () => kernels.sha256(bytes, 2 ** 53, 2, out, 0)],
    ["sha256 wrap", () => kernels.sha256(bytes, 2 ** 53 - 1, 2 ** 53 - 1, out, 0)],
    ["hmac input", () => kernels.hmacSha256(out, bytes, 60, 5, out, 0)],
    ["hmac out", () => kernels.hmacSha256(out, bytes, 0, 5, out, 4)],
    ["leafHashes span", () => kernels.leafHashes(bytes, spans, 2, new Uint8Array(64), 0)],
    ["leafHashes count", () => kernels.leafHashes(bytes, spans, 3, new Uint8Array(96), 0)],
    ["leafHashes out", () => kernels.leafHashes(bytes, spans, 1, out, 1)],
    ["leafHashes huge span", () => kernels.leafHashes(bytes, Uint32Array.of(~0, ~0), 1, out, 0)],
    ["hashMany span", () => kernels.hashMany(bytes, spans, 2, new Uint8Array(64), 0)],
    ["merkleRoot leaves", () => kernels.merkleRoot(bytes, 1, 2, out, 0)],
    ["merkleRoot wrap", () => kernels.merkleRoot(bytes, 0, 2 ** 53 - 1, out, 0)],
    ["merkleRoot out", () => kernels.merkleRoot(bytes, 0, 2, out, 32)],
    ["searchPuzzle nonce", () => kernels.searchPuzzle(bytes, 0, 64, 57, 1, 0, 1)],
    ["searchPuzzle input", () => kernels.searchPuzzle(bytes, 1, 64, 0, 1, 0, 1)],
    ["searchPuzzle bits", () => kernels.searchPuzzle(bytes, 0, 64, 0, 65, 0, 1)],
    ["searchPuzzle nonces", () => kernels.searchPuzzle(bytes, 0, 64, 0, 1, 2 ** 53 - 1, 1)],
    ["crc32c input", () => kernels.crc32c(bytes, 64, 1, 0)],
    ["crc32c seed", () => kernels.crc32c(bytes, 0, 1, 2 ** 32)],
    ["scatter source", () => kernels.scatter(bytes, out, Uint32Array.of(0, 0, 4, 60, 0, 5), 2)],
    ["scatter destination", () => kernels.scatter(bytes, out, Uint32Array.of(0, 30, 3), 1)],
    ["scatter count", () => kernels.scatter(bytes, out, spans, 2)],
  ];
  test.each(outside)("out of range: %s", (_, call) => {
    expect(call).toThrow(RangeError);
    expect(bytes).toEqual(new Uint8Array(64));
    expect(out).toEqual(new Uint8Array(32));
  });

  const wrong = undefined as never;
  const mistyped: Array<[string, () => unknown]> = [
    ["nothing", () => kernels.sha256(wrong, 0, 0, out, 0)],
    ["words for bytes", () => kernels.sha256(new Uint32Array(8) as never, 0, 0, out, 0)],
    ["bytes for words", () => kernels.hashMany(bytes, bytes as never, 0, out, 0)],
    ["a buffer", () => kernels.sha256(bytes.buffer as never, 0, 0, out, 0)],
    ["text for a number", () => kernels.sha256(bytes, "0" as never, 0, out, 0)],
    ["too few", () => (kernels.crc32c as (b: Uint8Array) => number)(bytes)],
  ];
  test.each(mistyped)("of a wrong type: %s", (_, call) => {
    expect(call).toThrow(TypeError);
  });
});

const PORTABLE = process.env.BAASH_PORTABLE_KERNELS === "1";
test("the portable code passes all of this too", async () => {
  if (PORTABLE) return expect(kernels.instructions).toBe(false);
  const child = Bun.spawn([process.execPath, "test", import.meta.path], {
    env: { ...process.env, BAASH_PORTABLE_KERNELS: "1" },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [code, report] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  expect({ code, report: code === 0 ? "" : report }).toEqual({ code: 0, report: "" });
}, 60_000);

test("a Worker loads it too, and both see one SharedArrayBuffer", async () => {
  const file = Bun.resolveSync("../../../src/base/kernels.ts", import.meta.dir);
  const source = `import { kernels } from ${JSON.stringify(file)};
    self.onmessage = ({ data }) => {
      kernels.sha256(data, 0, 3, data, 8);
      postMessage("done");
    };`;
  const url = URL.createObjectURL(new Blob([source], { type: "application/javascript" }));
  const workers = [new Worker(url), new Worker(url)];
  const digests = await Promise.all(
    workers.map(
      (worker, i) =>
        new Promise<string>((resolve, reject) => {
          const shared = new Uint8Array(new SharedArrayBuffer(40));
          shared.fill(i, 0, 3);
          worker.onerror = reject;
          worker.onmessage = () => resolve(toHex(shared, 8));
          worker.postMessage(shared);
        }),
    ),
  );
  expect(digests).toEqual([0, 1].map((i) => toHex(plainSha256(new Uint8Array(3).fill(i)))));
  for (const worker of workers) worker.terminate();
});

test("works in a folder far away, and names the way out when the addon is missing", async () => {
  const source = (await Bun.file(`${import.meta.dir}/../../../src/base/kernels.ts`).text()).replace(
    "./errors.ts",
    Bun.resolveSync("../../../src/base/errors.ts", import.meta.dir),
  );
  const far = `${process.env.TMPDIR ?? "/tmp"}/kernels-test-${process.pid}`;
  const copy = `${far}/src/base/kernels.ts`;
  await Bun.write(copy, source);
  const report = `import(process.argv[1]).then((m) => console.log("loaded", typeof m.kernels.sha256), (e) => console.log(e.code, e.message))`;
  const say = async (file: string) => {
    const child = Bun.spawn([process.execPath, "-e", report, file], { cwd: far, stdout: "pipe" });
    return await new Response(child.stdout).text();
  };
  try {
    const real = Bun.resolveSync("../../../src/base/kernels.ts", import.meta.dir);
    expect(await say(real)).toBe("loaded function\n");
    expect(await say(copy)).toMatch(/^ADDON_MISSING .*: run scripts\/setup\.\n$/);
  } finally {
    await Bun.$`rm -rf ${far}`;
  }
});

describe("batches", () => {
  test("merkleRoots are the roots of each tree", () => {
    const counts = Uint32Array.of(1, 4, 7, 0, 1000, 3);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const leaves = crypto.getRandomValues(new Uint8Array(32 * total));
    const roots = new Uint8Array(32 * counts.length);
    kernels.merkleRoots(leaves, 0, counts, counts.length, roots, 0);
    let at = 0;
    for (const [i, count] of counts.entries()) {
      const root = new Uint8Array(32);
      kernels.merkleRoot(leaves, 32 * at, count, root, 0);
      expect(roots.slice(32 * i, 32 * i + 32)).toEqual(root);
      at += count;
    }
    expect(() => kernels.merkleRoots(leaves, 32, counts, counts.length, roots, 0)).toThrow(
      RangeError,
    );
    expect(() => kernels.merkleRoots(leaves, 0, counts, 7, roots, 0)).toThrow(RangeError);
  });

  test("hashChain links each item to the one before", () => {
    const items = crypto.getRandomValues(new Uint8Array(32 * 5));
    const tip = crypto.getRandomValues(new Uint8Array(32));
    const out = new Uint8Array(32 * 5);
    const first = 2 ** 33 + 7;
    kernels.hashChain(items, 5, tip, first, out, 0);
    let before: Uint8Array<ArrayBuffer> = tip;
    for (let i = 0; i < 5; i++) {
      const number = new Uint8Array(8);
      new DataView(number.buffer).setBigUint64(0, BigInt(first + i), true);
      const hash = new Bun.CryptoHasher("sha256");
      hash
        .update(items.slice(32 * i, 32 * i + 32))
        .update(before)
        .update(number);
      before = new Uint8Array(hash.digest());
      expect(out.slice(32 * i, 32 * i + 32)).toEqual(before);
    }
    expect(() => kernels.hashChain(items, 6, tip, 0, out, 0)).toThrow(RangeError);
  });
});
