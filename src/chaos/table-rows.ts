/**
 * The rows of faults.md and what shows them: chaos plans on a real job, named tests, seeds of the
 * simulation. Only the fault's name stands here; what happened, and what clients saw, comes from the runs.
 * To add a row, or another proof to one, add it here: a test that is not found makes the table red.
 */
import type { Scenario } from "../simulation/plan.ts";

export type Source =
  /** A plan of src/chaos/plan.ts; `version` is added. */
  | { readonly kind: "plan"; readonly plan: object }
  /** Tests of a file whose names match; all that do must pass, and one must match. */
  | {
      readonly kind: "test";
      readonly file: string;
      readonly name: RegExp;
      /** What passes there is what a client sees. */
      readonly ofClients?: boolean;
    }
  | { readonly kind: "simulation"; readonly scenario: Scenario };

export interface Row {
  /** Of faults.md; "13a" where a row has several cases. */
  readonly id: string;
  readonly fault: string;
  readonly sources: readonly Source[];
}

const plan = (seconds: number, events: readonly object[], job: object = {}, ranks = 4): Source => ({
  kind: "plan",
  plan: { ranks, seconds, events, job, load: { rate: 200 } },
});
const test = (file: string, name: RegExp): Source => ({
  kind: "test",
  file: `test/${file}.test.ts`,
  name,
});
const clientTest = (file: string, name: RegExp) => ({ ...test(file, name), ofClients: true });
const story = (name: string): Source => ({
  kind: "test",
  file: "test/scenario/scenario.test.ts",
  name: new RegExp(`^${name}`),
});
const simulation = (scenario: Scenario): Source => ({ kind: "simulation", scenario });

const AT = 5;
const storage = (fault: string, more: object = {}) => ({
  ...{ do: "storage", at: AT, for: 5, fault },
  ...more,
});
const kill = (...places: number[]) => ({ do: "kill", at: AT, places });
const liar = (name: RegExp) => test("unit/rank/liars", name);
const STORAGE = "unit/storage";
const LEDGER = "unit/ledger";

export const ROWS: readonly Row[] = [
  { id: "1", fault: "SIGKILL rank mid-round", sources: [plan(15, [kill(1)])] },
  {
    id: "2",
    fault: "Kill recorder pre-link",
    sources: [story("08-recorder-dies.txt"), simulation("rank-crash")],
  },
  {
    id: "3",
    fault: "Kill recorder post-link, pre-announce",
    sources: [story("09-recorder-dies-after-link"), simulation("rank-crash")],
  },
  {
    id: "4",
    fault: "SIGSTOP, CONT after eviction",
    sources: [plan(25, [{ do: "stop", at: AT, for: 12, places: [1] }]), simulation("rejoin")],
  },
  { id: "5", fault: "OOM kill (no hook of the rank runs)", sources: [plan(15, [kill(1)])] },
  {
    id: "6",
    fault: "Exception in validation",
    sources: [plan(15, [], { fault: "throw@validation:rate=0.05" }), story("37-alert")],
  },
  {
    id: "7",
    fault: "Exit mid-validation",
    sources: [plan(15, [], { fault: "exit@validation:after=100,process=1" })],
  },
  {
    id: "8",
    fault: "Whole node",
    sources: [
      plan(20, [kill(0, 2, 4, 6)], {}, 8),
      test("unit/monitor/deaths", /of a host with half of the members/),
      simulation("eviction"),
    ],
  },
  {
    id: "9",
    fault: "More than half of the ranks die",
    sources: [
      plan(25, [kill(0, 1, 2)], { flags: ["--heal", "spawn"] }),
      story("31-minority-seals"),
    ],
  },
  { id: "10", fault: "All die", sources: [plan(15, [{ do: "kill-job", at: AT }])] },
  { id: "11", fault: "Crash loop", sources: [test("unit/supervisor/policy", /^a crash loop/)] },
  { id: "12", fault: "Old identity after restart", sources: [simulation("rejoin")] },
  {
    id: "13a",
    fault: "Two jobs on one directory, the first alive",
    sources: [plan(15, [{ do: "second-job", at: AT, first: "alive" }]), simulation("second-job")],
  },
  {
    id: "13b",
    fault: "Two jobs on one directory, the first frozen",
    sources: [
      plan(25, [{ do: "second-job", at: AT, first: "frozen", for: 15 }]),
      simulation("frozen-job"),
    ],
  },
  {
    id: "13c",
    fault: "Two jobs on one directory, the first dead",
    sources: [plan(20, [{ do: "second-job", at: AT, first: "dead" }]), simulation("job-crash")],
  },
  {
    id: "14",
    fault: "Minority partition",
    sources: [story("32-intent-refuted"), simulation("partition")],
  },
  { id: "15", fault: "Even split", sources: [story("34-even-split"), simulation("split")] },
  {
    id: "16",
    fault: "One-way link",
    sources: [test("unit/monitor/doubts", /a one-way link/), simulation("partition")],
  },
  { id: "17", fault: "Drop, duplicate, reorder", sources: [simulation("network")] },
  {
    id: "18",
    fault: "Collective completes on a subset",
    sources: [
      test("unit/transport/in-process", /may hang everywhere, or complete at some/),
      simulation("collectives"),
    ],
  },
  {
    id: "19",
    fault: "Collective hangs",
    sources: [
      test("unit/transport/in-process", /a member that never joins poison/),
      simulation("collectives"),
    ],
  },
  { id: "20", fault: "Swizzle-clog", sources: [simulation("storm")] },
  { id: "21", fault: "Payload corruption", sources: [simulation("corruption")] },
  {
    id: "22",
    fault: "ENOSPC",
    sources: [plan(18, [storage("full")]), test("storage/full-disk", /ENOSPC of the kernel/)],
  },
  { id: "23", fault: "EIO on write", sources: [plan(18, [storage("eio-write", { rate: 0.5 })])] },
  {
    id: "24",
    fault: "EIO on fsync (file)",
    sources: [
      plan(18, [storage("eio-sync-file", { rate: 0.5 })]),
      test(`${STORAGE}/shared-log`, /EIO on fsync of a file/),
    ],
  },
  {
    id: "25",
    fault: "EIO on fsync (directory) after the link",
    sources: [
      plan(18, [storage("eio-sync-directory", { rate: 0.5 })]),
      test(`${STORAGE}/shared-log`, /EIO on fsync of the directory/),
    ],
  },
  {
    id: "26",
    fault: "Torn temporary file, power loss",
    sources: [test(`${STORAGE}/litter`, /^a torn temporary file/)],
  },
  {
    id: "27",
    fault: "Unsynced data dropped",
    sources: [test(`${STORAGE}/shared-log`, /random faults and a loss of power/)],
  },
  {
    id: "28",
    fault: "Bit rot in an old record",
    sources: [test(`${STORAGE}/bit-rot`, /repairs what a mirror has/)],
  },
  {
    id: "29",
    fault: "Bit rot at the head, no copy",
    sources: [test(`${STORAGE}/bit-rot`, /of a damaged head with no copy stops/)],
  },
  {
    id: "30",
    fault: "Disk 10 s slow",
    sources: [plan(40, [storage("slow", { delayMs: 10_000, for: 15 })])],
  },
  { id: "31", fault: "ESTALE", sources: [plan(18, [storage("stale")])] },
  { id: "32", fault: "Storage gone for long", sources: [plan(40, [storage("gone", { for: 25 })])] },
  {
    id: "33",
    fault: "Storage gone and the majority dead",
    sources: [plan(40, [storage("gone", { for: 20 }), { ...kill(0, 1, 2), at: AT + 2 }])],
  },
  {
    id: "34",
    fault: "Storage wiped or rolled back",
    sources: [test(`${STORAGE}/outage`, /wiped or rolled back/)],
  },
  {
    id: "35",
    fault: "NFS: false EEXIST",
    sources: [test(`${STORAGE}/shared-log`, /an EEXIST or EIO of link that hides a success/)],
  },
  {
    id: "36",
    fault: "Stale negative directory entry",
    sources: [test(`${STORAGE}/outage`, /a record that a server did not show/)],
  },
  {
    id: "37",
    fault: "Bad puzzle or self-declared difficulty",
    sources: [test(`${LEDGER}/block`, /each rule has its verdict/), story("21-bad-proposal")],
  },
  { id: "38", fault: "Bad or stale anchor", sources: [story("23-lagging")] },
  {
    id: "39",
    fault: "Equivocating proposals",
    sources: [
      liar(/two proposals of a round, sent/),
      story("22-equivocation"),
      test(`${LEDGER}/evidence`, /of two proposals/),
    ],
  },
  {
    id: "40",
    fault: "Double vote",
    sources: [
      liar(/two votes of a round, sent/),
      test("unit/consensus/vote", /the first vote of a member stands/),
      test(`${LEDGER}/evidence`, /of two votes/),
    ],
  },
  {
    id: "41",
    fault: "Forged vote",
    sources: [
      liar(/speaks for the others, with signatures/),
      test("unit/validator/validator", /a vote that its voter did not sign/),
    ],
  },
  {
    id: "42",
    fault: "Tampering with reduced values",
    sources: [test("unit/consensus/vote", /a vote whose answers are not those of its digest/)],
  },
  {
    id: "43",
    fault: "Double spend in concurrent blocks",
    sources: [test(`${LEDGER}/state`, /does what its model does/), simulation("calm")],
  },
  {
    id: "44",
    fault: "Replayed transaction, vote, epoch",
    sources: [
      clientTest("unit/gateway/intake", /the same transaction again has the first receipt/),
      liar(/says everything again/),
      simulation("corruption"),
    ],
  },
  {
    id: "45",
    fault: "Oversize, deep, malformed messages",
    sources: [
      clientTest("unit/gateway/intake", /^bad clients/),
      liar(/floods them with garbage/),
      test(`${LEDGER}/codec`, /lies about sizes are found/),
    ],
  },
  {
    id: "46",
    fault: "Withheld body",
    sources: [liar(/hands nothing out/), story("13-too-few-answers")],
  },
  {
    id: "47",
    fault: "Junk record linked",
    sources: [
      liar(/writes junk into the log/),
      test("unit/validator/validator", /junk never reaches the log/),
      test("mpi/byzantine", /goes past the validator writes nothing/),
    ],
  },
  {
    id: "48",
    fault: "f liars who always say no",
    sources: [liar(/votes no, always/)],
  },
  {
    id: "49",
    fault: "Client resubmits elsewhere",
    sources: [clientTest("unit/chaos/failover", /the same bytes are final elsewhere, once/)],
  },
  {
    id: "50",
    fault: "Client timeout or death",
    sources: [
      clientTest("unit/gateway/intake", /a client that goes away leaves its transactions/),
      clientTest("unit/gateway/intake", /reads, balances and status/),
    ],
  },
  {
    id: "51",
    fault: "Flood",
    sources: [clientTest("unit/gateway/intake", /a full queue is waited for/), simulation("tight")],
  },
  { id: "52", fault: "Clock skew", sources: [test("tidy", /are pure: no platform, no clock/)] },
  {
    id: "53",
    fault: "RAM bit flip, nondeterminism",
    sources: [story("18-effects-differ"), test("unit/consensus/vote", /^effects/)],
  },
  {
    id: "54",
    fault: "Mixed versions",
    sources: [test(`${STORAGE}/peer-repair`, /a record version from the future stops it/)],
  },
];
