/** What a byzantine ledger asks of records beside the rules of every ledger, each rule broken alone. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  encodeIntent,
  encodeSeal,
  encodeSettlement,
  type Seal,
  type SettledRound,
} from "../../../src/ledger/settlement.ts";
import { LedgerMaker } from "../../support/make-ledger.ts";
import { signVotes } from "../../support/sign-records.ts";
import { bothSay } from "../../support/two-judges.ts";

let root = "";
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-byzantine-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function newLedger(ranks = 4, quorum: "byzantine" | "majority" = "byzantine"): LedgerMaker {
  return new LedgerMaker(join(root, `ledger-${made++}`), { ranks, quorum, difficulty: 0 });
}

function said(ledger: LedgerMaker): string[] {
  const { letters, codes } = bothSay(ledger.dir);
  return [letters, ...codes];
}

/** A round in which ranks 0 and 1 proposed, `voters` said yes, and nothing is executed yet. */
function round(ledger: LedgerMaker, voters: number[], ahead = 0): SettledRound {
  const proposals = new Map(
    [0, 1].map((rank) => [rank, ledger.propose(rank, [[ledger.transfer(rank, 1)]], ahead)]),
  );
  return { ...ledger.settled(proposals, voters), round: ledger.round + 1 + ahead };
}

/** The reader's code for a record of four members that is good but for `change`, or "counts". */
function judged(
  kind: "QUORUM" | "STORAGE",
  voters: number[],
  change: (round: SettledRound, ledger: LedgerMaker) => void = () => {},
  quorum: "byzantine" | "majority" = "byzantine",
): string {
  const ledger = newLedger(4, quorum);
  const settled = round(ledger, voters);
  ledger.signVotes([settled]);
  change(settled, ledger);
  ledger.put(kind, encodeSettlement([settled]), { rounds: [settled] });
  return said(ledger)[1] ?? "counts";
}

describe("a record of votes", () => {
  test("a whole life: rounds, an eviction, a restart, a clean stop", () => {
    const ledger = newLedger(7);
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(1, 1)]]], [0, 1, 2, 3, 4])]);
    ledger.record("STORAGE", [ledger.run([[[ledger.transfer(2, 1)]]], [0, 2, 3, 4, 6])]);
    const last = ledger.run([[[ledger.transfer(3, 1)]]], [0, 1, 2, 3, 4]);
    ledger.change({ evict: [5, 6], rounds: [last], answers: [0, 1, 2, 3, 4] });
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(4, 1)]]])]);
    ledger.seal(4, ledger.intent());
    ledger.record("QUORUM", [ledger.run([[[ledger.transfer(5, 1)]]])]);
    ledger.seal(0);
    expect(said(ledger)).toEqual(["ccccccccc"]);
  });

  test("needs N - f votes, and N - f yes to be won", () => {
    for (const kind of ["QUORUM", "STORAGE"] as const) {
      expect(judged(kind, [0, 1, 3])).toBe("counts");
      expect(judged(kind, [0, 1])).toBe("VOTES_FEW");
    }
    const oneNo = (settled: SettledRound, ledger: LedgerMaker) => {
      const [group] = settled.votes;
      const answers = group.answers.with(1, 1);
      settled.votes = [{ ...group, voters: Uint8Array.of(3) }];
      settled.votes.push({ ...group, answers, voters: Uint8Array.of(8) });
      ledger.signVotes([settled]);
    };
    expect(judged("QUORUM", [0, 1, 3], oneNo)).toBe("YES_FEW");
    expect(judged("STORAGE", [0, 1, 3], oneNo)).toBe("counts");
  });

  test("carries the signature of each voter, on this vote, of this place", () => {
    const change = (edit: (round: SettledRound, ledger: LedgerMaker) => void) =>
      judged("QUORUM", [0, 1, 3], edit);
    expect(change(({ votes }) => delete votes[0].signatures)).toBe("VOTE_UNSIGNED");
    expect(change(({ votes }) => votes[0].signatures?.fill(0, 64, 128))).toBe("VOTE_UNSIGNED");
    expect(change(({ votes }) => (votes[0].signatures![70] ^= 1))).toBe("VOTE_SIGNATURE");
    expect(change(({ votes }) => void votes[0].signatures!.copyWithin(0, 64))).toBe(
      "VOTE_SIGNATURE",
    );
    expect(change(({ votes }) => (votes[0].signatures = new Uint8Array(128)))).toBe(
      "PAYLOAD_SHAPE",
    );
    const turned = change((settled, ledger) => {
      const [group] = settled.votes;
      settled.votes.push({ ...group, answers: group.answers.with(1, 1), voters: Uint8Array.of(4) });
      ledger.signVotes([settled]);
      settled.votes[1].answers = group.answers;
    });
    expect(turned).toBe("VOTE_SIGNATURE");
    expect(change(({ votes }) => votes[0].effectsSlot++)).toBe("VOTE_SIGNATURE");
    expect(change(({ votes }) => (votes[0].effectsDigest = new Uint8Array(32).fill(1)))).toBe(
      "VOTE_SIGNATURE",
    );
    const elsewhere = (place: { epoch?: Uint8Array; chainId?: Uint8Array }) =>
      change((settled, ledger) => {
        const signers = ledger.keys.map((_, rank) => ledger.signAs(rank));
        signVotes([settled], { ...ledger.place, ...place }, signers);
      });
    expect(elsewhere({})).toBe("counts");
    expect(elsewhere({ epoch: new Uint8Array(32) })).toBe("VOTE_SIGNATURE");
    expect(elsewhere({ chainId: new Uint8Array(16) })).toBe("VOTE_SIGNATURE");
  });

  test("votes of another round do not move, and hashes behind an index do not change", () => {
    const ledger = newLedger();
    const [one, two] = [round(ledger, [0, 1, 2]), round(ledger, [0, 1, 2], 1)];
    ledger.signVotes([one, two]);
    two.votes[0].signatures = one.votes[0].signatures!;
    ledger.put("QUORUM", encodeSettlement([one, two]), { rounds: [one, two] });
    const swapped = round(ledger, [0, 1, 2]);
    swapped.lost.push({ rank: 3, proposalHash: new Uint8Array(32).fill(3) });
    swapped.votes[0].answers[3] = 1;
    ledger.signVotes([swapped]);
    swapped.lost[0].proposalHash = new Uint8Array(32).fill(4);
    ledger.put("STORAGE", encodeSettlement([swapped]), { rounds: [swapped] });
    expect(said(ledger)).toEqual(["cnn", "VOTE_SIGNATURE", "VOTE_SIGNATURE"]);
  });

  test("a majority ledger takes no signatures", () => {
    const signed = (settled: SettledRound) => (settled.votes[0].signatures = new Uint8Array(192));
    expect(judged("QUORUM", [0, 1, 3], () => {}, "majority")).toBe("counts");
    expect(judged("QUORUM", [0, 1, 3], signed, "majority")).toBe("SIGNATURES");
  });
});

/** A SEAL of seven members (f = 2) by five answers that is good but for `change`. */
function sealed(
  plan: { answers?: number[]; voters?: number[]; lastVoted?: number[]; rounds?: number },
  change: (seal: Seal, ledger: LedgerMaker) => void = () => {},
): string {
  const ledger = newLedger(7);
  const { answers = [0, 1, 2, 3, 4], voters = answers } = plan;
  const rounds = [round(ledger, voters)];
  const frozen = answers.filter((rank) => !voters.includes(rank));
  if (frozen.length > 0) {
    const [group] = rounds[0].votes;
    let bits = 0;
    for (const rank of frozen) bits |= 1 << rank;
    rounds[0].votes.push({ ...group, answers: new Uint8Array(7), voters: Uint8Array.of(bits) });
  }
  const members = ledger.successors({ evict: [6] }).map(({ member }) => member);
  const lastVoted =
    plan.lastVoted ?? answers.map((rank) => ledger.round + (voters.includes(rank) ? 1 : 0));
  const seal = ledger.signSeal({ members, rounds, answers }, lastVoted);
  change(seal, ledger);
  ledger.put("SEAL", encodeSeal(seal), { rounds: seal.rounds });
  return said(ledger)[1] ?? "counts";
}

describe("a SEAL by a member", () => {
  test("carries the signed answers of N - f members, also above its own INTENT", () => {
    expect(sealed({})).toBe("counts");
    expect(sealed({ answers: [0, 1, 2, 3], voters: [0, 1, 2, 3, 4] })).toBe("SEAL_ANSWERS");
    const ledger = newLedger();
    ledger.memberIntent(0, [0]);
    const members = ledger.successors({ evict: [3] }).map(({ member }) => member);
    const seal = ledger.signSeal({ members, rounds: [], answers: [0] });
    ledger.put("SEAL", encodeSeal(seal), {});
    expect(said(ledger)).toEqual(["ccn", "SEAL_ANSWERS"]);
  });

  test("each answer is signed by its member", () => {
    expect(sealed({}, (seal) => delete seal.signedAnswers)).toBe("ANSWER_UNSIGNED");
    expect(sealed({}, (seal) => seal.signedAnswers!.pop())).toBe("ANSWER_UNSIGNED");
    expect(sealed({}, ({ signedAnswers }) => signedAnswers![1].lastVoted--)).toBe(
      "ANSWER_SIGNATURE",
    );
    expect(sealed({}, ({ signedAnswers }) => signedAnswers!.reverse())).toBe("ANSWER_SIGNATURE");
    const restart = sealed({}, (seal, ledger) => {
      delete seal.signedAnswers;
      Object.assign(seal, ledger.signRestart(seal));
    });
    expect(restart).toBe("ANSWER_UNSIGNED");
  });

  test("who froze before a round is ⊥ there by its answer alone", () => {
    expect(sealed({ voters: [0, 1, 2, 3] })).toBe("counts");
    // It says that it voted, so its vote must be there, signed.
    expect(sealed({ voters: [0, 1, 2, 3], lastVoted: [1, 1, 1, 1, 1] }, unsign)).toBe(
      "VOTE_UNSIGNED",
    );
    const yes = ({ rounds: [{ votes }] }: Seal) => void (votes[1].answers[0] = 2);
    expect(sealed({ voters: [0, 1, 2, 3] }, yes)).toBe("VOTE_UNSIGNED");
    const effects = ({ rounds: [{ votes }] }: Seal) => void votes[1].effectsSlot++;
    expect(sealed({ voters: [0, 1, 2, 3] }, effects)).toBe("VOTE_UNSIGNED");
    const digest = ({ rounds: [{ votes }] }: Seal) =>
      void (votes[1].effectsDigest = new Uint8Array(32).fill(1));
    expect(sealed({ voters: [0, 1, 2, 3] }, digest)).toBe("VOTE_UNSIGNED");
    // Nobody who has not answered is ⊥ without a signature.
    const other = ({ rounds: [{ votes }] }: Seal) => {
      votes[1].voters = Uint8Array.of(0b11_0000);
      votes[1].signatures = new Uint8Array(128);
    };
    expect(sealed({ voters: [0, 1, 2, 3] }, other)).toBe("VOTE_UNSIGNED");

    function unsign({ rounds: [{ votes }] }: Seal): void {
      votes[1].signatures = new Uint8Array(64);
    }
  });

  test("settles every round in which an answerer voted", () => {
    expect(sealed({ lastVoted: [1, 1, 1, 1, 2] })).toBe("ROUNDS_LEFT");
  });
});

describe("a SEAL by a newcomer", () => {
  const restart = (change: (seal: Seal, ledger: LedgerMaker) => Seal) => {
    const ledger = newLedger();
    const newcomer = ledger.newMember(0);
    const intent = { member: newcomer.member, answered: [], deadlineMs: 1 };
    ledger.put("INTENT", encodeIntent(intent), { newcomer });
    const seal = { members: [newcomer.member], rounds: [], answers: [] };
    ledger.put("SEAL", encodeSeal(change(seal, ledger)), { newcomer });
    return said(ledger)[1] ?? "counts";
  };

  test("bears the ledger key's signature of this restart", () => {
    expect(restart((seal, ledger) => ledger.signRestart(seal))).toBe("counts");
    expect(restart((seal) => seal)).toBe("RESTART");
    const others = restart((seal, ledger) => {
      const { members } = ledger;
      return { ...ledger.signRestart({ ...seal, members }), members: seal.members };
    });
    expect(others).toBe("RESTART");
    const elsewhere = restart((seal, ledger) => {
      const { head } = ledger;
      ledger.head = new Uint8Array(32);
      const signed = ledger.signRestart(seal);
      ledger.head = head;
      return signed;
    });
    expect(elsewhere).toBe("RESTART");
    const answers = restart((seal, ledger) => ledger.signRestart({ ...seal, answers: [0, 1, 2] }));
    expect(answers).toBe("RESTART");
  });
});
