/**
 * YCSB's core workload, one rank's share of it. Load phase: this rank's part of the records, one
 * insert each. Run phase: operations chosen by their proportions on records chosen by the request
 * distribution. Ranks that insert in the run phase interleave their record numbers, and a rank asks
 * only for new records of its own that are final: the others' progress is not known to it.
 */
import { Random } from "../base/random.ts";
import type { LedgerService } from "../ledger/service.ts";
import {
  type ByteRange,
  encodeInsert,
  encodeUpdate,
  type TransactionHead,
} from "../ledger/transaction.ts";
import { FieldValues } from "./generators/field-values.ts";
import { KeyNames } from "./generators/key-names.ts";
import type { NumberGenerator } from "./generators/number-generator.ts";
import {
  DiscreteGenerator,
  ExponentialGenerator,
  HotspotGenerator,
  SequentialGenerator,
  UniformGenerator,
} from "./generators/spread.ts";
import {
  LatestGenerator,
  ScrambledZipfianGenerator,
  ZipfianGenerator,
} from "./generators/zipfian.ts";
import {
  OPERATION,
  type Operation,
  RESULT,
  type RecordReader,
  type Sender,
  shareOf,
  type Workload,
} from "./operation.ts";
import { transactionBytesMax, type WorkloadConfig } from "./workload-config.ts";

export interface CoreWorkloadOptions {
  readonly config: WorkloadConfig;
  readonly phase: "load" | "run";
  readonly rank: number;
  readonly ranks: number;
  readonly sender: Sender;
}

export class CoreWorkload implements Workload {
  readonly operations: number;
  readonly transactionBytesMax: number;
  readonly #config: WorkloadConfig;
  readonly #loads: boolean;
  readonly #rank: number;
  readonly #ranks: number;
  readonly #sender: Sender;
  readonly #keys: KeyNames;
  readonly #fields: FieldValues;
  readonly #kinds: NumberGenerator;
  readonly #indices: NumberGenerator;
  readonly #scanLengths: NumberGenerator;
  readonly #key: ByteRange;
  /** Views of the key buffer by length: a read needs its key as an array of its own. */
  readonly #keyViews: Uint8Array[];
  /** First record of this rank's part of the load. */
  readonly #loadFirst: number;
  /** Records loaded or inserted so far. */
  #inserted = 0;
  /** Of the run phase's inserts, those before this ordinal are settled … */
  #settledInserts = 0;
  /** … and these above it. */
  readonly #settledAhead = new Set<number>();

  constructor(options: CoreWorkloadOptions) {
    const { config, rank, ranks } = options;
    this.#config = config;
    this.#loads = options.phase === "load";
    this.#rank = rank;
    this.#ranks = ranks;
    this.#sender = options.sender;
    const loaded = shareOf(config.records, rank, ranks);
    this.#loadFirst = config.insertstart + loaded.first;
    this.operations = this.#loads
      ? loaded.count
      : config.operationcount === 0
        ? Number.POSITIVE_INFINITY
        : shareOf(config.operationcount, rank, ranks).count;
    this.transactionBytesMax = transactionBytesMax(config);
    // Streams keep ranks apart; the phases too, or the run would repeat the load's values.
    const random = new Random(config["baash.seed"], 2 * rank + (this.#loads ? 1 : 2));
    this.#keys = new KeyNames({
      ordered: config.insertorder === "ordered",
      zeroPadding: config.zeropadding,
      records: config.recordcount,
    });
    this.#fields = new FieldValues(random, config);
    this.#kinds = kindGenerator(random, config);
    this.#indices = this.#indexGenerator(random);
    const lengths = { min: config.minscanlength, max: config.maxscanlength };
    this.#scanLengths =
      config.scanlengthdistribution === "uniform"
        ? new UniformGenerator(random, lengths)
        : new ZipfianGenerator(random, lengths);
    this.#key = { bytes: new Uint8Array(this.#keys.keyBytesMax), start: 0, length: 0 };
    this.#keyViews = Array.from({ length: this.#keys.keyBytesMax + 1 }, (_, length) =>
      this.#key.bytes.subarray(0, length),
    );
  }

  choose(operation: Operation): void {
    operation.object = 0;
    operation.amount = 0;
    if (this.#loads) {
      operation.kind = OPERATION.INSERT;
      operation.subject = this.#loadFirst + this.#inserted++;
      return;
    }
    const kind = this.#kinds.next();
    operation.kind = kind;
    if (kind === OPERATION.INSERT) {
      operation.object = this.#inserted++;
      operation.subject = this.#recordOf(this.#config.records + operation.object);
      return;
    }
    operation.subject = this.#recordOf(this.#chooseIndex());
    if (kind === OPERATION.SCAN) operation.object = this.#scanLengths.next();
  }

  perform(operation: Operation, reader: RecordReader): number | Promise<number> {
    this.#key.length = this.#keys.write(operation.subject, this.#key.bytes, 0);
    const key = this.#keyViews[this.#key.length];
    if (operation.kind === OPERATION.SCAN) {
      const found = reader.scan(key, operation.object);
      return found instanceof Promise
        ? found.then((keys) => readAll(keys, reader))
        : readAll(found, reader);
    }
    const { subject } = operation;
    const fields = reader.read(key);
    return fields instanceof Promise
      ? fields.then((later) => this.#judge(subject, later))
      : this.#judge(subject, fields);
  }

  #judge(record: number, fields: ReturnType<LedgerService["read"]>): number {
    if (fields === undefined) return RESULT.NOT_FOUND;
    if (this.#config.dataintegrity) {
      for (const field of fields) {
        if (!this.#fields.verify(record, field.name, field.value)) return RESULT.UNEXPECTED_STATE;
      }
    }
    return RESULT.OK;
  }

  get pool(): Uint8Array {
    return this.#fields.pool;
  }

  usePool(bytes: Uint8Array, poolAt: number): void {
    this.#fields.moveTo(bytes, poolAt);
  }

  encode(operation: Operation, out: Uint8Array, offset: number, head: TransactionHead): number {
    head.senderID = this.#sender.id;
    head.sequence = this.#sender.nextSequence();
    const key = this.#key;
    key.length = this.#keys.write(operation.subject, key.bytes, 0);
    if (operation.kind === OPERATION.INSERT) {
      this.#fields.chooseAll(operation.subject);
      return encodeInsert(out, offset, head, key, this.#fields.ranges);
    }
    if (this.#config.writeallfields) this.#fields.chooseAll(operation.subject);
    else this.#fields.chooseOne(operation.subject);
    return encodeUpdate(out, offset, head, key, this.#fields.ranges);
  }

  settled(operation: Operation): void {
    if (this.#loads || operation.kind !== OPERATION.INSERT) return;
    this.#settledAhead.add(operation.object);
    while (this.#settledAhead.delete(this.#settledInserts)) this.#settledInserts++;
  }

  /** Newest index that may be asked for. */
  #newest(): number {
    return this.#config.records + this.#settledInserts - 1;
  }

  /** An index is a record of the load, or past those an insert of this rank. */
  #recordOf(index: number): number {
    const { records, insertstart, recordcount } = this.#config;
    if (index < records) return insertstart + index;
    return recordcount + (index - records) * this.#ranks + this.#rank;
  }

  #chooseIndex(): number {
    const newest = this.#newest();
    if (this.#config.requestdistribution === "exponential") {
      let index = newest - this.#indices.next();
      while (index < 0) index = newest - this.#indices.next();
      return index;
    }
    let index = this.#indices.next();
    while (index > newest) index = this.#indices.next();
    return index;
  }

  #indexGenerator(random: Random): NumberGenerator {
    const config = this.#config;
    // A table without records is only ever inserted into: no index is drawn then.
    const range = { min: 0, max: Math.max(0, config.records - 1) };
    switch (config.requestdistribution) {
      case "uniform":
        return new UniformGenerator(random, range);
      case "zipfian": {
        // Popular keys must stay the same ones while the table grows, so YCSB draws from a table as
        // large as expected, twice over, and draws again when the record is not there yet. Its
        // range holds one item more than the table; ours does too, to favour the very same keys.
        const operations = Number.isFinite(this.operations) ? this.operations : 0;
        const expected = Math.floor(operations * config.insertproportion * 2);
        return new ScrambledZipfianGenerator(random, { min: 0, max: config.records + expected });
      }
      case "latest":
        return new LatestGenerator(random, () => Math.max(0, this.#newest()));
      case "hotspot":
        return new HotspotGenerator(random, {
          ...range,
          hotData: config.hotspotdatafraction,
          hotOperations: config.hotspotopnfraction,
        });
      case "sequential":
        return new SequentialGenerator(
          range,
          shareOf(config.records, this.#rank, this.#ranks).first % (range.max + 1),
        );
      case "exponential":
        return new ExponentialGenerator(random, {
          percentile: config["exponential.percentile"],
          range: Math.max(1, config.records * config["exponential.frac"]),
        });
    }
  }
}

/** YCSB's scan answers records, not keys: read each. */
function readAll(keys: readonly Uint8Array[], reader: RecordReader): number | Promise<number> {
  if (keys.length === 0) return RESULT.NOT_FOUND;
  const reads = keys.map((key) => reader.read(key));
  return reads.some((read) => read instanceof Promise)
    ? Promise.all(reads).then(() => RESULT.OK)
    : RESULT.OK;
}

function kindGenerator(random: Random, config: WorkloadConfig): NumberGenerator {
  const choices = [
    { kind: OPERATION.READ, weight: config.readproportion },
    { kind: OPERATION.UPDATE, weight: config.updateproportion },
    { kind: OPERATION.INSERT, weight: config.insertproportion },
    { kind: OPERATION.SCAN, weight: config.scanproportion },
    { kind: OPERATION.READ_MODIFY_WRITE, weight: config.readmodifywriteproportion },
  ];
  // The load phase of a file that sets no proportions still builds one; any kind will do.
  if (!choices.some((choice) => choice.weight > 0)) choices[2].weight = 1;
  return new DiscreteGenerator(random, choices);
}
