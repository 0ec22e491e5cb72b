/** A process that runs one seed after the other, as its parent (campaign.ts) asks for them. */
import { runSeed, type SeedSpec } from "./seed-run.ts";

process.on("message", async (spec: SeedSpec) => {
  process.send!(await runSeed(spec));
});
// Whoever asks is gone: nobody wants an answer.
process.on("disconnect", () => process.exit(0));
