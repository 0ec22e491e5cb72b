/** Which records count: each rule broken alone, judged by the ranks and by the independent reader. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  addVoter,
  encodeIntent,
  encodeNoop,
  encodeSeal,
  encodeSettlement,
  makeAnswer,
  type Seal,
  type SettledRound,
} from "../../../src/ledger/settlement.ts";
import { readLedger } from "../../../src/verify/ledger-reader.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";
import { hashOf, type MadeProposal } from "../../support/make-proposal.ts";
import { bothSay } from "../../support/two-judges.ts";

let root = "";
let made = 0;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-judgement-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newLedger(options: ConstructorParameters<typeof LedgerMaker>[1] = {}): LedgerMaker {
  return new LedgerMaker(join(root, `ledger-${made++}`), { difficulty: 0, ...options });
}

function said(ledger: LedgerMaker): string[] {
  const { letters, codes } = bothSay(ledger.dir);
  return [letters, ...codes];
}

/** Adds the votes of `ranks`, ⊥ about everybody. */
function abstain(round: SettledRound, ranks: readonly number[]): SettledRound {
  const [first] = round.votes;
  const voters = new Uint8Array(first.voters.length);
  for (const rank of ranks) addVoter(voters, rank);
  round.votes.push({ ...first, answers: new Uint8Array(first.answers.length), voters });
  return round;
}

function proposals(ledger: LedgerMaker, ranks: readonly number[]): Map<number, MadeProposal> {
  return new Map(
    ranks.map((rank) => [rank, ledger.propose(rank, [[ledger.transfer(10 + rank, 1)]])]),
  );
}

describe("ledgers of several epochs", () => {
  test("evictions, admissions, SEALs that settle, a minority after its INTENT, junk between", () => {
    const ledger = newLedger({ ranks: 5 });
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 5)]], []])]);
    // One member dies; its last votes are held by the others and may ride along.
    const last = ledger.run([[[ledger.transfer(2, 5)]], undefined, []], [0, 1, 2, 4]);
    ledger.change({ evict: [4], rounds: [last], answers: [0, 1, 2, 3].slice(0, 3) });
    ledger.put("QUORUM", encodeNoop(), { author: 1 });
    // Two of four: enough for R, not for w. The round was not won by anybody; what has a yes is in.
    const torn = abstain(ledger.run([[[ledger.transfer(3, 5)]]], [0]), [3]);
    ledger.change({ evict: [1], admit: 2, rounds: [torn], answers: [0, 3], author: 3 });
    ledger.record("STORAGE", [ledger.run([[[ledger.transfer(4, 5)]]], [0, 1, 4])]);
    // Of five members one is left.
    ledger.memberIntent(2, [2]);
    const lonely = ledger.run([undefined, undefined, [[ledger.transfer(5, 5)]]], [2]);
    ledger.change({ evict: [0, 1, 3, 4], rounds: [lonely], answers: [2], author: 2 });
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(6, 5)]]])]);
    ledger.change({ admit: 3 });
    ledger.record("QUORUM", [ledger.run([[], [], [[ledger.transfer(7, 5)]]])]);
    ledger.seal(0);
    ledger.seal(2);
    const { letters, chain } = bothSay(ledger.dir);
    expect(letters).toBe("cccnccccccccc");
    expect(letters.length).toBe(ledger.slot);
    expect(chain.ranks).toBe(2);
    expect(ledger.executed.every(({ outcome }) => outcome === 0)).toBe(true);
    expect(ledger.executed.length).toBe(7);
    // Any flip in any of these records is damage, not a record that does not count.
    const tail = join(ledger.dir, "log/000000");
    for (const name of readdirSync(tail)) {
      const path = join(tail, name);
      const good = readFileSync(path);
      for (let at = 5; at < good.length; at += 181) {
        const bad = Buffer.from(good);
        bad[at] ^= 1 << (at & 7);
        writeFileSync(path, bad);
        const { damages } = readLedger(ledger.dir);
        if (damages[0]?.slot !== Number(name.slice(0, 10))) throw new Error(`${name}, byte ${at}`);
      }
      writeFileSync(path, good);
    }
  });

  test("a record of an overtaken writer takes the slot and settles nothing", () => {
    const ledger = newLedger();
    const { epoch, members, keys } = ledger;
    const late = ledger.settled(proposals(ledger, [0]));
    ledger.change({ evict: [3] });
    const newcomer = { member: members[0], key: keys[0] };
    const hooks = { fields: (fields: { epoch: Uint8Array }) => void (fields.epoch = epoch) };
    ledger.put("QUORUM", encodeSettlement([late]), { newcomer, rounds: [late], hooks });
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]])]);
    expect(said(ledger)).toEqual(["ccnc", "EPOCH"]);
  });
});

/**
 * A SEAL of five members that is good but for `change`, then a good record. `before` appends what
 * comes before it. Answers the reader's code, or "counts".
 */
function sealed(
  plan: {
    answers: number[];
    voters?: number[];
    abstain?: number[];
    author?: number;
    evict?: number[];
  },
  more: {
    before?: (ledger: LedgerMaker) => void;
    seal?: (seal: Seal, ledger: LedgerMaker) => void;
    newcomer?: boolean;
  } = {},
): string {
  const ledger = newLedger({ ranks: 5 });
  more.before?.(ledger);
  const { voters = plan.answers, author = plan.answers[0] ?? 0, evict = [4] } = plan;
  const newcomer = ledger.newMember(0);
  const round = ledger.settled(proposals(ledger, [0, 2]), voters);
  abstain(round, plan.abstain ?? []);
  round.votes = round.votes.filter((group) => group.voters.some((bits) => bits !== 0));
  const members = ledger.successors({ evict }).map(({ member }) => member);
  if (more.newcomer) members[0] = newcomer.member;
  const seal: Seal = { members, rounds: [round], answers: plan.answers };
  more.seal?.(seal, ledger);
  const by = more.newcomer ? { newcomer } : { author };
  ledger.put("SEAL", encodeSeal(seal), { ...by, rounds: seal.rounds });
  const { letters, codes } = bothSay(ledger.dir);
  if (letters.endsWith("c")) return "counts";
  // The ledger goes on as if the record were a NOOP.
  ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]])]);
  expect(bothSay(ledger.dir).letters).toEndWith("nc");
  return codes.at(-1)!;
}

describe("a SEAL by a member", () => {
  test("with the answers of R members counts, with one less it does not", () => {
    expect(sealed({ answers: [0, 1, 2] })).toBe("counts");
    expect(sealed({ answers: [2, 3, 4], author: 1 })).toBe("counts");
    expect(sealed({ answers: [0, 1], voters: [0, 1, 2] })).toBe("SEAL_ANSWERS");
  });

  test("carries in each round a vote of each member that answered", () => {
    expect(sealed({ answers: [0, 1, 2], voters: [0, 1, 3] })).toBe("ANSWER_MISSING");
    expect(sealed({ answers: [0, 1, 2], voters: [0, 1], abstain: [2] })).toBe("counts");
    expect(sealed({ answers: [0, 1, 2], voters: [0, 1, 2, 3] })).toBe("counts");
    expect(sealed({ answers: [0, 1, 2], voters: [0], abstain: [1] })).toBe("VOTES_FEW");
  });

  test("includes what has a yes or shows that it is lost", () => {
    const leaveOut = (plan: { voters: number[]; abstain: number[] }) =>
      sealed(
        { answers: [0, 1, 2], ...plan },
        { seal: ({ rounds: [round] }) => callLost(round, 1) },
      );
    // One yes, four of five heard: the fifth makes two. Three are needed.
    expect(leaveOut({ voters: [0], abstain: [1, 2, 3] })).toBe("counts");
    expect(leaveOut({ voters: [0], abstain: [1, 2] })).toBe("NOT_LOST");
    const noYes = sealed(
      { answers: [0, 1, 2] },
      { seal: ({ rounds: [{ votes }] }) => void (votes[0].answers[2] = makeAnswer(1, 0)) },
    );
    expect(noYes).toBe("YES_FEW");
  });

  test("names each hash once", () => {
    const twice = sealed(
      { answers: [0, 1, 2] },
      {
        seal({ rounds: [round] }, ledger) {
          const hash = hashOf(round.proposals[0]);
          round.lost.push({ rank: 0, proposalHash: hash });
          expect(ledger.members.length).toBe(5);
        },
      },
    );
    expect(twice).toBe("LOST");
  });

  test("lists its answers in order, and members of the epoch only", () => {
    for (const answers of [
      [1, 0, 2],
      [0, 1, 1],
      [0, 1, 5],
    ]) {
      expect(sealed({ answers, voters: [0, 1, 2] })).toBe("PAYLOAD_SHAPE");
    }
  });

  test("settles the rounds after the settled ones, as its header says", () => {
    const later = (seal: Seal) => void seal.rounds[0].round++;
    expect(sealed({ answers: [0, 1, 2] }, { seal: later })).toBe("ROUNDS_GAP");
  });

  test("installs members with certificates of the ledger key, contiguous, each once", () => {
    const seal = (change: (seal: Seal, ledger: LedgerMaker) => void) =>
      sealed({ answers: [0, 1, 2] }, { seal: change });
    expect(seal(({ members }) => void members.splice(0, 4))).toBe("counts");
    expect(seal(({ members }) => void members.splice(0, 1))).toBe("MEMBERS");
    expect(seal(({ members }) => void (members[1].certificate = members[2].certificate))).toBe(
      "MEMBER",
    );
    expect(seal(({ members }) => void (members[1].host = "elsewhere"))).toBe("MEMBER");
    const double = seal((plan, ledger) => {
      const bare = { ...ledger.newMember(4).member, incarnation: plan.members[0].incarnation };
      plan.members.push(ledger.certify(bare));
    });
    expect(double).toBe("MEMBERS");
  });
});

describe("a SEAL by fewer than R answers", () => {
  const intent = (author: number, answered: number[]) => (ledger: LedgerMaker) =>
    ledger.memberIntent(author, answered);

  test("counts above its author's own INTENT, with the votes that it has", () => {
    expect(sealed({ answers: [1, 3] }, { before: intent(1, [1, 3]) })).toBe("counts");
    expect(sealed({ answers: [1] }, { before: intent(1, [1]) })).toBe("counts");
    // Somebody answered after the INTENT.
    expect(sealed({ answers: [1, 3] }, { before: intent(1, [1]) })).toBe("counts");
  });

  test("does not count above another's INTENT, nor above anything else", () => {
    expect(sealed({ answers: [1, 3] }, { before: intent(3, [1, 3]) })).toBe("SEAL_ANSWERS");
    const refuted = sealed(
      { answers: [1, 3] },
      {
        before(ledger) {
          ledger.memberIntent(1, [1, 3]);
          ledger.noop(2);
        },
      },
    );
    expect(refuted).toBe("SEAL_ANSWERS");
    const newcomers = (ledger: LedgerMaker) => void ledger.intent();
    expect(sealed({ answers: [1, 3] }, { before: newcomers })).toBe("SEAL_ANSWERS");
  });

  test("an INTENT that does not count allows nothing", () => {
    const before = (ledger: LedgerMaker) => {
      const payload = encodeIntent({ member: ledger.members[2], answered: [1], deadlineMs: 1 });
      ledger.put("INTENT", payload, { author: 1 });
    };
    expect(sealed({ answers: [1, 3] }, { before })).toBe("SEAL_ANSWERS");
  });

  test("holds the answers of all whom the INTENT lists", () => {
    expect(sealed({ answers: [1], author: 1 }, { before: intent(1, [1, 3]) })).toBe("SEAL_LISTED");
  });

  test("carries a vote of each answerer, and at least one", () => {
    const before = intent(1, [1, 3]);
    expect(sealed({ answers: [1, 3], voters: [1, 2] }, { before })).toBe("ANSWER_MISSING");
    const empty = sealed(
      { answers: [], author: 1, voters: [] },
      { before: intent(1, []), seal: ({ rounds: [round] }) => void round.proposals.splice(0) },
    );
    expect(empty).toBe("VOTES_FEW");
  });
});

describe("a SEAL by a newcomer", () => {
  test("counts only above its own INTENT while the epoch has members", () => {
    expect(sealed({ answers: [], voters: [0, 1, 2] }, { newcomer: true })).toBe("SEAL_NEWCOMER");
    const before = (ledger: LedgerMaker) => ledger.memberIntent(1, [1]);
    expect(sealed({ answers: [], voters: [0, 1, 2] }, { newcomer: true, before })).toBe(
      "SEAL_NEWCOMER",
    );
    const ledger = newLedger();
    ledger.seal(1, ledger.intent());
    expect(bothSay(ledger.dir).letters).toBe("ccc");
  });

  test("settles nothing in an epoch without members", () => {
    const ledger = newLedger({ ranks: 1 });
    ledger.seal(0);
    const newcomer = ledger.newMember(0);
    const round = { round: 1, proposals: [], lost: [], votes: [] };
    const seal = { members: [newcomer.member], rounds: [round], answers: [] };
    ledger.put("SEAL", encodeSeal(seal), { newcomer, rounds: [round] });
    expect(said(ledger)).toEqual(["ccn", "ROUNDS"]);
  });

  test("must be among the members that it installs", () => {
    const ledger = newLedger({ ranks: 1 });
    ledger.seal(0);
    const seal = { members: [ledger.newMember(0).member], rounds: [], answers: [] };
    ledger.put("SEAL", encodeSeal(seal), { newcomer: ledger.newMember(0) });
    expect(said(ledger)).toEqual(["ccn", "AUTHOR"]);
  });
});

describe("an INTENT", () => {
  test("introduces its author, with a certificate", () => {
    const ledger = newLedger();
    const intent = (member = ledger.members[1]) =>
      encodeIntent({ member, answered: [1], deadlineMs: 1 });
    ledger.put("INTENT", intent(), { author: 1 });
    ledger.put("INTENT", intent(), { author: 2 });
    ledger.put("INTENT", intent({ ...ledger.members[1], host: "elsewhere" }), { author: 1 });
    const newcomer = ledger.newMember(3);
    ledger.put("INTENT", intent(newcomer.member), { newcomer });
    expect(said(ledger)).toEqual(["ccnnc", "AUTHOR", "MEMBER"]);
  });
});

/** Moves the proposal in place `index` from what is included to what is called lost. */
function callLost(round: SettledRound, index: number): void {
  const [proposal] = round.proposals.splice(index, 1);
  const proposalHash = hashOf(proposal);
  round.lost.push({ rank: proposal.rank, proposalHash });
}
