/** What the tests of lying members ask, again and again. */
import { expect } from "bun:test";
import { decodeEvidence, evidenceFlaw } from "../../src/ledger/evidence.ts";
import { parseGenesis } from "../../src/ledger/genesis.ts";
import { type LiarsOptions, LiarsWorld } from "./liars-world.ts";

export const LIAR = 3;
const LOAD_MS = 400;

type Lie = NonNullable<LiarsOptions["lie"]>;

export async function worldWith(
  lie: Lie,
  options: Partial<LiarsOptions> = {},
): Promise<LiarsWorld> {
  const world = new LiarsWorld({ liars: [LIAR], loadMs: LOAD_MS, lie, ...options });
  return await world.run();
}

/** The honest three kept every promise and made what they were given final. */
export function expectProgress(world: LiarsWorld): void {
  expect(world.violation?.message).toBeUndefined();
  const { accepted, finals } = world.world.users.counts;
  expect(accepted).toBeGreaterThan(10);
  expect(finals).toBeGreaterThan(10);
}

/** The proof in the ledger convicts the liar, by the genesis alone. */
export function expectProof(world: LiarsWorld, kind: string): void {
  const genesis = parseGenesis(world.world.genesisBytes, "genesis");
  const names = world.files("evidence");
  expect(names.length).toBeGreaterThan(0);
  const liar = world.liars[0].sessions.at(-1)!;
  for (const name of names) {
    const evidence = decodeEvidence(world.fileBytes("evidence", name));
    if (!evidence.ok) throw new Error(evidence.where);
    expect(evidence.value.kind).toBe(kind as "votes");
    expect(evidenceFlaw(evidence.value, genesis)).toBeUndefined();
    expect(evidence.value.member.incarnation).toEqual(liar.incarnation);
  }
}

/** It was sealed out and never let in again. */
export function expectEvicted(world: LiarsWorld): void {
  expect(world.oracle.epochs.all.some(({ members }) => members.length === 3)).toBe(true);
  const last = world.oracle.epochs.all.findLast(({ members }) => members.length > 0)!;
  expect(last.members).toHaveLength(3);
}
