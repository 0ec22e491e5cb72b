/**
 * Java property files, the form in which YCSB workloads are written: comments (# and !), key and
 * value apart by "=", ":" or white space, backslash escapes, lines continued by a backslash. Each
 * property remembers where it was set, so that an error can point there.
 */
import { configurationError, errorCode, usageError } from "../base/errors.ts";

export interface Property {
  readonly name: string;
  readonly value: string;
  /** "file:line", or "-p name=value". */
  readonly where: string;
  /** The command line was wrong rather than a file. */
  readonly fromCommandLine: boolean;
}

export type Properties = ReadonlyMap<string, Property>;

export interface PropertyFile {
  /** As the user named it: it appears in messages. */
  readonly name: string;
  readonly text: string;
}

/** Files in order, a later one wins; assignments ("name=value", of -p) beat all files. */
export function mergeProperties(
  files: readonly PropertyFile[],
  assignments: readonly string[],
): Properties {
  const merged = new Map<string, Property>();
  for (const file of files) {
    for (const property of parsePropertyFile(file)) merged.set(property.name, property);
  }
  for (const assignment of assignments) {
    const property = parseAssignment(assignment);
    merged.set(property.name, property);
  }
  return merged;
}

export async function readPropertyFile(path: string): Promise<PropertyFile> {
  try {
    return { name: path, text: await Bun.file(path).text() };
  } catch (error) {
    const code = errorCode(error);
    const why = code === "ENOENT" ? "there is no such file" : `reading it failed (${code})`;
    throw usageError(
      "PROPERTY_FILE",
      `Property file ${path}: ${why}. Give -P the path of a workload, such as one in scripts/workloads.`,
      { path, code },
    );
  }
}

function parseAssignment(assignment: string): Property {
  const at = assignment.indexOf("=");
  const name = assignment.slice(0, at).trim();
  if (at < 0 || name === "") {
    throw usageError(
      "PROPERTY_ASSIGNMENT",
      `-p ${assignment}: a property is set as name=value, for example -p recordcount=1000.`,
      { assignment },
    );
  }
  return {
    name,
    value: assignment.slice(at + 1).trim(),
    where: `-p ${assignment}`,
    fromCommandLine: true,
  };
}

/** All properties of a file in their order, repeated ones included. */
export function parsePropertyFile(file: PropertyFile): Property[] {
  const properties: Property[] = [];
  for (const { text, line } of logicalLines(file.text)) {
    const where = `${file.name}:${line}`;
    const end = keyEnd(text);
    const name = unescapeText(text.slice(0, end), where);
    const value = unescapeText(text.slice(end).replace(/^[ \t\f]*[=:]?[ \t\f]*/, ""), where).trim();
    if (name === "") {
      throw configurationError(
        "PROPERTY_SYNTAX",
        `${where}: "${text}" sets a value without a name.`,
        {
          where,
        },
      );
    }
    if (end === text.length) {
      throw configurationError(
        "PROPERTY_SYNTAX",
        `${where}: "${text}" is no property: write name=value, or start the line with # if it is a comment.`,
        { where },
      );
    }
    properties.push({ name, value, where, fromCommandLine: false });
  }
  return properties;
}

/** Lines without comments and empty ones, continued ones joined, with the number of their first. */
function* logicalLines(text: string): Generator<{ text: string; line: number }> {
  const lines = text.replace(/^\uFEFF/, "").split(/\r\n|\n|\r/);
  for (let i = 0; i < lines.length; i++) {
    let logical = lines[i].trimStart();
    if (logical === "" || logical.startsWith("#") || logical.startsWith("!")) continue;
    const line = i + 1;
    while (/(^|[^\\])(\\\\)*\\$/.test(logical)) {
      logical = logical.slice(0, -1) + (lines[++i] ?? "").trimStart();
    }
    yield { text: logical, line };
  }
}

/** Where the key ends: at the first separator that is not escaped. */
function keyEnd(text: string): number {
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (/[=: \t\f]/.test(text[i])) return i;
  }
  return text.length;
}

function unescapeText(text: string, where: string): string {
  return text.replace(/\\(u[0-9a-fA-F]{4}|.)/g, (_, escaped: string) => {
    if (escaped.length === 5) return String.fromCharCode(Number.parseInt(escaped.slice(1), 16));
    if (escaped === "u") {
      throw configurationError(
        "PROPERTY_SYNTAX",
        `${where}: \\u is followed by four hexadecimal digits, here it is not.`,
        { where },
      );
    }
    return { t: "\t", n: "\n", r: "\r", f: "\f" }[escaped] ?? escaped;
  });
}

/** The text of a property file that says the same. */
export function formatProperties(properties: Properties): string {
  let text = "";
  for (const { name, value } of properties.values()) {
    text += `${escapeText(name).replace(/[=: #!]/g, "\\$&")}=${escapeText(value)}\n`;
  }
  return text;
}

function escapeText(text: string): string {
  const short: Record<string, string> = { "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f" };
  return text.replaceAll("\\", "\\\\").replace(/[\t\n\r\f]/g, (character) => short[character]);
}

/** An error about the value of a property, as usage or configuration by where it was set. */
export function propertyError(property: Property, sentence: string) {
  const make = property.fromCommandLine ? usageError : configurationError;
  return make("PROPERTY_VALUE", `${property.where}: ${sentence}`, {
    property: property.name,
    value: property.value,
    where: property.where,
  });
}
