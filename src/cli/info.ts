/** `baash info`: what a ledger is and where it stands, from its files alone. */
import { Command } from "commander";
import { toHex } from "../base/bytes.ts";
import { BaashError, EXIT } from "../base/errors.ts";
import type { Survey } from "../verify/survey.ts";
import { readGenesisFile } from "./key.ts";
import { bytesText, describe, groups, print, printJson } from "./output.ts";
import { EXIT_HELP } from "./run.ts";

const HELP = `
Reads every record with its checksums, signature and votes, but neither blocks nor transactions: for
those use \`baash verify\`. Nothing in DIR is written.

Examples:
  baash info /scratch/project/ledger
  baash info ledger --json | jq .head.slot
${EXIT_HELP}`;

export function infoCommand(): Command {
  return new Command("info")
    .description("show genesis, head, epochs and sizes of a ledger")
    .argument("<dir>", "directory of the ledger")
    .option("--json", "print as JSON")
    .addHelpText("after", HELP)
    .action(info);
}

async function info(dir: string, options: { json?: boolean }): Promise<void> {
  const genesis = await readGenesisFile(dir);
  const { surveyLedger } = await import("../verify/survey.ts");
  const survey = surveyLedger(dir);
  const facts: Facts = {
    chainId: toHex(genesis.chainId),
    created: new Date(genesis.created).toISOString(),
    quorum: genesis.quorum,
    difficulty: genesis.difficulty,
    storageDifficulty: genesis.storageDifficulty,
    blockTransactionsMax: genesis.blockTransactionsMax,
    supply: genesis.supply,
    ledgerKey: toHex(genesis.ledgerKey),
    ...survey,
  };
  if (options.json) await printJson(facts);
  else await print(describeFacts(facts));
  if (survey.damage !== undefined) {
    const message = `${survey.damage}. This ledger is damaged: run \`baash verify ${dir}\``;
    throw new BaashError("LEDGER_DAMAGED", message, { exitCode: EXIT.failed });
  }
}

interface Facts extends Survey {
  chainId: string;
  created: string;
  quorum: string;
  difficulty: number;
  storageDifficulty: number;
  blockTransactionsMax: number;
  supply: number;
  ledgerKey: string;
}

function describeFacts(facts: Facts): string {
  const { head, records, epochs, files } = facts;
  const kinds = Object.entries(records).map(([kind, count]) => `${groups(count)} ${kind}`);
  const last = epochs.at(-1);
  const rows: [string, string | number | undefined][] = [
    ["chain", facts.chainId],
    ["created", facts.created],
    ["ledger key", facts.ledgerKey],
    ["quorum", facts.quorum],
    ["puzzle bits", `${facts.difficulty} a block, ${facts.storageDifficulty} a STORAGE record`],
    ["block", `at most ${groups(facts.blockTransactionsMax)} transactions`],
    ["supply", facts.supply],
    ["records", kinds.length === 0 ? "none" : kinds.join(", ")],
    ["not valid", facts.warnings.length > 0 ? `${facts.warnings.length} of the NOOP` : undefined],
    ["head", head && `slot ${groups(head.slot)}, ${head.hash}`],
    ["written", head && new Date(head.creationTime).toISOString()],
    ["settled round", head?.settledRound],
    ["epochs", epochs.length],
    ["in force", last && (last.members.length === 0 ? "none: clean stop" : last.hash)],
    ["checkpoints", facts.checkpoints],
    ["segments", `${groups(files.segments)} (${bytesText(files.segmentBytes)})`],
    ["tail", `${groups(files.tailRecords)} records (${bytesText(files.tailBytes)})`],
  ];
  const members = (last?.members ?? []).map(
    ({ rank, host, incarnation }) => `  rank ${rank}  ${host}  ${incarnation}\n`,
  );
  return describe(rows) + (members.length > 0 ? `members\n${members.join("")}` : "");
}
