/**
 * Every property that a workload may set: YCSB's core properties under YCSB's names and defaults
 * (where we differ the text says so), and ours, which begin with "baash.". One table serves the
 * parser, the help and the "did you mean".
 */
import {
  BLOCK_TXNS_MAX,
  FIELDS_MAX,
  MEMBERS_MAX,
  PUZZLE_BITS_MAX,
  TXN_BYTES_MAX,
  VALIDITY_ROUNDS_MAX,
} from "../limits.ts";

interface Common {
  readonly about: string;
}

export type PropertySchema = Common &
  (
    | {
        readonly type: "integer";
        readonly preset: number;
        readonly min: number;
        readonly max: number;
      }
    | {
        readonly type: "number";
        readonly preset: number;
        readonly min: number;
        readonly max: number;
      }
    | { readonly type: "boolean"; readonly preset: boolean }
    | { readonly type: "choice"; readonly preset: string; readonly choices: readonly string[] }
    | { readonly type: "text"; readonly preset: string }
    | {
        readonly type: "numbers";
        readonly preset: string;
        readonly min: number;
        readonly max: number;
      }
  );

/** Four times as many slots, with ack=agreed, still fit the driver's tags (in-flight.ts). */
export const WINDOW_MAX = 131_072;
/** Record numbers are hashed modulo the table's size, exactly up to here (fnv.ts). */
export const RECORDS_MAX = 2 ** 36;
const COUNT_MAX = Number.MAX_SAFE_INTEGER;

function integer(preset: number, about: string, min = 0, max = COUNT_MAX) {
  return { type: "integer", preset, min, max, about } as const;
}
function number(preset: number, about: string, min: number, max: number) {
  return { type: "number", preset, min, max, about } as const;
}
function proportion(preset: number, about: string) {
  return number(preset, about, 0, 1);
}
function boolean(preset: boolean, about: string) {
  return { type: "boolean", preset, about } as const;
}
function choice<const C extends readonly string[]>(preset: C[number], choices: C, about: string) {
  return { type: "choice", preset, choices, about } as const;
}
function text(preset: string, about: string) {
  return { type: "text", preset, about } as const;
}

export const CORE_WORKLOADS = [
  "site.ycsb.workloads.CoreWorkload",
  "com.yahoo.ycsb.workloads.CoreWorkload",
  "core",
] as const;

export const PROPERTY_SCHEMA = {
  workload: choice(
    "core",
    [...CORE_WORKLOADS, "transfers"],
    "YCSB's core workload, or the paper's transfers",
  ),
  recordcount: integer(1000, "records in the table", 0, RECORDS_MAX),
  operationcount: integer(
    100_000,
    "operations of the run phase, all ranks together; 0: until maxexecutiontime",
  ),
  insertstart: integer(0, "first record to load", 0, RECORDS_MAX),
  insertcount: integer(0, "records to load; 0: recordcount - insertstart", 0, RECORDS_MAX),
  threadcount: integer(
    0,
    "outstanding transactions, all ranks together; 0: baash.window a rank (YCSB: 1)",
    0,
    1_000_000,
  ),
  target: number(0, "operations a second, all ranks together; 0: as fast as possible", 0, 1e9),
  maxexecutiontime: number(0, "seconds after which no new operation starts; 0: no limit", 0, 1e9),
  dotransactions: boolean(true, "false: the load phase, as YCSB's -load"),
  "status.interval": number(10, "seconds between status lines", 0.1, 86_400),
  table: text("usertable", "accepted for YCSB's sake: a ledger has one table"),
  exporter: choice(
    "ycsb",
    [
      "ycsb",
      "json",
      "table",
      "site.ycsb.measurements.exporter.TextMeasurementsExporter",
      "site.ycsb.measurements.exporter.JSONMeasurementsExporter",
      "site.ycsb.measurements.exporter.JSONArrayMeasurementsExporter",
    ],
    "form of the report",
  ),
  exportfile: text("", "file that gets the report too, in the exporter's form"),

  fieldcount: integer(10, "fields of a record", 1, FIELDS_MAX),
  fieldlength: integer(100, "bytes of a field (the longest, unless constant)", 1, TXN_BYTES_MAX),
  minfieldlength: integer(1, "shortest field, for uniform and zipfian lengths", 0, TXN_BYTES_MAX),
  fieldlengthdistribution: choice(
    "constant",
    ["constant", "uniform", "zipfian", "histogram"],
    "how long fields are",
  ),
  fieldlengthhistogram: text(
    "hist.txt",
    "file of the histogram: 'BlockSize', size, then index and weight a line",
  ),
  fieldnameprefix: text("field", "field names are this and a number"),
  readallfields: boolean(true, "read all fields, or one"),
  readallfieldsbyname: boolean(false, "read all fields by naming them"),
  writeallfields: boolean(false, "update all fields, or one"),
  dataintegrity: boolean(
    false,
    "values follow from key and field, and reads check them; needs constant lengths",
  ),

  readproportion: proportion(0.95, "share of reads"),
  updateproportion: proportion(0.05, "share of updates"),
  insertproportion: proportion(0, "share of inserts"),
  scanproportion: proportion(0, "share of scans"),
  readmodifywriteproportion: proportion(0, "share of reads followed by an update"),
  requestdistribution: choice(
    "uniform",
    ["uniform", "zipfian", "latest", "hotspot", "sequential", "exponential"],
    "which records are asked for",
  ),
  hotspotdatafraction: proportion(0.2, "share of the records that is hot"),
  hotspotopnfraction: proportion(0.8, "share of the operations that go to hot records"),
  "exponential.percentile": number(
    95,
    "percent of the operations inside exponential.frac",
    0.001,
    99.999,
  ),
  "exponential.frac": number(
    0.8571428571,
    "share of the records that gets exponential.percentile",
    1e-9,
    1,
  ),
  minscanlength: integer(1, "shortest scan, records", 1, 1_000_000),
  maxscanlength: integer(1000, "longest scan, records", 1, 1_000_000),
  scanlengthdistribution: choice("uniform", ["uniform", "zipfian"], "how long scans are"),
  insertorder: choice("hashed", ["hashed", "ordered"], "key names: hash or number of the record"),
  zeropadding: integer(1, "digits of the number in a key name, at least", 0, 200),
  core_workload_insertion_retry_limit: integer(
    0,
    "accepted: transactions that expire are always sent anew",
  ),
  core_workload_insertion_retry_interval: number(3, "accepted: see the limit", 0, 1e6),

  measurementtype: choice("hdrhistogram", ["hdrhistogram"], "only hdrhistogram is offered"),
  "hdrhistogram.percentiles": {
    type: "numbers",
    preset: "50,95,99",
    min: 0,
    max: 100,
    about: "percentiles of the report",
  },
  "hdrhistogram.fileoutput": boolean(false, "write a .hlog file of all histograms"),
  "hdrhistogram.output.path": text("", "prefix of its path"),
  "measurement.interval": choice(
    "intended",
    ["op", "intended", "both"],
    "latency from the operation's creation, from its slot in the schedule, or both (YCSB: op)",
  ),
  "timeseries.granularity": integer(1000, "accepted: time series are not offered", 1),
  reportlatencyforeacherror: boolean(false, "latency lines for each kind of failure"),

  "baash.ranks": integer(4, "ranks to start", 1, MEMBERS_MAX),
  "baash.blocksize": integer(
    0,
    "transactions in a block, at most; 0: as the load asks for",
    0,
    BLOCK_TXNS_MAX,
  ),
  "baash.difficulty": integer(8, "leading zero bits of the consensus puzzle", 0, PUZZLE_BITS_MAX),
  "baash.quorum": choice(
    "majority",
    ["majority", "byzantine"],
    "new ledger: what wins, and whether members may lie",
  ),
  "baash.sync": boolean(
    true,
    "false: sync nothing, final is linked only; to measure what it costs",
  ),
  "baash.ack": choice("final", ["agreed", "final"], "acknowledgement that completes an operation"),
  "baash.targetperrank": number(0, "operations a second of each rank; beats target", 0, 1e9),
  "baash.warmup": number(
    0,
    "seconds of the same load before the run, which are not in its figures",
    0,
    1e6,
  ),
  "baash.window": integer(
    8192,
    "outstanding transactions a rank, unless threadcount says",
    1,
    WINDOW_MAX,
  ),
  "baash.validityrounds": integer(
    256,
    "rounds that a transaction stays valid, at first: raised when some expire",
    1,
    VALIDITY_ROUNDS_MAX,
  ),
  "baash.seed": integer(1, "seed of all draws: the same seed asks for the same operations"),
  "baash.accounts": integer(1000, "accounts of the transfers workload", 2, 2 ** 32),
  "baash.supply": integer(1_000_000_000, "what account 0 holds at the start", 1),
  "baash.amount": integer(100, "largest amount of a transfer", 1, 2 ** 32),
} as const satisfies Record<string, PropertySchema>;

export type PropertyName = keyof typeof PROPERTY_SCHEMA;

/** The known name nearest to `name`, if near enough to be what was meant. */
export function nearestProperty(name: string): string | undefined {
  let nearest: string | undefined;
  let fewest = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const known of Object.keys(PROPERTY_SCHEMA)) {
    const distance = editDistance(name.toLowerCase(), known);
    if (distance < fewest) [nearest, fewest] = [known, distance];
  }
  return nearest;
}

/** Levenshtein's distance, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const above = row;
    row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, above[j] + 1, row[j - 1] + 1));
    }
  }
  return row[b.length];
}
