/** An emulation as the tests take it: the reference model, the paper's blocks, one rank a core. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseCostModel } from "../../src/emulation/cost-model.ts";
import { TRANSACTION_BYTES } from "../../src/emulation/sizes.ts";
import type { EmulationOptions } from "../../src/emulation/world.ts";

export const REFERENCE = join(import.meta.dir, "../../src/emulation/reference-model.json");
export const referenceText = readFileSync(REFERENCE, "utf8");

export function emulationOptions(changes: Partial<EmulationOptions>): EmulationOptions {
  return {
    ...{ ranks: 16, rounds: 60, load: 10, blockTransactions: 4, blockDelayMs: 5, difficulty: 8 },
    transactionBytes: TRANSACTION_BYTES,
    pipelineDepth: 2,
    ...{ ranksPerNode: 64, coresPerNode: 64 },
    dissemination: "auto",
    ...{ kills: [], late: undefined },
    model: parseCostModel(referenceText, REFERENCE),
    ...changes,
  };
}
