/**
 * A checker that cannot fail proves nothing: here one rank is made to break each promise, and the
 * simulation must name that very promise. What is changed is the production rank itself.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { ANSWER, type Vote } from "../../src/consensus/effects.ts";
import { voteDigest } from "../../src/consensus/vote.ts";
import type { ReceiptBatch } from "../../src/ledger/service.ts";
import { encodeVote, MESSAGE } from "../../src/rank/envelope.ts";
import type { Performer } from "../../src/rank/perform.ts";
import { simulate } from "../../src/simulation/cluster.ts";
import { type Plan, planOf, type Scenario } from "../../src/simulation/plan.ts";
import type { RankProcess } from "../../src/simulation/rank-process.ts";

setDefaultTimeout(60_000);

/** What is private in production and changed here. */
type Open = Record<string, (...args: never[]) => unknown>;
const open = (object: object) => object as Open;
const performerOf = ({ loop }: RankProcess) =>
  (loop as unknown as { epoch: { performer: Performer } }).epoch.performer;

/** What the first of these seeds that breaks anything breaks. */
async function ruleBroken(
  mutate: (process: RankProcess) => void,
  options: {
    seeds?: readonly number[];
    scenario?: Scenario;
    ranks?: number;
    everyRank?: boolean;
    change?: (plan: Plan) => Plan;
  } = {},
): Promise<string | undefined> {
  const { seeds = [4, 5, 6], scenario = "calm", ranks = 3, everyRank = false } = options;
  for (const seed of seeds) {
    const plan = planOf(seed, { scenario, ranks });
    const report = await simulate(options.change?.(plan) ?? plan, {
      onRank: (process) => {
        if (everyRank || process.rank === 1) mutate(process);
      },
    });
    if (report.violation !== undefined) return report.violation.rule;
  }
  return undefined;
}

/** Seeds of which some bring the fault about that a mutation needs. */
const SOME = [1, 2, 3, 4, 5, 6, 7, 8];

test("without a change nothing is broken", async () => {
  expect(await ruleBroken(() => {})).toBeUndefined();
});

test("S7: blocks executed in another order", async () => {
  const rule = await ruleBroken((process) => {
    const { execution } = performerOf(process);
    const execute = execution.execute.bind(execution);
    execution.execute = (round, order) => execute(round, [...order].reverse());
  });
  expect(rule).toBe("S7");
});

test("S7: a transfer that pays twice", async () => {
  const rule = await ruleBroken((process) => {
    const { state } = process.chain!;
    const total = state.total.bind(state);
    state.total = () => total() + 1;
  });
  expect(rule).toBe("S7");
});

test("S8: a block that is left out", async () => {
  const rule = await ruleBroken((process) => {
    const chain = process.chain!;
    const execute = chain.executeBlock.bind(chain);
    let calls = 0;
    chain.executeBlock = (...args) => {
      if (++calls !== 3) execute(...args);
    };
  });
  expect(rule).toBe("S8");
});

test("S5: a second vote in a round", async () => {
  const rule = await ruleBroken((process) => {
    const performer = open(performerOf(process));
    const vote = performer.vote.bind(performer) as (vote: Vote) => void;
    performer.vote = ((first: Vote) => {
      vote(first);
      const answers = first.answers.slice();
      answers[0] = answers[0] === ANSWER.none ? ANSWER.yes : ANSWER.none;
      const hashes = first.hashes!.map((hash) => hash || "ab".repeat(32));
      const digest = voteDigest(first.round, answers, hashes);
      const second = { ...first, answers, digest, hashes };
      performerOf(process).send([0], MESSAGE.vote, encodeVote(second, true));
    }) as never;
  });
  expect(rule).toBe("S5");
});

test("S11: final told when it is only agreed", async () => {
  const rule = await ruleBroken((process) => {
    const { intake } = process.loop!;
    const deliver = intake.deliver.bind(intake);
    intake.deliver = (owner: number, batch: ReceiptBatch) =>
      deliver(owner, { ...batch, level: "final" });
  });
  expect(rule).toBe("S11");
});

/** Receipts come before the rank says that it is done with a record: S11 would be first. */
const tellNobody = ({ loop }: RankProcess) => {
  loop!.intake.deliver = () => {};
};

test("S2: a directory that is never synced", async () => {
  const rule = await ruleBroken((process) => {
    tellNobody(process);
    process.host.syncDirectory = async () => {};
  });
  expect(rule).toBe("S2");
});

test("S1, S2: a link that never was", async () => {
  const rule = await ruleBroken((process) => {
    tellNobody(process);
    const storage = open(process.loop!.shared.storage);
    storage.append = (async () => ({
      won: true,
      hash: new Uint8Array(32).fill(7),
      bytes: 1,
    })) as never;
  });
  expect(["S1", "S2"]).toContain(rule!);
});

test("L2: a receipt that never comes", async () => {
  expect(await ruleBroken(tellNobody)).toBe("L2");
});

test("QUEUE: blocks that are not given back", async () => {
  const rule = await ruleBroken((process) => {
    const { proposals } = process.loop!.context!;
    const { rounds } = proposals as unknown as { rounds: Map<number, unknown> };
    let forgotten = 0;
    const forget = proposals.forget.bind(proposals);
    proposals.forget = (round) => {
      if (++forgotten === 5) rounds.delete(round);
      forget(round);
    };
  });
  expect(rule).toBe("QUEUE");
});

test("CRASH: an assertion that fails ends the run, wherever it is", async () => {
  const rule = await ruleBroken((process) => {
    const performer = open(performerOf(process));
    performer.finalize = (() => {
      throw new Error("a broken assertion");
    }) as never;
  });
  expect(rule).toBe("CRASH");
});

test("S11: a newcomer that does not wait for an answer", async () => {
  const rules = new Set<string | undefined>();
  for (let seed = 1; seed <= 4; seed++) {
    const plan = planOf(seed, { scenario: "second-job", ranks: 3 });
    rules.add((await simulate({ ...plan, takeoverMs: 0 })).violation?.rule);
  }
  expect(rules).toContain("S11");
});

test("S9: a SEAL that is passed over", async () => {
  const rule = await ruleBroken(
    (process) => {
      process.chain!.install = () => {};
    },
    { scenario: "eviction", seeds: SOME },
  );
  expect(rule).toBe("S9");
});

test("S5: a member that answers a SEAL's pull and goes on voting", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      const core = open(loop!.context!.core);
      core.freeze = () => {};
    },
    { scenario: "rejoin", seeds: SOME, everyRank: true },
  );
  expect(rule).toBe("S5");
});

test("S10: a vote under an incarnation that no SEAL lets in", async () => {
  const rule = await ruleBroken(({ loop }) => {
    loop!.context!.session.incarnation[0] ^= 1;
  });
  expect(rule).toBe("S10");
});

test("S4: a SEAL by fewer than R", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      const { epoch } = loop!.context!.core as unknown as { epoch: { answersMin: number } };
      epoch.answersMin = 1;
    },
    { scenario: "split", ranks: 5, seeds: SOME, everyRank: true },
  );
  expect(rule).toBe("S4");
});

test("S11: a minority whose INTENT nobody refutes", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      Object.defineProperty(loop!.context!.core, "refutesHead", { get: () => false });
    },
    {
      ...{ scenario: "split", ranks: 5, everyRank: true },
      // Everybody alone for long, and nobody submits anything: no record follows by itself.
      change: (plan) => ({
        ...{ ...plan, loadIntervalMs: 1e6, loadUntilMs: 8000, faultsUntilMs: 8000 },
        incidents: [{ kind: "shatter", atMs: 1000, parts: 5, forMs: 7000 }],
      }),
    },
  );
  expect(rule).toBe("S11");
});

test("L2: the dead are never evicted", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      open(loop!.context!.core).onChange = () => {};
    },
    { scenario: "eviction", seeds: SOME, everyRank: true },
  );
  expect(rule).toBe("L2");
});

test("S4: a quorum of one", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      const { epoch } = loop!.context!.core as unknown as { epoch: { winVotes: number } };
      epoch.winVotes = 1;
    },
    { everyRank: true, scenario: "network", seeds: SOME },
  );
  expect(rule).toBe("S4");
});
