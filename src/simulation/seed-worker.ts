/** A process that runs one seed after the other, as its parent (campaign.ts) asks for them. */
import { runSeed, type SeedSpec } from "./seed-run.ts";

/** Each state holds WebAssembly memories, which the engine gives back when it collects everything. */
const SEEDS_A_COLLECTION = 8;

let done = 0;
process.on("message", async (spec: SeedSpec) => {
  process.send!(await runSeed(spec));
  if (++done % SEEDS_A_COLLECTION === 0) Bun.gc(true);
});
// Whoever asks is gone: nobody wants an answer.
process.on("disconnect", () => process.exit(0));
