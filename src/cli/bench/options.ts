/** The command line of scripts/bench, checked before anything is started. */
import { statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, extname, resolve } from "node:path";
import { usageError } from "../../base/errors.ts";
import type { SuitePlan } from "./runner.ts";
import { readPart, type Setting } from "./setting.ts";
import { type Given, SUITES, type Suite, settingsOf } from "./suites.ts";

/** As commander has them. */
export interface Flags {
  runs?: string;
  at?: string;
  quick?: boolean;
  json?: boolean;
  out?: string;
  svg?: string;
  breakdown?: boolean;
  ranks?: string;
  blockSize?: string;
  valueBytes?: string;
  difficulty?: string;
  quorum?: string;
  ack?: string;
  records?: string;
  seconds?: string;
  warmup?: string;
}

type PartFlag = Exclude<
  keyof Flags,
  "runs" | "at" | "quick" | "json" | "out" | "svg" | "breakdown"
>;

/** Which flag names which part of a setting; the others are what suites vary. */
const PART_FLAGS: Readonly<Partial<Record<keyof Setting, PartFlag>>> = {
  ...{ ranks: "ranks", blockTransactions: "blockSize", valueBytes: "valueBytes" },
  ...{ difficulty: "difficulty", quorum: "quorum", ack: "ack", records: "records" },
  ...{ seconds: "seconds", warmup: "warmup" },
};

export interface BenchOptions {
  readonly plans: readonly SuitePlan[];
  readonly runs: number;
  readonly quick: boolean;
  readonly breakdown: boolean;
  readonly json: boolean;
  readonly out: string | undefined;
  /** A file for one suite, a directory for any number of them. */
  readonly svg: { readonly path: string; readonly isFile: boolean } | undefined;
}

const RUNS = 5;
const RUNS_MAX = 1000;

/** Throws BAD_FLAG, BAD_SUITE (exit 2). */
export function readOptions(names: readonly string[], flags: Flags): BenchOptions {
  const suites = suitesOf(names);
  const quick = flags.quick ?? false;
  const given = givenBy(suites, flags, quick);
  return {
    plans: suites.map((suite) => ({ suite, settings: settingsOf(suite, given) })),
    runs: flags.runs === undefined ? (quick ? 1 : RUNS) : runsOf(flags.runs),
    ...{ quick, breakdown: flags.breakdown ?? false, json: flags.json ?? false },
    out: flags.out === undefined ? undefined : writable("--out", flags.out),
    svg: flags.svg === undefined ? undefined : svgOf(flags.svg, suites),
  };
}

function suitesOf(names: readonly string[]): Suite[] {
  if (names.includes("all")) return [...SUITES];
  const chosen = names.length === 0 ? ["headline"] : [...new Set(names)];
  return chosen.map((name) => {
    const suite = SUITES.find((each) => each.name === name);
    if (suite !== undefined) return suite;
    const known = SUITES.map((each) => each.name).join(", ");
    throw usageError("BAD_SUITE", `There is no suite "${name}"; there are ${known}, all.`);
  });
}

function givenBy(suites: readonly Suite[], flags: Flags, quick: boolean): Given {
  const parts: Record<string, Setting[keyof Setting]> = {};
  for (const [part, name] of Object.entries(PART_FLAGS) as [keyof Setting, PartFlag][]) {
    const text = flags[name];
    if (text !== undefined) parts[part] = readPart(part, text, flagText(name));
  }
  const cores = availableParallelism();
  if (flags.at === undefined) return { parts, quick, cores };
  const [suite, ...others] = suites;
  if (others.length > 0) throw usageError("BAD_FLAG", "--at gives the points of one suite alone.");
  const at = flags.at.split(",").map((text) => readPart(suite.axis, text.trim(), "--at"));
  return { parts, quick, cores, at };
}

/** "blockSize" → "--block-size". */
function flagText(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function runsOf(text: string): number {
  const runs = Number(text);
  if (Number.isInteger(runs) && runs >= 1 && runs <= RUNS_MAX) return runs;
  throw usageError("BAD_FLAG", `--runs is a whole number from 1 to ${RUNS_MAX}, not "${text}".`);
}

/** Said now, and not after an hour. */
function writable(flag: string, text: string): string {
  const path = resolve(text);
  if (statSync(dirname(path), { throwIfNoEntry: false })?.isDirectory()) return path;
  throw usageError("BAD_FLAG", `${flag}: there is no directory ${dirname(path)}.`);
}

function svgOf(text: string, suites: readonly Suite[]): BenchOptions["svg"] {
  const path = writable("--svg", text);
  const isFile = extname(path) === ".svg";
  if (!isFile || suites.length === 1) return { path, isFile };
  throw usageError("BAD_FLAG", `--svg ${text} is one file, for one suite: name a directory.`);
}

/** So many points are listed; of more the first and the last. */
const LISTED = 7;

/** Lines of the help: each suite and its points, where these are numbers. */
export function suiteLines(): string {
  return SUITES.map(({ name, about, values }) => {
    const isOne = values.length === 1 || typeof values[0] === "string";
    const list = values.length > LISTED ? `${values[0]} to ${values.at(-1)}` : values.join(", ");
    return `  ${name.padEnd(11)} ${about}${isOne ? "" : `: ${list}`}`;
  }).join("\n");
}
