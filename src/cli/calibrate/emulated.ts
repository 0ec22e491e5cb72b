/** The emulation of what `jobs.ts` measures: all ranks on this machine, the same blocks and puzzle. */
import { COST_MODEL_VERSION, type CostModel } from "../../emulation/cost-model.ts";
import { emulate } from "../../emulation/emulation.ts";
import type { Figures, Measurement } from "../../emulation/fit.ts";
import { TRANSACTION_BYTES } from "../../emulation/sizes.ts";

export async function emulatedFigures(
  model: CostModel,
  job: Pick<Measurement, "ranks" | "cores" | "load" | "blockTransactions" | "difficulty">,
  rounds: number,
): Promise<Figures> {
  const { ranks, cores, load, blockTransactions, difficulty } = job;
  const result = await emulate({
    ...{ ranks, load, rounds, model, difficulty, blockTransactions },
    blockDelayMs: 5,
    transactionBytes: TRANSACTION_BYTES,
    pipelineDepth: 2,
    ranksPerNode: ranks,
    coresPerNode: cores,
    dissemination: "direct",
    kills: [],
    late: undefined,
  });
  return {
    throughput: result.throughput,
    roundsPerS: 1000 / result.roundMs,
    agreedMs: result.latencyMs.agreed.p50 ?? 0,
    finalMs: result.latencyMs.final.p50 ?? 0,
  };
}

/** Where a fit begins, and what is assumed because one machine cannot show it. */
export function startModel(measured: {
  readonly name: string;
  readonly cores: number;
  readonly date: string;
  readonly ranks: readonly number[];
  readonly hashUs: number;
  readonly messages: {
    readonly messageUs: number;
    readonly byteNs: number;
    readonly latencyUs: number;
    readonly bandwidthBytesPerS: number;
  };
  readonly storage: Omit<CostModel["storage"], "handOverMs">;
  readonly wattsPerCore: number;
  readonly wattsSource: string;
}): CostModel {
  const { name, cores, date, ranks, hashUs, messages, storage } = measured;
  const { messageUs, byteNs, latencyUs, bandwidthBytesPerS } = messages;
  const short = (value: number) => Number(value.toPrecision(4));
  return {
    version: COST_MODEL_VERSION,
    machine: {
      ...{ name, cores, measured: date, ranks: [...ranks] },
      notes: [
        "between nodes: 100 Gbit/s and 2 us, as InfiniBand HDR100 has it; assumed, not measured",
        "storage: the disk of the measured machine stands for the parallel file system",
        "a death is known to all after 150 ms and sealed 100 ms later (src/monitor); assumed",
      ],
    },
    network: {
      local: {
        latencyUs: short(latencyUs),
        bandwidthBytesPerS: short(bandwidthBytesPerS),
        nodeBandwidthBytesPerS: short(cores * bandwidthBytesPerS),
      },
      remote: { latencyUs: 2, bandwidthBytesPerS: 12.5e9, nodeBandwidthBytesPerS: 12.5e9 },
    },
    cpu: {
      ...{ roundUs: 400, messageUs: short(messageUs), byteNs: short(byteNs) },
      ...{
        crowding: 0.1,
        proposalUs: 40,
        voteUs: 12,
        blockUs: 2,
        hashUs: short(hashUs),
      },
      ...{ ownTransactionUs: 10, transactionUs: 3, recordUs: 300 },
    },
    storage: {
      handOverMs: 0.3,
      appendMs: short(storage.appendMs),
      readMs: short(storage.readMs),
      bandwidthBytesPerS: short(storage.bandwidthBytesPerS),
    },
    membership: { detectMs: 150, gatherMs: 100 },
    power: { wattsPerCore: measured.wattsPerCore, source: measured.wattsSource },
  };
}
