#!/usr/bin/env bun
/**
 * Entry of one rank: `mpirun -n 4 bun src/rank.ts --ledger DIR`, or without mpirun for a ledger of
 * one rank. The only place that picks the real drivers.
 */
import { Command, Option } from "commander";
import { EXIT_HELP, runProgram } from "./cli/run.ts";
import { parseRankConfig } from "./config.ts";
import { runJob } from "./job/job.ts";
import { announceEnd } from "./supervisor/last-words.ts";

const collect = (value: string, all: string[] = []) => [...all, value];
const flag = (names: string, about: string) => new Option(names, about);

const program = new Command("rank")
  .description("one member of a BAASH ledger; every MPI rank runs this program")
  .helpOption("-h, --help", "explain")
  .addOption(flag("--ledger <dir>", "ledger directory on the shared file system (BAASH_LEDGER)"))
  .addOption(
    flag(
      "--ledger-key <file>",
      "its key, mode 0600 (BAASH_LEDGER_KEY; default: ~/.config/baash/keys)",
    ),
  )
  .addOption(flag("--force", "accept a file system that forgets, such as tmpfs"))
  .addOption(flag("--no-create", "refuse a directory without a ledger instead of making one"))
  .addOption(
    flag("--no-sync", "sync nothing: final is then linked only, lost with the power; to measure"),
  )
  .addOption(flag("--validator <socket>", "the validator that alone writes this ledger"))
  .addOption(
    flag(
      "--quorum <kind>",
      "new ledger: what wins, and whether members may lie (majority)",
    ).choices(["majority", "byzantine"]),
  )
  .addOption(flag("--difficulty <bits>", "new ledger: zero bits of a block's puzzle (8)"))
  .addOption(flag("--storage-difficulty <bits>", "new ledger: zero bits of a STORAGE record (16)"))
  .addOption(flag("--supply <amount>", "new ledger: balance of account 0 (1000000000)"))
  .addOption(
    flag("--block-transactions <n>", "transactions of a full block (1000; the paper's is 4)"),
  )
  .addOption(
    flag(
      "--block-delay-ms <ms>",
      "a block that is not full waits so long, unless nothing is under way and rounds are short (5)",
    ),
  )
  .addOption(
    flag("--round-interval-ms <ms>", "least time between two rounds of one rank's own (0)"),
  )
  .addOption(flag("--pipeline-depth <n>", "rounds that may be open at once (2)"))
  .addOption(flag("--gather-from <ranks>", "so many gather their proposals by collective (65)"))
  .addOption(flag("--gather-bytes <n>", "longest proposal that goes so (2048)"))
  .addOption(flag("--transaction-workers <n>", "0 or 1 thread that builds and mines blocks (1)"))
  .addOption(flag("--block-workers <n>", "threads that check blocks (by cores)"))
  .addOption(
    flag("--inline-transactions <n>", "work up to this size stays on the main thread (by cores)"),
  )
  .addOption(flag("--takeover-ms <ms>", "how long a ledger that was left open may answer (5000)"))
  .addOption(
    flag("--storage-on <when>", "when storage validates rounds (alert)").choices([
      "alert",
      "no-majority",
      "always",
    ]),
  )
  .addOption(
    flag("--heal <how>", "replace dead ranks: off, or spawn (off)").choices(["off", "spawn"]),
  )
  .addOption(
    flag("--heal-after-ms <ms>", "wait so long for an evicted rank that still lives (60000)"),
  )
  .addOption(
    flag("--propagate <to>", "accepted transactions also go to these ranks (off)").choices([
      "off",
      "backup",
      "all",
    ]),
  )
  .addOption(flag("--heartbeat-ms <ms>", "between two signs of life (100)"))
  .addOption(flag("--suspect-ms <ms>", "silence after which a rank is suspected (1000)"))
  .addOption(flag("--evict-ms <ms>", "silence after which it may be evicted (3000)"))
  .addOption(flag("--checkpoint-records <n>", "records between two checkpoints (8192)"))
  .addOption(flag("--sockets <dir>", "take transactions on DIR/rank-<n>.sock, mode 0600"))
  .addOption(
    flag("-P, --properties <file>", "YCSB workload of the generator; later files win").argParser(
      collect,
    ),
  )
  .addOption(
    flag("-p, --property <name=value>", "YCSB property; beats the files").argParser(collect),
  )
  .addOption(flag("--phase <phase>", "load, run or all").choices(["load", "run", "all"]))
  .addOption(flag("--no-generate", "read the workload but let clients make the load"))
  .addOption(flag("--journal <dir>", "write what was acknowledged to DIR/rank-<n>.journal"))
  .addOption(
    flag("--results <file>", "rank 0 writes the merged result as JSON instead of a report"),
  )
  .addOption(flag("--status-interval <s>", "rank 0 prints progress as JSON lines on stdout"))
  .addOption(
    flag("--status <file>", "the lowest rank keeps what the job is doing in FILE, as JSON"),
  )
  .addOption(flag("--breakdown", "report where the main thread's time goes, stage by stage"))
  .addOption(flag("--metrics <file>", "and its metrics, in Prometheus's text format"))
  .addOption(flag("--log <dir>", "JSON log lines to DIR/rank-<n>.log"))
  .addHelpText(
    "after",
    `
Examples:
  mpirun -n 4 bun src/rank.ts --ledger /scratch/me/ledger -P scripts/workloads/workloada
  mpirun -n 4 bun src/rank.ts --ledger /scratch/me/ledger --sockets /tmp/baash
  bun src/rank.ts --ledger ./ledger -P scripts/workloads/workloada    one rank, no mpirun
Signals: TERM, INT and USR1 stop cleanly: no new transactions, all accepted ones final, ledger closed.
${EXIT_HELP}`,
  )
  .action(async () => {
    process.exitCode = await runJob(parseRankConfig(program.opts(), process.env));
  });

announceEnd(process.env);
/** As the launcher numbers the processes: one of them speaks for all before MPI is there. */
const { OMPI_COMM_WORLD_RANK, PMI_RANK, SLURM_PROCID } = process.env;
const speaks = Number(OMPI_COMM_WORLD_RANK ?? PMI_RANK ?? SLURM_PROCID ?? 0) === 0;
process.exit(await runProgram(program, process.argv.slice(2), { speaks }));
