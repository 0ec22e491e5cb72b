/**
 * Names and values of the fields of a transaction, as ranges that the encoder copies. Values lie in
 * one pool of random printable bytes, at a random place each (or, for dataintegrity, at a place
 * that follows from record and field): making a value costs a draw, not a byte loop.
 */
import { Random } from "../../base/random.ts";
import type { FieldRanges } from "../../ledger/transaction.ts";
import { fieldBytesMax, type WorkloadConfig } from "../workload-config.ts";
import { Fnv64 } from "./fnv.ts";
import type { NumberGenerator } from "./number-generator.ts";
import { ConstantGenerator, HistogramGenerator, UniformGenerator } from "./spread.ts";
import { ZipfianGenerator } from "./zipfian.ts";

/** Stays in a core's second-level cache, and repeats often enough for nobody to notice. */
const POOL_BYTES = 256 * 1024;

export class FieldValues {
  readonly ranges: FieldRanges;
  /** Random printable bytes: where the values come from. */
  readonly pool: Uint8Array;
  /** Where the pool lies in `ranges.values`. */
  #poolAt = 0;
  readonly #random: Random;
  readonly #lengths: NumberGenerator;
  readonly #nameSpans: Uint32Array;
  readonly #fieldCount: number;
  readonly #deterministic: boolean;
  readonly #hash = new Fnv64();
  readonly #fieldOfName = new Map<string, number>();
  readonly #decoder = new TextDecoder();

  constructor(random: Random, config: WorkloadConfig) {
    this.#random = random;
    this.#fieldCount = config.fieldcount;
    this.#deterministic = config.dataintegrity;
    this.#lengths = lengthGenerator(random, config);
    const encoder = new TextEncoder();
    const names: number[] = [];
    this.#nameSpans = new Uint32Array(2 * config.fieldcount);
    for (let field = 0; field < config.fieldcount; field++) {
      const name = `${config.fieldnameprefix}${field}`;
      const bytes = encoder.encode(name);
      this.#nameSpans[2 * field] = names.length;
      this.#nameSpans[2 * field + 1] = bytes.length;
      names.push(...bytes);
      this.#fieldOfName.set(name, field);
    }
    this.pool = valuePool(config);
    this.ranges = {
      count: 0,
      names: Uint8Array.from(names),
      nameSpans: new Uint32Array(2 * config.fieldcount),
      values: this.pool,
      valueSpans: new Uint32Array(2 * config.fieldcount),
    };
  }

  /** Takes values from a copy of the pool beside where they go: a copy within one array is cheap. */
  moveTo(bytes: Uint8Array, poolAt: number): void {
    this.ranges.values = bytes;
    this.#poolAt = poolAt;
  }

  /** Points `ranges` at all fields of a record. */
  chooseAll(record: number): void {
    this.ranges.count = this.#fieldCount;
    this.ranges.nameSpans.set(this.#nameSpans);
    for (let field = 0; field < this.#fieldCount; field++) this.#place(record, field, field);
  }

  /** Points `ranges` at one field of a record, any of them. */
  chooseOne(record: number): void {
    const field = this.#fieldCount === 1 ? 0 : this.#random.nextBelow(this.#fieldCount);
    this.ranges.count = 1;
    this.ranges.nameSpans[0] = this.#nameSpans[2 * field];
    this.ranges.nameSpans[1] = this.#nameSpans[2 * field + 1];
    this.#place(record, field, 0);
  }

  /** Whether a field that was read is what this workload writes there. Needs dataintegrity. */
  verify(record: number, name: Uint8Array, value: Uint8Array): boolean {
    const field = this.#fieldOfName.get(this.#decoder.decode(name));
    if (field === undefined || value.length !== this.#lengths.next()) return false;
    const start = this.#placeOf(record, field, value.length);
    const { pool } = this;
    for (let i = 0; i < value.length; i++) if (value[i] !== pool[start + i]) return false;
    return true;
  }

  #place(record: number, field: number, index: number): void {
    const length = this.#lengths.next();
    const span = 2 * index;
    const place = this.#deterministic
      ? this.#placeOf(record, field, length)
      : this.#random.nextBelow(this.pool.length - length);
    this.ranges.valueSpans[span] = this.#poolAt + place;
    this.ranges.valueSpans[span + 1] = length;
  }

  #placeOf(record: number, field: number, length: number): number {
    this.#hash.hash(record * this.#fieldCount + field);
    return this.#hash.modulo(this.pool.length - length);
  }
}

/** The same for each rank of a run: what one writes another can check. */
function valuePool(config: WorkloadConfig): Uint8Array {
  const pool = new Uint8Array(POOL_BYTES + fieldBytesMax(config));
  const random = new Random(config["baash.seed"]);
  // 64 printable characters from space on, as YCSB's values.
  for (let i = 0; i < pool.length; i++) pool[i] = 0x20 + (random.nextInt32() >>> 26);
  return pool;
}

function lengthGenerator(random: Random, config: WorkloadConfig): NumberGenerator {
  const range = { min: config.minfieldlength, max: config.fieldlength };
  switch (config.fieldlengthdistribution) {
    case "constant":
      return new ConstantGenerator(config.fieldlength);
    case "uniform":
      return new UniformGenerator(random, range);
    case "zipfian":
      return new ZipfianGenerator(random, range);
    case "histogram":
      return new HistogramGenerator(random, config.histogram!);
  }
}
