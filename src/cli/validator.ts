/**
 * `baash validator`: the isolated storage validator of a ledger. A process under a user of its own that
 * alone may write the directory and holds the ledger key; ranks hand their records to it.
 */
import { Command, InvalidArgumentError } from "commander";
import { EXIT, exitCodeOf } from "../base/errors.ts";
import { BLOCK_TXNS_MAX, PUZZLE_BITS_MAX } from "../limits.ts";
import { EXIT_HELP } from "./run.ts";

const HELP = `
The validator makes the ledger if the directory is empty. Start it as a user that owns the directory,
and name the users whose ranks may connect. The socket's file is open to all (0666): the kernel says
who connects (SO_PEERCRED), and others are hung up on. Ranks need read access to the directory and
nothing else; they never see the ledger key.

Examples:
  sudo -u ledger baash validator --ledger /scratch/ledger --socket /run/baash.sock --allow-uid 1000
  mpirun -n 4 bun src/rank.ts --ledger /scratch/ledger --validator /run/baash.sock
${EXIT_HELP}`;

/** Sentences of one code at most so often: a rank that errs must not fill the log. */
const SAY_MS = 1000;

interface Flags {
  readonly ledger: string;
  readonly socket: string;
  readonly allowUid: readonly number[];
  readonly ledgerKey?: string;
  readonly force: boolean;
  readonly quorum: "majority" | "byzantine";
  readonly difficulty: number;
  readonly storageDifficulty: number;
  readonly supply: number;
  readonly takeoverMs: number;
  readonly checkpointRecords: number;
}

function count(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!Number.isSafeInteger(value) || value < min || value > max)
      throw new InvalidArgumentError(`a whole number from ${min} to ${max}, please`);
    return value;
  };
}

const bits = count(0, PUZZLE_BITS_MAX);
const uids = (text: string, before: readonly number[]) => [
  ...before,
  ...text.split(",").map(count(0, 2 ** 32 - 1)),
];

export function validatorCommand(): Command {
  return new Command("validator")
    .description("judge and write the records of a ledger whose ranks may lie")
    .requiredOption("--ledger <dir>", "directory of the ledger, owned by this user")
    .requiredOption("--socket <path>", "where ranks connect")
    .option("--allow-uid <uid>", "users whose processes may connect, beside this one", uids, [])
    .option("--ledger-key <file>", "its key, mode 0600 (default: ~/.config/baash/keys)")
    .option("--force", "accept a file system that forgets, such as tmpfs", false)
    .option("--quorum <kind>", "new ledger: majority or byzantine", quorum, "byzantine")
    .option("--difficulty <bits>", "new ledger: zero bits of a block's puzzle", bits, 8)
    .option("--storage-difficulty <bits>", "new ledger: zero bits of a STORAGE record", bits, 16)
    .option(
      "--supply <amount>",
      "new ledger: balance of account 0",
      count(0, Number.MAX_SAFE_INTEGER),
      1_000_000_000,
    )
    .option(
      "--takeover-ms <ms>",
      "a job that takes over gives the old one so long at least",
      count(1, 600_000),
      5000,
    )
    .option("--checkpoint-records <n>", "records between two checkpoints", count(1, 1e6), 8192)
    .addHelpText("after", HELP)
    .action(validate);
}

function quorum(text: string): Flags["quorum"] {
  if (text === "majority" || text === "byzantine") return text;
  throw new InvalidArgumentError("majority or byzantine, please");
}

async function validate(flags: Flags): Promise<void> {
  const { openValidator } = await import("../validator/open.ts");
  const { ValidatorServer } = await import("../validator/server.ts");
  const { difficulty, storageDifficulty, supply } = flags;
  const ended = Promise.withResolvers<void>();
  const { validator, storage, chain } = await openValidator({
    directory: flags.ledger,
    ledgerKey: flags.ledgerKey,
    force: flags.force,
    founding: {
      ...{ difficulty, storageDifficulty, supply, quorum: flags.quorum },
      blockTransactionsMax: BLOCK_TXNS_MAX,
    },
    environment: process.env,
    takeoverMsMin: flags.takeoverMs,
    checkpointRecords: flags.checkpointRecords,
    say,
    onFatal: (error) => ended.reject(error),
  });
  const allowed = new Set([process.getuid!(), ...flags.allowUid]);
  const server = new ValidatorServer({
    path: flags.socket,
    allowed,
    handle: (operation, args) => validator.handle(operation, args),
    say,
  });
  const users = [...allowed].join(", ");
  process.stderr.write(
    `baash: the validator of ${flags.ledger} serves users ${users} at slot ${chain.slot}\n`,
  );
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => ended.resolve());
  try {
    await ended.promise;
    process.exitCode = EXIT.ok;
  } catch (error) {
    process.stderr.write(`baash: the validator cannot go on: ${String(error)}\n`);
    process.exitCode = exitCodeOf(error);
  }
  server.close();
  await validator.idle();
  await storage.close();
  const { linked, refused } = validator.counters;
  process.stderr.write(`baash: the validator linked ${linked} records and refused ${refused}\n`);
}

const saidAt = new Map<string, number>();

function say(code: string, sentence: string): void {
  const now = performance.now();
  if (now - (saidAt.get(code) ?? Number.NEGATIVE_INFINITY) < SAY_MS) return;
  saidAt.set(code, now);
  process.stderr.write(`baash: ${code}: ${sentence}\n`);
}
