/**
 * Whether bytes are one msgpack value of the kinds that records use: unsigned integers up to 32 bits,
 * float64, byte strings, texts up to 64 KiB and lists, at most six lists deep. Asked before anything
 * is unpacked, so that no length is believed.
 */

const DEPTH_MAX = 6;
const ITEMS_MAX = 1 << 20;

/** Kinds of heads: how many bytes of length or number follow, and what these count. */
type Head = { width: number; counts: "nothing" | "bytes" | "items" };

const NUMBER = (width: number): Head => ({ width, counts: "nothing" });
const BYTES = (width: number): Head => ({ width, counts: "bytes" });
const ITEMS = (width: number): Head => ({ width, counts: "items" });

const HEADS = new Map<number, Head>([
  [0xc4, BYTES(1)],
  [0xc5, BYTES(2)],
  [0xc6, BYTES(4)],
  [0xcb, NUMBER(8)],
  [0xcc, NUMBER(1)],
  [0xcd, NUMBER(2)],
  [0xce, NUMBER(4)],
  [0xd9, BYTES(1)],
  [0xda, BYTES(2)],
  [0xdc, ITEMS(2)],
  [0xdd, ITEMS(4)],
]);

export function isWellFormed(bytes: Uint8Array): boolean {
  const scan = { bytes, at: 0, items: 0 };
  return value(scan, 0) && scan.at === bytes.length;
}

function value(scan: { bytes: Uint8Array; at: number; items: number }, depth: number): boolean {
  const { bytes } = scan;
  if (++scan.items > ITEMS_MAX || scan.at >= bytes.length) return false;
  const first = bytes[scan.at++];
  if (first < 0x80) return true;
  let counts: Head["counts"];
  let size = 0;
  if (first >= 0x90 && first < 0xc0) {
    counts = first < 0xa0 ? "items" : "bytes";
    size = first < 0xa0 ? first - 0x90 : first - 0xa0;
  } else {
    const head = HEADS.get(first);
    if (head === undefined || scan.at + head.width > bytes.length) return false;
    counts = head.counts;
    if (counts !== "nothing") {
      for (let i = 0; i < head.width; i++) size = size * 256 + bytes[scan.at + i];
    }
    scan.at += head.width;
  }
  if (size > bytes.length - scan.at) return false;
  if (counts === "items") {
    if (depth === DEPTH_MAX) return false;
    for (let i = 0; i < size; i++) if (!value(scan, depth + 1)) return false;
  } else {
    scan.at += size;
  }
  return true;
}
