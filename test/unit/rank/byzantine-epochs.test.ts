/**
 * A byzantine ledger under the faults that a majority ledger survives, without any liar; and a majority
 * ledger, in which nothing of all that is there.
 */
import { expect, test } from "bun:test";
import { decodeProposal } from "../../../src/ledger/proposal.ts";
import { decodeVote, ENVELOPE_BYTES, MESSAGE } from "../../../src/rank/envelope.ts";
import { type LiarsOptions, LiarsWorld } from "../../support/liars-world.ts";

const TIMEOUT_MS = 60_000;
/** Who is silent is out before the load ends. */
const settings = {
  monitoring: { heartbeatMs: 15, suspectMs: 80, evictMs: 160, turnDelayMs: 20, scale: 1 },
};

async function worldOf(options: Partial<LiarsOptions>): Promise<LiarsWorld> {
  const world = await new LiarsWorld({ liars: [], loadMs: 500, ...options }).run();
  expect(world.violation?.message).toBeUndefined();
  expect(world.world.users.counts.finals).toBeGreaterThan(20);
  // S14: none of them lied.
  expect(world.files("evidence")).toEqual([]);
  for (const { loop } of world.job.ranks) expect(loop!.counters.convicted).toBe(0);
  return world;
}

const sizes = (world: LiarsWorld) => world.oracle.epochs.all.map(({ members }) => members.length);

test.each([1, 2, 3, 4, 5])(
  "%d ranks agree, record and close by signed answers",
  async (ranks) => {
    const world = await worldOf({ ranks, loadMs: 300 });
    expect(sizes(world)).toEqual([ranks, 0]);
    expect(world.oracle.records.every(({ counts }) => counts)).toBe(true);
  },
  TIMEOUT_MS,
);

test.each([0, 1])(
  "member %d dies and is sealed out by the others' signed answers",
  async (rank) => {
    const world = await worldOf({
      settings,
      meanwhile: ({ clock, job }) => clock.after(120, () => job.crash(rank, false)),
    });
    expect(sizes(world)).toEqual([4, 3, 0]);
  },
  TIMEOUT_MS,
);

test(
  "two of seven die",
  async () => {
    const world = await worldOf({
      ranks: 7,
      settings,
      meanwhile: ({ clock, job }) => {
        clock.after(80, () => job.crash(1, false));
        clock.after(150, () => job.crash(5, false));
      },
    });
    expect(sizes(world).at(-2)).toBe(5);
  },
  TIMEOUT_MS,
);

test(
  "a member that slept comes back as somebody new",
  async () => {
    const world = await worldOf({
      loadMs: 3000,
      seed: 3,
      meanwhile: ({ clock, job }) => clock.after(120, () => job.ranks[1].freeze(2000)),
    });
    expect(sizes(world)).toEqual([4, 3, 4, 0]);
  },
  TIMEOUT_MS,
);

test(
  "all die: the next job takes over under the ledger key's signature",
  async () => {
    const world = await worldOf({
      loadMs: 1200,
      meanwhile: (running) => running.clock.after(120, () => running.restart()),
    });
    expect(world.oracle.records.map(({ kind }) => kind)).toContain("INTENT");
    expect(sizes(world)).toEqual([4, 4, 0]);
  },
  TIMEOUT_MS,
);

test(
  "a majority ledger bears no signature but those of its records and certificates",
  async () => {
    let [votes, proposals, rounds] = [0, 0, 0];
    const world = await worldOf({
      quorum: "majority",
      meanwhile: ({ job, clock }) => {
        clock.after(150, () => job.crash(1, false));
        for (const { transport, loop } of job.ranks) {
          const { storage } = loop!.shared;
          expect(loop!.context!.signing).toBeUndefined();
          const append = storage.append.bind(storage);
          storage.append = (draft) => {
            rounds += draft.rounds.length;
            for (const round of draft.rounds)
              for (const group of round.votes) expect("signatures" in group).toBe(false);
            expect(draft.seal?.signedAnswers).toBeUndefined();
            return append(draft);
          };
          const send = transport.sendMany.bind(transport);
          transport.sendMany = (to, bytes) => {
            const body = bytes.subarray(ENVELOPE_BYTES);
            if (bytes[0] === MESSAGE.vote) {
              votes++;
              expect(decodeVote(body, loop!.context!.session.ranks)!.signature).toBeUndefined();
            }
            if (bytes[0] === MESSAGE.proposal) {
              proposals++;
              // To its last byte: nothing comes behind it.
              expect(decodeProposal(body).ok).toBe(true);
            }
            send(to, bytes);
          };
        }
      },
      settings,
    });
    expect(Math.min(votes, proposals, rounds)).toBeGreaterThan(5);
    expect(sizes(world).at(-2)).toBe(3);
  },
  TIMEOUT_MS,
);
