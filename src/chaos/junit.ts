/** Reads what `bun test --reporter=junit` wrote: which test passed, in which file, in what time. */
import { configurationError } from "../base/errors.ts";

export interface TestCase {
  readonly file: string;
  /** Its describe blocks and its own name, in order. */
  readonly name: string;
  readonly passed: boolean;
  readonly seconds: number;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&quot;": '"',
  "&apos;": "'",
  "&lt;": "<",
  "&gt;": ">",
  "&amp;": "&",
};

function plain(text: string): string {
  return text.replace(/&(quot|apos|lt|gt|amp);/g, (entity) => ENTITIES[entity]);
}

/** Throws JUNIT (exit 78) when there is no report in the text. */
export function parseJunit(text: string): TestCase[] {
  if (!text.includes("<testsuites")) {
    throw configurationError(
      "JUNIT",
      "The test run left no JUnit report: it broke before its end.",
    );
  }
  const cases: TestCase[] = [];
  // A case that passed has no body; the body of one that did not says why.
  for (const match of text.matchAll(/<testcase ([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g)) {
    const [, head, , body = ""] = match;
    const attribute = (name: string) =>
      plain(new RegExp(`(?:^| )${name}="([^"]*)"`).exec(head)?.[1] ?? "");
    const group = attribute("classname");
    const name = attribute("name");
    cases.push({
      file: attribute("file"),
      name: group === "" ? name : `${group} > ${name}`,
      passed: !/<(failure|error|skipped)/.test(body),
      seconds: Number(attribute("time")),
    });
  }
  return cases;
}
