/**
 * The stories of this folder: what each says is what the core does. UPDATE_SCENARIOS=1 writes down
 * what it does now, to be read before it is kept.
 */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tellStory } from "../support/consensus-story.ts";

const stories = readdirSync(import.meta.dir).filter((file) => file.endsWith(".txt"));

test("there are stories", () => {
  expect(stories.length).toBeGreaterThan(10);
});

for (const file of stories.sort()) {
  test(file, () => {
    const path = join(import.meta.dir, file);
    const written = readFileSync(path, "utf8");
    const told = tellStory(written);
    if (process.env.UPDATE_SCENARIOS === "1") writeFileSync(path, told);
    else expect(told).toBe(written);
  });
}
