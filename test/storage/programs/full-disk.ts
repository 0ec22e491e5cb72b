/**
 * One writer on a file system of two megabytes, mounted for it alone: fills it, and says what then got
 * through. Prints one JSON object. Started by test/storage/full-disk.test.ts inside its own mount
 * namespace, so that nothing outside sees the mount and nothing stays.
 */
import { closeSync, openSync, readdirSync, statfsSync, unlinkSync, writeSync } from "node:fs";
import type { RecordKind } from "../../../src/ledger/record.ts";
import { NodeFileOps } from "../../../src/storage/node-file-ops.ts";
import { ServiceWriter } from "../../support/service-ledger.ts";

const root = process.argv[2];
const directory = `${root}/ledger`;
const ops = new NodeFileOps();
const options = { directory, force: true, reserveBytes: 512 << 10 };

async function tryAppend(writer: ServiceWriter, kind: RecordKind, bytes: number): Promise<string> {
  try {
    return (await writer.append(kind, bytes)).won ? "won" : "lost";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

/** Somebody else's file takes what is left, to the last block. */
function fill(): void {
  const file = openSync(`${root}/others`, "a");
  try {
    for (const block = new Uint8Array(4096); ; ) writeSync(file, block);
  } catch (error) {
    if ((error as { code: string }).code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
}

const litter = () =>
  (readdirSync(directory, { recursive: true }) as string[]).filter((name) => name.endsWith(".tmp"));
const reserve = () => readdirSync(`${directory}/reserve`).length;

const writer = await ServiceWriter.start(ops, options);
const before = await tryAppend(writer, "QUORUM", 10_000);
const pieces = [reserve()];
fill();
const outcomes: Record<string, string> = { before };
outcomes.round = await tryAppend(writer, "QUORUM", 100_000);
outcomes.noop = await tryAppend(writer, "NOOP", 100);
pieces.push(reserve());
fill();
outcomes.seal = await tryAppend(writer, "SEAL", 300_000);
pieces.push(reserve());
fill();
outcomes.late = await tryAppend(writer, "SEAL", 300_000);
const temps = litter();
const { available, lastError } = await writer.service.health();

const again = await ServiceWriter.start(ops, { ...options, reserveBytes: 0 }).then(
  ({ slot }) => slot,
  (error: { code: string }) => error.code,
);
unlinkSync(`${root}/others`);
const next = await ServiceWriter.start(ops, options);
outcomes.after = await tryAppend(next, "QUORUM", 100_000);
const { type } = statfsSync(root);
const result = { outcomes, pieces, temps, available, lastError: lastError?.code, again, type };
await Bun.write(
  Bun.stdout,
  JSON.stringify({ ...result, slots: next.slot + 1, reserve: reserve() }),
);
