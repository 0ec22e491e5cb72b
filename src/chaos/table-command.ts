/** `scripts/chaos table`: its flags, and the ways in which proofs are really made. */
import { Command } from "commander";
import { EXIT, usageError } from "../base/errors.ts";
import { print, printJson } from "../cli/output.ts";
import { EXIT_HELP } from "../cli/run.ts";
import type { Makers, SimulationFacts } from "./table.ts";

interface Flags {
  only?: string;
  seeds: string;
  list?: boolean;
  json?: boolean;
}

const HELP = `
Each row names what shows it: chaos plans on a real job, tests, seeds of the simulation. All of it is run
now, and the words of the table are the runs' own. Rows stand in src/chaos/table-rows.ts.

  scripts/chaos table --only 1,4,13     these rows
  scripts/chaos table --list            what shows them, without running it
${EXIT_HELP}`;

export function tableCommand(): Command {
  return new Command("table")
    .description("faults.md row by row: fault, what happened, what the client saw, what shows it")
    .option("--only <rows>", "numbers of rows, apart by commas")
    .option("--seeds <n>", "seeds of each scenario of the simulation", "10")
    .option("--list", "print the rows and what shows them")
    .option("--json", "print the table as JSON")
    .addHelpText("after", HELP)
    .action(table);
}

async function table(flags: Flags): Promise<void> {
  const { chooseRows, describeTable, makeTable } = await import("./table.ts");
  const { rows, unknown } = chooseRows(flags.only);
  if (unknown.length > 0) throw usageError("BAD_FLAG", `there is no row ${unknown.join(", ")}`);
  if (flags.list) {
    for (const { id, fault, sources } of rows) {
      const shown = sources.map((source) => {
        if (source.kind === "test") return `${source.file} ${source.name}`;
        return source.kind === "plan" ? JSON.stringify(source.plan) : `scenario ${source.scenario}`;
      });
      await print(`${id.padEnd(4)} ${fault}\n${shown.map((each) => `       ${each}\n`).join("")}`);
    }
    return;
  }
  const seeds = Number(flags.seeds);
  if (!Number.isInteger(seeds) || seeds < 1) {
    throw usageError("BAD_FLAG", `--seeds is a whole number from 1 on, not "${flags.seeds}"`);
  }
  const made = await makeTable(rows, await makersOf(seeds));
  if (flags.json) await printJson(made);
  else await print(describeTable(made));
  if (made.some(({ good }) => !good)) process.exitCode = EXIT.failed;
}

async function makersOf(seeds: number): Promise<Makers> {
  const { runPlan } = await import("./run.ts");
  const { runTests } = await import("./table.ts");
  const { simulate } = await import("../simulation/cluster.ts");
  const { planOf } = await import("../simulation/plan.ts");
  const command = "scripts/chaos table";
  return {
    runPlan: (plan) => runPlan(plan, { command, quiet: true, keep: false }),
    runTests,
    async simulate(scenario, seed): Promise<SimulationFacts> {
      const { counts, violation } = await simulate(planOf(seed, { scenario }));
      const { accepted, finals } = counts;
      return { accepted, receipts: finals, violation: violation?.message };
    },
    seeds,
    say: (text) => void process.stderr.write(`${text}\n`),
  };
}
