import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BaashError, EXIT } from "../../../src/base/errors.ts";
import {
  mergeProperties,
  parsePropertyFile,
  readPropertyFile,
} from "../../../src/workload/properties.ts";
import { buildWorkloadConfig } from "../../../src/workload/workload-config.ts";

const WORKLOADS = join(import.meta.dir, "../../../scripts/workloads");

function parse(text: string): Record<string, string> {
  const properties = parsePropertyFile({ name: "w", text });
  return Object.fromEntries(properties.map(({ name, value }) => [name, value]));
}

function configure(text: string, assignments: string[] = [], histogram = "") {
  const properties = mergeProperties([{ name: "my/workload", text }], assignments);
  return buildWorkloadConfig(properties, () => histogram);
}

function refusal(action: () => unknown): BaashError {
  try {
    action();
  } catch (error) {
    if (error instanceof BaashError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

describe("property files", () => {
  test("separators, comments, blank lines", () => {
    const text = "# c\n! c\n\n  a=1\nb : 2\r\nc\t3\nd = = 4\ne==\nf=\n";
    expect(parse(text)).toEqual({ a: "1", b: "2", c: "3", d: "= 4", e: "=", f: "" });
  });

  test("escapes and continued lines", () => {
    const text = "a\\=b=x\\ty\\u0041\\:\nlist=1,\\\n   2,\\\n\t3\nend=back\\\\\nnext=n";
    expect(parse(text)).toEqual({ "a=b": "x\tyA:", list: "1,2,3", end: "back\\", next: "n" });
  });

  test("malformed lines are named by file and line", () => {
    const error = refusal(() => parsePropertyFile({ name: "w", text: "a=1\n\nnonsense\n" }));
    expect(error.message).toStartWith("w:3: ");
    expect(error.exitCode).toBe(EXIT.configuration);
    expect(refusal(() => parse("=1")).message).toContain("w:1");
    expect(refusal(() => parse("a=1\nb=\\u12")).message).toContain("w:2");
  });

  test("a later file wins, and -p beats files", () => {
    const merged = mergeProperties(
      [
        { name: "one", text: "a=1\nb=1\nc=1" },
        { name: "two", text: "b=2\nc=2" },
      ],
      ["c=3", "d = 4"],
    );
    const values = Array.from(merged.values(), ({ name, value }) => `${name}${value}`);
    expect(values).toEqual(["a1", "b2", "c3", "d4"]);
    expect(merged.get("b")?.where).toBe("two:1");
    expect(refusal(() => mergeProperties([], ["c"])).exitCode).toBe(EXIT.usage);
  });

  test("a file that is not there is a usage error that says so", async () => {
    const error = await readPropertyFile("/nowhere/w").catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(BaashError);
    expect((error as BaashError).message).toContain("/nowhere/w: there is no such file");
  });
});

describe("configuration", () => {
  test("presets are YCSB's", () => {
    const config = configure("");
    expect(config.fieldcount).toBe(10);
    expect(config.fieldlength).toBe(100);
    expect(config.readproportion).toBe(0.95);
    expect(config.requestdistribution).toBe("uniform");
    expect(config["hdrhistogram.percentiles"]).toEqual([50, 95, 99]);
    expect(config.records).toBe(config.recordcount);
    expect(Object.isFrozen(config)).toBe(true);
  });

  test("an unknown property names file, line and what was meant", () => {
    const error = refusal(() => configure("table=t\nrecordcout=5"));
    expect(error.message).toBe(
      'my/workload:2: there is no property "recordcout". Did you mean recordcount?',
    );
    expect(error.exitCode).toBe(EXIT.configuration);
    const flag = refusal(() => configure("", ["baash.rank=3"]));
    expect(flag.message).toContain("Did you mean baash.ranks?");
    expect(flag.exitCode).toBe(EXIT.usage);
    expect(refusal(() => configure("xyzzyplugh=1")).message).not.toContain("Did you mean");
  });

  test.each([
    ["recordcount=-5", "recordcount cannot be negative, and -5 is."],
    ["operationcount=many", 'operationcount is a number, not "many".'],
    ["fieldcount=1.5", "fieldcount is a whole number, not 1.5."],
    ["readproportion=1.5", "readproportion lies between 0 and 1; 1.5 does not."],
    ["readallfields=yes", 'readallfields is true or false, not "yes".'],
    ["insertorder=random", 'insertorder is one of hashed, ordered, not "random".'],
    ["hdrhistogram.percentiles=50,200", "lies between 0 and 100; 200 does not."],
    ["insertstart=900\ninsertcount=200", "insertstart + insertcount is 1100"],
    ["minscanlength=9\nmaxscanlength=3", "minscanlength=9 is above maxscanlength=3"],
    ["dataintegrity=true\nfieldlengthdistribution=uniform", "dataintegrity=true needs"],
    ["readproportion=0\nupdateproportion=0", "all proportions are 0"],
    ["operationcount=0", "operationcount=0 runs until maxexecutiontime"],
    ["fieldcount=1024\nfieldlength=1000", "more than the 262144 of one transaction"],
    ["recordcount=0", "leaves nothing to read or update"],
  ])("%j is refused with a sentence", (text, sentence) => {
    const error = refusal(() => configure(text));
    expect(error.message).toContain(sentence);
    expect(error.exitCode).toBe(EXIT.configuration);
  });

  test("a field length histogram is read in YCSB's format, and judged by line", () => {
    const text = "fieldlengthdistribution=histogram\nfieldlengthhistogram=h";
    const config = configure(text, [], "BlockSize\t8\n0\t1\n2\t3\n");
    expect(config.histogram).toEqual({ blockSize: 8, weights: [1, 0, 3] });
    expect(refusal(() => configure(text, [], "Size 8")).message).toStartWith("h:1: ");
    expect(refusal(() => configure(text, [], "BlockSize 8\n0 1\nx 1")).message).toContain("h:3");
    expect(refusal(() => configure(text, [], "BlockSize 8\n0 0")).message).toContain("above zero");
  });

  test("every workload that ships is valid", async () => {
    const names = readdirSync(WORKLOADS).sort();
    expect(names).toContain("workloadf");
    for (const name of names) {
      const file = await readPropertyFile(join(WORKLOADS, name));
      const config = buildWorkloadConfig(mergeProperties([file], []), () => "");
      expect(config.kind).toBe(name === "transfers" ? "transfers" : "core");
      if (name === "paper") expect(config["baash.targetperrank"]).toBe(900);
    }
  });
});
