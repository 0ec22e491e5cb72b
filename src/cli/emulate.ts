/** `baash emulate`: the production consensus at many ranks, in virtual time, by a cost model. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command, Option } from "commander";
import { BaashError, EXIT, errorCode, usageError } from "../base/errors.ts";
import type { EmulationOptions } from "../emulation/world.ts";
import { BLOCK_TXNS_MAX, MEMBERS_MAX, PUZZLE_BITS_MAX } from "../limits.ts";
import { print, printJson } from "./output.ts";
import { ProgressLine } from "./progress.ts";
import { EXIT_HELP } from "./run.ts";

export const REFERENCE_MODEL = join(import.meta.dir, "../emulation/reference-model.json");

const HELP = `
One real core judges for all ranks that see the same; late and dead ranks, and whoever records or
seals, are judged apart. What messages, hashes and records cost says the model: scripts/calibrate
measures one, and the one that is taken without --model says of itself where it comes from.

--kill 4@400 lets 4 ranks of the emulation with 400 die in the middle of its rounds, 4@400:250 from
round 250 on, and --kill 4 in every emulation. Clients of the dead go to others.

Examples:
  baash emulate --ranks 100,200,300,400,500 --kill 4@400 --kill 3@500 --svg paper.svg
  baash emulate --ranks 1000,4000,10000,40000 --load 1
  baash emulate --ranks 16 --late 3@20 --load 200 --json | jq '.results[0].latencyMs'
  baash emulate --ranks 32 --ranks-per-node 32 --cores-per-node 2    # as on one small machine
${EXIT_HELP}`;

interface Flags {
  ranks: string;
  rounds: string;
  load: string;
  blockTransactions: string;
  blockDelay: string;
  difficulty: string;
  transactionBytes?: string;
  kill?: string[];
  late?: string;
  dissemination: EmulationOptions["dissemination"];
  ranksPerNode: string;
  coresPerNode: string;
  model: string;
  json?: boolean;
  svg?: string;
}

const collect = (value: string, all: string[] = []) => [...all, value];

export function emulateCommand(): Command {
  return new Command("emulate")
    .description("emulate the ledger at many ranks, from 2 to some ten thousand")
    .option("--ranks <list>", "sizes, one emulation each", "16,100,400,1000")
    .option("--rounds <n>", "rounds of each", "1000")
    .option("--load <tx/s>", "transactions a second of each rank", "10")
    .option("--block-transactions <n>", "transactions in a block, at most", "4")
    .option("--block-delay <ms>", "a block that is not full waits so long", "5")
    .option("--difficulty <bits>", "puzzle of a block", "8")
    .option("--transaction-bytes <n>", "of one transaction (default: a value of 100 bytes)")
    .option("--kill <n[@ranks[:round]]>", "ranks that die; may be repeated", collect)
    .option("--late <n@ms>", "ranks whose messages leave late, and by how much")
    .addOption(
      new Option("--dissemination <form>", "how proposals and votes travel")
        .choices(["auto", "direct", "gathered"])
        .default("auto"),
    )
    .option("--ranks-per-node <n>", "ranks that share a node", "64")
    .option("--cores-per-node <n>", "its cores", "64")
    .option("--model <file>", "cost model", REFERENCE_MODEL)
    .option("--json", "print as JSON")
    .option("--svg <file>", "draw charts")
    .addHelpText("after", HELP)
    .action(run);
}

async function run(flags: Flags): Promise<void> {
  const { emulate } = await import("../emulation/emulation.ts");
  const { chartOf, describeResults } = await import("./emulate/present.ts");
  const { renderChart } = await import("./chart.ts");
  const plans = await planEmulations(flags);
  const results = [];
  for (const plan of plans) {
    const line = new ProgressLine(`${plan.ranks} ranks`, false);
    const onRound = (done: number, all: number) => line.update(done / all, done, "rounds");
    results.push(await emulate(plan, onRound));
    line.end();
  }
  const { model, load, blockTransactions, difficulty, ranksPerNode, coresPerNode } = plans[0];
  const { machine, power } = model;
  const setting =
    `${load} tx/s a rank, blocks of ${blockTransactions}, ${difficulty} puzzle bits; ` +
    `${ranksPerNode} ranks on ${coresPerNode} cores a node`;
  const origin = `costs: ${machine.name}, measured ${machine.measured} at ${machine.ranks.join(" and ")} ranks`;
  if (flags.svg !== undefined)
    await write(flags.svg, renderChart(chartOf(results, `${setting}; ${origin}`)));
  if (flags.json) return printJson({ model: machine, power, setting, results });
  const energy = `energy: ${power.wattsPerCore} W a busy core (${power.source})`;
  const notes = [setting, origin, ...machine.notes, energy].map((note) => `${note}\n`);
  await print(`${describeResults(results)}\n${notes.join("")}`);
}

async function write(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (cause) {
    const message = `${path} cannot be written (${errorCode(cause)}): name another place with --svg.`;
    throw new BaashError("SVG_UNWRITABLE", message, { exitCode: EXIT.io, cause });
  }
}

/** Throws BAD_FLAG (exit 2) and BAD_MODEL (exit 78). */
export async function planEmulations(flags: Flags): Promise<EmulationOptions[]> {
  const { parseCostModel } = await import("../emulation/cost-model.ts");
  const { TRANSACTION_BYTES } = await import("../emulation/sizes.ts");
  const model = parseCostModel(await readModel(flags.model), flags.model);
  const sizes = flags.ranks.split(",").map((size) => whole("--ranks", size.trim(), 2, MEMBERS_MAX));
  const rounds = whole("--rounds", flags.rounds, 1, 1_000_000);
  const common = {
    rounds,
    load: number("--load", flags.load, 1e-6, 1e6),
    blockTransactions: whole("--block-transactions", flags.blockTransactions, 1, BLOCK_TXNS_MAX),
    blockDelayMs: number("--block-delay", flags.blockDelay, 0, 60_000),
    difficulty: whole("--difficulty", flags.difficulty, 0, PUZZLE_BITS_MAX),
    transactionBytes:
      flags.transactionBytes === undefined
        ? TRANSACTION_BYTES
        : whole("--transaction-bytes", flags.transactionBytes, 64, 1 << 18),
    pipelineDepth: 2,
    ranksPerNode: whole("--ranks-per-node", flags.ranksPerNode, 1, 1 << 20),
    coresPerNode: whole("--cores-per-node", flags.coresPerNode, 1, 1 << 20),
    dissemination: flags.dissemination,
    model,
  };
  const kills = (flags.kill ?? []).map(killOf);
  for (const { of } of kills)
    if (of !== undefined && !sizes.includes(of))
      throw usageError("BAD_FLAG", `--kill names ${of} ranks, which --ranks does not.`);
  return sizes.map((ranks) => {
    const late = lateOf(flags.late);
    const own = kills
      .filter(({ of }) => of === undefined || of === ranks)
      .map(({ count, round }) => ({ ranks: count, round: round ?? Math.ceil(rounds / 2) }));
    const gone = own.reduce((sum, kill) => sum + kill.ranks, 0);
    if (gone + (late?.ranks ?? 0) + 2 > ranks && gone + (late?.ranks ?? 0) > 0)
      throw usageError("BAD_FLAG", `Of ${ranks} ranks at least two have to live and be on time.`);
    if (2 * gone >= ranks)
      throw usageError("BAD_FLAG", `More than half of ${ranks} ranks have to live.`);
    return { ranks, kills: own, late, ...common };
  });
}

export async function readModel(path: string): Promise<string> {
  try {
    return await Bun.file(path).text();
  } catch (cause) {
    const message = `The cost model ${path} cannot be read (${errorCode(cause)}): make one with scripts/calibrate.`;
    throw new BaashError("MODEL_UNREADABLE", message, { exitCode: EXIT.io, cause });
  }
}

function killOf(text: string): { count: number; of?: number; round?: number } {
  const match = /^(\d+)(?:@(\d+))?(?::(\d+))?$/.exec(text);
  if (match === null)
    throw usageError("BAD_FLAG", `--kill is like 4, 4@400 or 4@400:250, not "${text}".`);
  const [, count, of, round] = match;
  return {
    count: whole("--kill", count, 1, MEMBERS_MAX),
    ...(of !== undefined && { of: Number(of) }),
    ...(round !== undefined && { round: whole("--kill", round, 1, 1_000_000) }),
  };
}

function lateOf(text: string | undefined): { ranks: number; delayMs: number } | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+)@(\d+(?:\.\d+)?)$/.exec(text);
  if (match === null) throw usageError("BAD_FLAG", `--late is like 3@20, not "${text}".`);
  return {
    ranks: whole("--late", match[1], 1, MEMBERS_MAX),
    delayMs: number("--late", match[2], 0, 600_000),
  };
}

function number(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (text.trim() !== "" && value >= min && value <= max) return value;
  throw usageError("BAD_FLAG", `${flag} is a number from ${min} to ${max}, not "${text}".`);
}

function whole(flag: string, text: string, min: number, max: number): number {
  const value = number(flag, text, min, max);
  if (Number.isInteger(value)) return value;
  throw usageError("BAD_FLAG", `${flag} is a whole number, not "${text}".`);
}
