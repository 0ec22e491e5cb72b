/** Folded segments and checkpoints of a made ledger, by the production formats and plain calls. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeU16, writeU64 } from "../../src/base/bytes.ts";
import { sha256 } from "../../src/base/sha256.ts";
import { type KeyPair, signMessage } from "../../src/ledger/keys.ts";
import type { State } from "../../src/ledger/state.ts";
import { encodeHead } from "../../src/storage/checkpoint-head.ts";
import { SNAPSHOT_HEADER_BYTES, SNAPSHOT_MAGIC } from "../../src/storage/format.ts";
import { segmentName } from "../../src/storage/paths.ts";
import { SegmentBuilder } from "../../src/storage/segments.ts";

/** Folds the directory of a segment, complete or not, into one file. */
export function foldSegment(dir: string, segment: number, segmentRecords: number): void {
  const tail = join(dir, "log", segmentName(segment));
  const builder = new SegmentBuilder(segment, segment * segmentRecords);
  const records: Uint8Array[] = [];
  for (const name of readdirSync(tail).sort()) {
    const bytes = new Uint8Array(readFileSync(join(tail, name)));
    const hash = sha256(bytes.subarray(0, 256));
    builder.add({ prevHash: bytes.slice(48, 80), hash, bytes });
    records.push(bytes);
  }
  const content = Buffer.concat([builder.header, ...records, ...builder.finish()]);
  writeFileSync(join(dir, "segments", segmentName(segment)), content);
  rmSync(tail, { recursive: true });
}

export async function writeCheckpoint(
  dir: string,
  head: Omit<Parameters<typeof encodeHead>[0], "snapshot">,
  by: { state: State; ledgerKey: KeyPair; chainId: Uint8Array },
): Promise<void> {
  const { state, ledgerKey, chainId } = by;
  const payload = Buffer.concat(state.snapshot());
  const header = Buffer.alloc(SNAPSHOT_HEADER_BYTES);
  header.write(SNAPSHOT_MAGIC, "latin1");
  writeU16(header, 8, 1);
  writeU64(header, 16, head.slot);
  writeU64(header, 24, payload.length);
  const file = Buffer.concat([header, payload]);
  const note = await encodeHead(
    { ...head, snapshot: sha256(file) },
    {
      chainId,
      publicKey: ledgerKey.publicKey,
      sign: (text) => signMessage(ledgerKey.privateKey, text),
      verify: () => true,
    },
  );
  const base = join(dir, "checkpoints", String(head.slot).padStart(10, "0"));
  writeFileSync(`${base}.state`, file);
  writeFileSync(`${base}.head`, note);
}
