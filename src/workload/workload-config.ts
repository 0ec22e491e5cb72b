/**
 * Properties to configuration: checked against the schema, related to each other, frozen. Whoever
 * gets a WorkloadConfig need not check anything again.
 */
import { configurationError, usageError } from "../base/errors.ts";
import { FIELD_HEADER_BYTES, TXN_HEADER_BYTES } from "../ledger/transaction.ts";
import { KEY_BYTES_MAX, TXN_BYTES_MAX } from "../limits.ts";
import { type Properties, type Property, propertyError } from "./properties.ts";
import {
  CORE_WORKLOADS,
  nearestProperty,
  PROPERTY_SCHEMA,
  type PropertyName,
  type PropertySchema,
} from "./property-schema.ts";

export interface FieldLengthHistogram {
  readonly blockSize: number;
  readonly weights: readonly number[];
}

type Value<S> = S extends { type: "integer" | "number" }
  ? number
  : S extends { type: "boolean" }
    ? boolean
    : S extends { type: "choice"; choices: readonly (infer C)[] }
      ? C
      : S extends { type: "numbers" }
        ? readonly number[]
        : string;

/** Each property under its own name, with its type. */
export type PropertyValues = {
  readonly [N in PropertyName]: Value<(typeof PROPERTY_SCHEMA)[N]>;
};

export interface WorkloadConfig extends Readonly<PropertyValues> {
  readonly kind: "core" | "transfers";
  readonly report: "ycsb" | "json" | "table";
  /** Records to load, insertcount's preset resolved. */
  readonly records: number;
  /** Set when fieldlengthdistribution=histogram. */
  readonly histogram: FieldLengthHistogram | undefined;
  /** Names that somebody set: the others are presets. */
  readonly given: ReadonlySet<string>;
}

/** Builds the configuration. `readText` reads the field length histogram, if one is asked for. */
export function buildWorkloadConfig(
  properties: Properties,
  readText: (path: string) => string,
): WorkloadConfig {
  const values: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(PROPERTY_SCHEMA)) {
    const property = properties.get(name);
    values[name] = parseValue(
      schema,
      property ?? { name, value: String(schema.preset), where: "preset", fromCommandLine: false },
    );
  }
  for (const property of properties.values()) {
    if (!(property.name in PROPERTY_SCHEMA)) throw unknownProperty(property);
  }
  const typed = values as unknown as PropertyValues;
  const records = properties.has("insertcount")
    ? typed.insertcount
    : Math.max(0, typed.recordcount - typed.insertstart);
  const config: WorkloadConfig = {
    ...typed,
    kind: (CORE_WORKLOADS as readonly string[]).includes(typed.workload) ? "core" : "transfers",
    report: typed.exporter.includes("JSON")
      ? "json"
      : typed.exporter.includes("Text")
        ? "ycsb"
        : (typed.exporter as "ycsb" | "json" | "table"),
    records,
    histogram:
      typed.fieldlengthdistribution === "histogram"
        ? parseHistogram(typed.fieldlengthhistogram, readText)
        : undefined,
    given: new Set(properties.keys()),
  };
  checkRelations(config, properties);
  return Object.freeze(config);
}

function unknownProperty(property: Property) {
  const nearest = nearestProperty(property.name);
  const hint = nearest === undefined ? "" : ` Did you mean ${nearest}?`;
  const make = property.fromCommandLine ? usageError : configurationError;
  return make(
    "PROPERTY_UNKNOWN",
    `${property.where}: there is no property "${property.name}".${hint}`,
    { property: property.name, where: property.where, ...(nearest && { nearest }) },
  );
}

function parseValue(schema: PropertySchema, property: Property): unknown {
  const { name, value } = property;
  switch (schema.type) {
    case "integer":
    case "number":
      return parseNumber(schema, property, value);
    case "numbers":
      return Object.freeze(
        value.split(",").map((part) => parseNumber(schema, property, part.trim())),
      );
    case "boolean":
      if (value === "true" || value === "false") return value === "true";
      throw propertyError(property, `${name} is true or false, not "${value}".`);
    case "choice":
      if (schema.choices.includes(value)) return value;
      throw propertyError(
        property,
        `${name} is one of ${schema.choices.join(", ")}, not "${value}".`,
      );
    case "text":
      return value;
  }
}

function parseNumber(
  schema: { type: string; min: number; max: number },
  property: Property,
  text: string,
): number {
  const { name } = property;
  const number = Number(text);
  if (text === "" || !Number.isFinite(number)) {
    throw propertyError(property, `${name} is a number, not "${text}".`);
  }
  if (schema.type === "integer" && !Number.isInteger(number)) {
    throw propertyError(property, `${name} is a whole number, not ${text}.`);
  }
  if (number < 0 && schema.min >= 0) {
    throw propertyError(property, `${name} cannot be negative, and ${text} is.`);
  }
  if (number < schema.min || number > schema.max) {
    throw propertyError(
      property,
      `${name} lies between ${schema.min} and ${schema.max}; ${text} does not.`,
    );
  }
  return number;
}

/** "BlockSize<tab>8", then "bucket<tab>weight" a line: the format of YCSB's histogram files. */
function parseHistogram(path: string, readText: (path: string) => string): FieldLengthHistogram {
  let text: string;
  try {
    text = readText(path);
  } catch {
    throw configurationError(
      "HISTOGRAM_FILE",
      `fieldlengthhistogram=${path}: the file cannot be read. It is needed because fieldlengthdistribution=histogram.`,
      { path },
    );
  }
  const rows = text.split(/\r?\n/).map((line) => line.trim().split(/\s+/));
  const blockSize = Number(rows[0][1]);
  if (rows[0][0] !== "BlockSize" || !Number.isInteger(blockSize) || blockSize < 1) {
    throw configurationError(
      "HISTOGRAM_FILE",
      `${path}:1: the first line reads "BlockSize" and a size in bytes.`,
      {
        path,
      },
    );
  }
  const weights: number[] = [];
  for (let i = 1; i < rows.length; i++) {
    if (rows[i][0] === "") continue;
    const [bucket, weight] = rows[i].map(Number);
    if (rows[i].length !== 2 || !Number.isInteger(bucket) || bucket < 0 || !(weight >= 0)) {
      throw configurationError(
        "HISTOGRAM_FILE",
        `${path}:${i + 1}: a line reads bucket number and weight.`,
        {
          path,
        },
      );
    }
    if ((bucket + 1) * blockSize > TXN_BYTES_MAX) {
      throw configurationError(
        "HISTOGRAM_FILE",
        `${path}:${i + 1}: no field is longer than ${TXN_BYTES_MAX} bytes.`,
        {
          path,
        },
      );
    }
    weights[bucket] = weight;
  }
  const filled = Array.from(weights, (weight) => weight ?? 0);
  if (!filled.some((weight) => weight > 0)) {
    throw configurationError("HISTOGRAM_FILE", `${path}: no bucket has a weight above zero.`, {
      path,
    });
  }
  return Object.freeze({ blockSize, weights: Object.freeze(filled) });
}

/** Bytes of the longest field. */
export function fieldBytesMax(config: WorkloadConfig): number {
  if (config.histogram === undefined) return config.fieldlength;
  return config.histogram.blockSize * config.histogram.weights.length;
}

/** Bytes of the longest transaction of the core workload. */
export function transactionBytesMax(config: WorkloadConfig): number {
  const name = config.fieldnameprefix.length * 3 + String(config.fieldcount).length;
  const key = Math.min(KEY_BYTES_MAX, 4 + Math.max(19, config.zeropadding));
  const field = FIELD_HEADER_BYTES + name + fieldBytesMax(config);
  return TXN_HEADER_BYTES + key + config.fieldcount * field;
}

/** What single properties cannot know: sentences name the properties that do not go together. */
function checkRelations(config: WorkloadConfig, properties: Properties): void {
  const refuse = (name: PropertyName, sentence: string) => {
    const property = properties.get(name);
    if (property !== undefined) throw propertyError(property, sentence);
    throw configurationError("PROPERTY_VALUE", sentence, { property: name });
  };
  if (config.insertstart + config.records > config.recordcount) {
    refuse(
      "recordcount",
      `insertstart + insertcount is ${config.insertstart + config.records}, more than recordcount=${config.recordcount}: raise recordcount or load fewer records.`,
    );
  }
  if (config.minscanlength > config.maxscanlength) {
    refuse(
      "minscanlength",
      `minscanlength=${config.minscanlength} is above maxscanlength=${config.maxscanlength}.`,
    );
  }
  const varies = config.fieldlengthdistribution !== "constant";
  if (varies && config.minfieldlength > config.fieldlength && config.histogram === undefined) {
    refuse(
      "minfieldlength",
      `minfieldlength=${config.minfieldlength} is above fieldlength=${config.fieldlength}.`,
    );
  }
  if (config.dataintegrity && varies) {
    refuse(
      "dataintegrity",
      "dataintegrity=true needs fieldlengthdistribution=constant: a check must know the length.",
    );
  }
  if (config.operationcount === 0 && config.maxexecutiontime === 0 && config.dotransactions) {
    refuse(
      "operationcount",
      "operationcount=0 runs until maxexecutiontime, which is not set: set one of the two.",
    );
  }
  if (config.kind === "transfers") return;
  const name = new TextEncoder().encode(`${config.fieldnameprefix}${config.fieldcount - 1}`);
  if (name.length > 255) {
    refuse(
      "fieldnameprefix",
      `field names have at most 255 bytes; with this prefix they have ${name.length}.`,
    );
  }
  if (transactionBytesMax(config) > TXN_BYTES_MAX) {
    refuse(
      "fieldlength",
      `a record of fieldcount=${config.fieldcount} and fieldlength=${fieldBytesMax(config)} takes ${transactionBytesMax(config)} bytes, more than the ${TXN_BYTES_MAX} of one transaction.`,
    );
  }
  if (config.dotransactions) checkOperations(config, refuse);
}

function checkOperations(
  config: WorkloadConfig,
  refuse: (name: PropertyName, sentence: string) => void,
): void {
  const others =
    config.readproportion +
    config.updateproportion +
    config.scanproportion +
    config.readmodifywriteproportion;
  if (others + config.insertproportion === 0) {
    refuse("readproportion", "all proportions are 0: give at least one kind of operation a share.");
  }
  if (others > 0 && config.records === 0) {
    refuse(
      "recordcount",
      `recordcount=${config.recordcount} leaves nothing to read or update: raise it.`,
    );
  }
}
