/**
 * One process of the race in test/storage/race.test.ts: appends to a shared directory until the
 * chain is long enough, adopting what others won, and prints the slots that it won itself.
 */
import { NodeFileOps } from "../../src/storage/node-file-ops.ts";
import { SharedLog } from "../../src/storage/shared-log.ts";
import { storageContext } from "../../src/storage/storage-context.ts";
import { judgeToy, toyRecord, ZERO_HASH } from "./toy-record.ts";

const [root, incarnation, slots, segmentRecords] = process.argv.slice(2);
const log = new SharedLog(
  storageContext({
    ops: new NodeFileOps(),
    root,
    incarnation,
    judge: judgeToy,
    segmentRecords: Number(segmentRecords),
  }),
);
const won: number[] = [];
let prevHash: Uint8Array = ZERO_HASH;
for (let slot = 0; slot < Number(slots); slot++) {
  const record = toyRecord(slot, prevHash, `${incarnation} ${slot}`);
  const result = await log.append(record);
  if (result.outcome === "won") {
    won.push(slot);
    prevHash = record.hash;
    continue;
  }
  if (result.outcome !== "lost") throw new Error(`slot ${slot}: ${result.outcome}`);
  const adopted = await log.adopt({ slot, prevHash });
  if (adopted === undefined) throw new Error(`slot ${slot}: lost, but nobody is there`);
  prevHash = adopted.hash;
}
await Bun.write(Bun.stdout, `${JSON.stringify(won)}\n`);
process.exit(0);
