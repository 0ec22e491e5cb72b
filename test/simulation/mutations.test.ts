/**
 * A checker that cannot fail proves nothing: here one rank is made to break each promise, and the
 * simulation must name that very promise. What is changed is the production rank itself.
 */
import { expect, test } from "bun:test";
import { ANSWER, type Vote } from "../../src/consensus/effects.ts";
import { voteDigest } from "../../src/consensus/vote.ts";
import type { ReceiptBatch } from "../../src/ledger/service.ts";
import { encodeVote, MESSAGE } from "../../src/rank/envelope.ts";
import type { Performer } from "../../src/rank/perform.ts";
import { simulate } from "../../src/simulation/cluster.ts";
import { planOf, type Scenario } from "../../src/simulation/plan.ts";
import type { RankProcess } from "../../src/simulation/rank-process.ts";

/** What is private in production and changed here. */
type Open = Record<string, (...args: never[]) => unknown>;
const open = (object: object) => object as Open;
const performerOf = ({ loop }: RankProcess) =>
  (loop as unknown as { performer: Performer }).performer;

async function ruleBroken(
  mutate: (process: RankProcess) => void,
  options: { seed?: number; scenario?: Scenario; everyRank?: boolean } = {},
): Promise<string | undefined> {
  const plan = planOf(options.seed ?? 4, { scenario: options.scenario ?? "calm", ranks: 3 });
  const report = await simulate(plan, {
    onRank: (process) => {
      if (options.everyRank || process.rank === 1) mutate(process);
    },
  });
  return report.violation?.rule;
}

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
    const { intake } = process.loop!.context;
    const deliver = intake.deliver.bind(intake);
    intake.deliver = (owner: number, batch: ReceiptBatch) =>
      deliver(owner, { ...batch, level: "final" });
  });
  expect(rule).toBe("S11");
});

/** Receipts come before the rank says that it is done with a record: S11 would be first. */
const tellNobody = ({ loop }: RankProcess) => {
  loop!.context.intake.deliver = () => {};
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
    const storage = open(process.loop!.context.storage);
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
    const proposals = process.loop!.context.proposals;
    let rounds = 0;
    const forget = proposals.forget.bind(proposals);
    proposals.forget = (round) => {
      if (++rounds !== 5) forget(round);
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

test("S9: a newcomer that does not wait for an answer", async () => {
  const rules = new Set<string | undefined>();
  for (let seed = 1; seed <= 4; seed++) {
    const plan = planOf(seed, { scenario: "second-job", ranks: 3 });
    rules.add((await simulate({ ...plan, takeoverMs: 0 })).violation?.rule);
  }
  expect(rules).toContain("S9");
});

test("S4: a quorum of one", async () => {
  const rule = await ruleBroken(
    ({ loop }) => {
      const { epoch } = loop!.context.core as unknown as { epoch: { winVotes: number } };
      epoch.winVotes = 1;
    },
    { everyRank: true, scenario: "network", seed: 2 },
  );
  expect(rule).toBe("S4");
});
