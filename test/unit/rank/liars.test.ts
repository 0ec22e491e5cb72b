/**
 * One lying member of four, on the production ranks over in-process twins: whatever it says, the
 * others go on with one log and one state, keep what they promised, and convict it where it signed
 * two things. Two liars are one too many, and the checks say so.
 */
import { describe, expect, test } from "bun:test";
import { fromHex } from "../../../src/base/bytes.ts";
import { Random } from "../../../src/base/random.ts";
import { ANSWER, type Vote } from "../../../src/consensus/effects.ts";
import { voteDigest } from "../../../src/consensus/vote.ts";
import type { RankContext } from "../../../src/rank/context.ts";
import {
  encodeDecided,
  encodePull,
  encodeStatus,
  encodeVote,
  MESSAGE,
} from "../../../src/rank/envelope.ts";
import {
  encodeAccusation,
  encodeHeal,
  encodeLanes,
  encodeSealPull,
} from "../../../src/rank/membership-messages.ts";
import type { RankProcess } from "../../../src/simulation/rank-process.ts";
import {
  expectEvicted,
  expectProgress,
  expectProof,
  LIAR,
  worldWith,
} from "../../support/liar-checks.ts";
import {
  answering,
  bent,
  garbage,
  keepLying,
  mouthOf,
  otherProposal,
  overhear,
  sealedVote,
  voteIn,
} from "../../support/lies.ts";

const TIMEOUT_MS = 60_000;

const turned = (vote: Vote): Vote =>
  answering(vote, (own) => (own === ANSWER.yes ? ANSWER.no : own));

describe("who signs two things is convicted and evicted", () => {
  test(
    "two proposals of a round, sent to different members",
    async () => {
      const world = await worldWith((liar) => {
        mouthOf(liar, {
          [MESSAGE.proposal]: (bytes, to, context) => [
            [to, to % 2 === 0 ? bytes : otherProposal(bytes, context)],
          ],
        });
      });
      expectProgress(world);
      expectProof(world, "proposals");
      expectEvicted(world);
      expect(world.misdeeds(LIAR).EQUIVOCATION).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "two votes of a round, sent to the same member",
    async () => {
      const world = await worldWith((liar) => {
        mouthOf(liar, {
          [MESSAGE.vote]: (bytes, to, context) => [
            [to, bytes],
            [to, sealedVote(turned(voteIn(bytes, context)), context)],
          ],
        });
      });
      expectProgress(world);
      expectProof(world, "votes");
      expectEvicted(world);
      expect(world.misdeeds(LIAR).DOUBLE_VOTE).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "two votes of a round, sent to different members: a record shows one of them to all",
    async () => {
      const world = await worldWith((liar) => {
        mouthOf(liar, {
          [MESSAGE.vote]: (bytes, to, context) => [
            [to, to % 2 === 0 ? bytes : sealedVote(turned(voteIn(bytes, context)), context)],
          ],
        });
      });
      expectProgress(world);
      expectProof(world, "votes");
      expectEvicted(world);
    },
    TIMEOUT_MS,
  );
});

describe("the others go on", () => {
  test(
    "beside one that votes no, always, about everybody",
    async () => {
      const world = await worldWith((liar) => {
        const turnedBy = new WeakSet<RankContext>();
        keepLying(liar, 1, (context) => {
          if (turnedBy.has(context)) return;
          turnedBy.add(context);
          const open = context as { emit: RankContext["emit"] };
          const emit = context.emit;
          open.emit = (input) =>
            emit(input.type === "validated" ? { ...input, verdict: "no" } : input);
        });
      });
      expectProgress(world);
      expect(world.files("evidence")).toEqual([]);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that sends its bodies to one member alone and hands nothing out",
    async () => {
      const world = await worldWith((liar) => {
        mouthOf(liar, {
          [MESSAGE.proposal]: (bytes, to) => (to === 0 ? [[to, bytes]] : []),
        });
      });
      expectProgress(world);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that is silent but for heartbeats",
    async () => {
      const world = await worldWith((liar) => {
        const none = () => [];
        mouthOf(liar, {
          ...{ [MESSAGE.proposal]: none, [MESSAGE.vote]: none, [MESSAGE.pull]: none },
          ...{ [MESSAGE.sealAnswer]: none, [MESSAGE.sealPull]: none, [MESSAGE.decided]: none },
        });
      });
      expectProgress(world);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that speaks for the others, with signatures that are nobody's",
    async () => {
      const world = await worldWith((liar) => {
        const send = mouthOf(liar, {});
        keepLying(liar, 3, ({ core, session }, others) => {
          const round = core.settled + 1;
          const answers = new Uint8Array(session.ranks).fill(ANSWER.no);
          const hashes = new Array(session.ranks).fill("cd".repeat(32));
          const digest = voteDigest(round, answers, hashes);
          for (let rank = 0; rank < session.ranks; rank++) {
            const effects = { effectsSlot: 0, effectsDigest: "00".repeat(32) };
            const vote = { round, rank, answers, hashes, digest, ...effects };
            const body = encodeVote(vote, true, new Uint8Array(64).fill(rank + 1));
            for (const to of others) send(to, session.seal.wrap(MESSAGE.vote, body));
          }
        });
      });
      expectProgress(world);
      expect(world.files("evidence")).toEqual([]);
      const { WRONG_RANK = 0, FORGED_SIGNATURE = 0 } = world.misdeeds(LIAR);
      expect(WRONG_RANK).toBeGreaterThan(0);
      expect(FORGED_SIGNATURE).toBeGreaterThan(0);
      expect(world.files("quarantine").some((name) => name.startsWith("3.forged"))).toBe(true);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that says everything again, its own words and the others', of all epochs",
    async () => {
      const random = new Random(5, 1);
      const heard: Uint8Array[] = [];
      const world = await worldWith((liar) => {
        overhear(liar, (bytes) => {
          if (heard.length < 4000) heard.push(bytes.slice());
        });
        keepLying(liar, 2, (_context, others) => {
          if (heard.length === 0) return;
          for (const to of others)
            for (let i = 0; i < 10; i++) {
              const old = heard[random.nextBelow(heard.length)];
              // Past its own ears: what it says is not news to it.
              (liar.transport as unknown as { inner: RankProcess["transport"] }).inner.send(
                to,
                old,
              );
            }
        });
      });
      expectProgress(world);
      expect(world.files("evidence")).toEqual([]);
      expect(world.misdeeds(LIAR).WRONG_RANK).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that floods them with garbage, authentic and not",
    async () => {
      const random = new Random(6, 1);
      let last: Uint8Array = new Uint8Array(40);
      const world = await worldWith((liar) => {
        overhear(liar, (bytes) => {
          last = bytes.slice();
        });
        const { inner } = liar.transport as unknown as { inner: RankProcess["transport"] };
        keepLying(liar, 1, (context, others) => {
          for (const to of others) {
            for (let i = 0; i < 8; i++) inner.send(to, garbage(random, 2000));
            for (let i = 0; i < 3; i++) inner.send(to, bent(last, context, random));
          }
        });
      });
      expectProgress(world);
      const misdeeds = world.misdeeds(LIAR);
      expect(misdeeds.UNAUTHENTIC).toBeGreaterThan(0);
      expect(Object.keys(misdeeds).length).toBeGreaterThan(1);
      // At most its share of each rank.
      expect(world.files("quarantine").length).toBeLessThanOrEqual(64);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that says stop, freeze, he is dead, it is decided, at every turn",
    async () => {
      const world = await worldWith((liar) => {
        const send = mouthOf(liar, {});
        keepLying(liar, 5, (context, others) => {
          for (const to of others) for (const bytes of words(context)) send(to, bytes);
        });
      });
      expectProgress(world);
      expect(world.files("evidence")).toEqual([]);
      // Nobody is evicted on its word, and no epoch ends on it.
      const first = world.oracle.epochs.all[0];
      for (const { members } of world.oracle.epochs.all)
        for (const honest of first.members.slice(0, LIAR))
          if (members.length > 0) expect(members).toContain(honest);
    },
    TIMEOUT_MS,
  );

  test(
    "beside one that writes junk into the log, which takes slots and settles nothing",
    async () => {
      const random = new Random(7, 1);
      const world = await worldWith((liar) => {
        keepLying(liar, 9, ({ chain, session, storage }) => {
          const { slot, hash, settledRound, height } = chain;
          const draft = {
            kind: random.nextBelow(2) === 0 ? ("QUORUM" as const) : ("NOOP" as const),
            ...{ slot: slot + 1, prevHash: fromHex(hash), epoch: session.epoch },
            ...{ firstRound: settledRound + 1, lastRound: settledRound, creationTime: 1 },
            ...{ authorRank: session.self, rounds: [] },
            heightBefore: height + random.nextBelow(2),
          };
          storage.append(draft).catch(() => {});
        });
      });
      expectProgress(world);
      expect(world.oracle.records.some(({ counts }) => !counts)).toBe(true);
    },
    TIMEOUT_MS,
  );
});

/** Messages that are well formed, and none of which one member alone may bring about. */
function words({ session, chain, core }: RankContext): Uint8Array[] {
  const { seal, ranks } = session;
  const hash = "ab".repeat(32);
  const decided = {
    hash,
    firstRound: core.settled + 1,
    lastRound: core.settled + 3,
    orderDigest: hash,
  };
  const bodies = [{ rank: 0, hash }];
  const all: Uint8Array[] = [
    seal.wrap(MESSAGE.status, encodeStatus({ kind: "stop", json: "{}" })),
    seal.wrap(MESSAGE.decided, encodeDecided({ ...decided, slot: 2 ** 50, kind: "SEAL" })),
    seal.wrap(MESSAGE.decided, encodeDecided({ ...decided, slot: chain.slot + 1, kind: "NOOP" })),
    seal.wrap(MESSAGE.decided, encodeDecided({ ...decided, slot: chain.slot + 2, kind: "QUORUM" })),
    seal.wrap(MESSAGE.sealPull, encodeSealPull({ evict: [0, 1], admit: [], lastRound: 2 ** 40 })),
    seal.wrap(
      MESSAGE.sealPull,
      encodeSealPull({ evict: [], admit: ["00".repeat(8)], lastRound: 1 }),
    ),
    seal.wrap(
      MESSAGE.pull,
      encodePull({ round: core.settled + 1, vote: true, force: true, bodies }),
    ),
  ];
  for (let rank = 0; rank < ranks; rank++) {
    const accusation = { rank, certain: true, withdrawn: false };
    all.push(seal.wrap(MESSAGE.accuse, encodeAccusation(accusation)));
  }
  return all;
}

test(
  "who is not the lowest member starts no replacements and names no round for lanes",
  async () => {
    const world = await worldWith((liar) => {
      const send = mouthOf(liar, {});
      keepLying(liar, 20, ({ session, core }, others) => {
        for (const to of others) {
          send(to, session.seal.wrap(MESSAGE.heal, encodeHeal({ attempt: 1, count: 3 })));
          send(to, session.seal.wrap(MESSAGE.lanes, encodeLanes(core.settled)));
        }
      });
    });
    expectProgress(world);
    const { BAD_HEAL = 0, BAD_LANES = 0 } = world.misdeeds(LIAR);
    expect(BAD_HEAL).toBeGreaterThan(0);
    expect(BAD_LANES).toBeGreaterThan(0);
  },
  TIMEOUT_MS,
);

test(
  "two liars of four are one too many: what they tell one member is not what comes of it",
  async () => {
    const broken = new Set<string>();
    for (let seed = 1; seed <= 4 && broken.size === 0; seed++) {
      const world = await worldWith(
        (liar) => {
          mouthOf(liar, {
            // Yes to whoever proposed, and to nobody else's knowledge.
            [MESSAGE.vote]: (bytes, to, context) => {
              const vote = voteIn(bytes, context);
              const forOne = answering(vote, (own, rank) => (rank === to ? own : ANSWER.none));
              return [[to, sealedVote(forOne, context)]];
            },
          });
        },
        { seed, liars: [2, 3] },
      );
      if (world.violation !== undefined) broken.add(world.violation.rule);
    }
    expect([...broken].every((rule) => ["S11", "L1", "L2"].includes(rule))).toBe(true);
    expect(broken.size).toBeGreaterThan(0);
  },
  2 * TIMEOUT_MS,
);

test(
  "a majority ledger counts and quarantines, and convicts nobody, as nothing is signed there",
  async () => {
    const world = await worldWith(
      (liar) => {
        mouthOf(liar, {
          [MESSAGE.proposal]: (bytes, to, context) => [
            [to, bytes],
            [to, otherProposal(bytes, context)],
          ],
        });
      },
      { quorum: "majority" },
    );
    expectProgress(world);
    expect(world.files("evidence")).toEqual([]);
    expect(world.misdeeds(LIAR).EQUIVOCATION).toBeGreaterThan(0);
    expect(world.files("quarantine").some((name) => name.startsWith("3.equivocation"))).toBe(true);
  },
  TIMEOUT_MS,
);
