/**
 * A replacement is a member like any other: of three ranks one is killed, its replacement is let in,
 * and then another one stands still. Two of three votes win; one of the two is the replacement's.
 */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { toHex } from "../../src/base/bytes.ts";
import { EXIT } from "../../src/base/errors.ts";
import { findDisk } from "../../src/cli/ycsb/places.ts";
import { ANSWER, answerOf } from "../../src/ledger/settlement.ts";
import { winVotes } from "../../src/verify/epoch-reader.ts";
import { readGenesis } from "../../src/verify/genesis-reader.ts";
import { LogJudge } from "../../src/verify/judgement.ts";
import { KIND } from "../../src/verify/layout.ts";
import { NotValid } from "../../src/verify/not-valid.ts";
import { readRecord } from "../../src/verify/record-reader.ts";
import { RecordSource } from "../../src/verify/record-source.ts";
import { CHAOS_TIMEOUT_MS, runChaos } from "./run-chaos.ts";

const root = mkdtempSync(join(await findDisk(false), "baash-h-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const PLAN = {
  ...{ version: 1, ranks: 3, seconds: 20, load: { rate: 100 } },
  // Nobody is evicted for standing still.
  job: { flags: ["--heal", "spawn", "--evict-ms", "30000"] },
  events: [
    { do: "kill", at: 3, places: [1] },
    { do: "stop", at: 13, for: 4, places: [1] },
  ],
};

interface Won {
  /** Members of the epoch that no epoch before had. */
  newcomers: number[];
  members: number;
  /** Ranks that voted yes for a proposal that is in. */
  yes: number[];
}

/** Every proposal that a QUORUM record says was won. */
function proposalsWon(ledger: string): Won[] {
  const judge = new LogJudge(readGenesis(ledger)!);
  const won: Won[] = [];
  const known = new Set<string>();
  let newcomers: number[] = [];
  let prevHash: Uint8Array = new Uint8Array(32);
  for (const { file, offset, slot, bytes } of new RecordSource(ledger).records(() =>
    toHex(prevHash),
  )) {
    const record = readRecord(bytes, { file, base: offset, slot }, prevHash);
    prevHash = record.hash;
    const ruling = judge.judge(record);
    const members = judge.epoch.members.length;
    judge.advance(record, ruling);
    if (ruling instanceof NotValid) continue;
    for (const { proposals, votes } of record.kind === KIND.quorum ? ruling.rounds : []) {
      for (const { rank } of proposals) {
        const groups = votes.filter(({ answers }) => answerOf(answers[rank]) === ANSWER.YES);
        won.push({ newcomers, members, yes: groups.flatMap(({ voters }) => voters) });
      }
    }
    if (ruling.installs === undefined) continue;
    newcomers = ruling.installs.flatMap(({ rank, incarnation }) =>
      known.size > 0 && !known.has(incarnation) ? [rank] : [],
    );
    for (const { incarnation } of ruling.installs) known.add(incarnation);
  }
  return won;
}

test(
  "the vote of a replacement wins what could not have won without it",
  async () => {
    const plan = join(root, "plan.json");
    writeFileSync(plan, JSON.stringify(PLAN));
    const { stdout, stderr, exitCode } = await runChaos(root, [
      ...["--plan", plan, "--keep", "--json"],
    ]);
    if (exitCode !== EXIT.ok) throw new Error(`exit ${exitCode}:\n${stderr}${stdout}`);
    const { kept, after } = JSON.parse(stdout);
    expect(after.summary.epochs).toBe(3);
    const decided = proposalsWon(join(kept, "ledger")).filter(
      ({ newcomers, members, yes }) =>
        yes.length === winVotes(members, "majority") &&
        newcomers.some((rank) => yes.includes(rank)),
    );
    expect(decided.length).toBeGreaterThan(0);
    for (const { members, newcomers } of decided)
      expect({ members, newcomers: newcomers.length }).toEqual({ members: 3, newcomers: 1 });
  },
  CHAOS_TIMEOUT_MS,
);
