/** What reaches the log through the storage validator, and what never does. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex } from "../../../src/base/bytes.ts";
import { Random } from "../../../src/base/random.ts";
import { encodeEvidence } from "../../../src/ledger/evidence.ts";
import { generateSigningKey, signMessage, verifyMember } from "../../../src/ledger/keys.ts";
import { encodeIntent, encodeSeal, type SettledRound } from "../../../src/ledger/settlement.ts";
import { voteMessage } from "../../../src/ledger/statements.ts";
import {
  OPERATIONS,
  packCertifiable,
  packMember,
  proofMessage,
} from "../../../src/validator/wire.ts";
import type { MakeOptions, SealPlan } from "../../support/make-ledger.ts";
import { ValidatedLedger } from "../../support/validated-ledger.ts";

let root = "";
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-validator-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

async function ledgerOf(options: MakeOptions = {}): Promise<ValidatedLedger> {
  const ledger = await ValidatedLedger.open(join(root, String(made++)), options);
  expect(await ledger.feed()).toEqual(["linked"]);
  return ledger;
}

/** The head is where it was, and an honest record is linked as if nothing had been. */
async function expectUnharmed(ledger: ValidatedLedger): Promise<void> {
  const { chain, validator } = ledger;
  const files = readdirSync(join(ledger.directory, "log", "000000"));
  expect(files.filter((name) => !name.startsWith("."))).toHaveLength(chain.slot + 1);
  expect(validator.counters.linked).toBe(chain.slot + 1);
  expect(ledger.fatal).toBeUndefined();
}

const blockOf = (ledger: ValidatedLedger, sequence: number) => [
  [ledger.maker.transfer(sequence, 1)],
];

/** A record in the next slot that is good but for `change`; it is refused with this reason. */
async function refusal(
  change: (rounds: SettledRound[], ledger: ValidatedLedger) => void,
  kind: "QUORUM" | "STORAGE" = "QUORUM",
): Promise<string> {
  const ledger = await ledgerOf();
  const settled = ledger.maker.run([blockOf(ledger, 1), blockOf(ledger, 2)], [0, 1, 2]);
  ledger.maker.record(kind, [settled], { rounds: (rounds) => change(rounds, ledger) });
  const [reason] = await ledger.feed();
  expect(ledger.chain.slot).toBe(0);
  await expectUnharmed(ledger);
  return reason;
}

describe("records", () => {
  test("a whole life is linked: rounds, an eviction, a newcomer, a stop, a new job", async () => {
    const ledger = await ledgerOf({ ranks: 7 });
    const { maker } = ledger;
    maker.record("QUORUM", [maker.run([blockOf(ledger, 1)], [0, 1, 2, 3, 4])]);
    maker.record("STORAGE", [maker.run([blockOf(ledger, 2)], [0, 2, 3, 4, 6])]);
    maker.change({ evict: [5], answers: [0, 1, 2, 3, 4] });
    maker.record("QUORUM", [maker.run([blockOf(ledger, 3)])]);
    maker.change({ admit: 1 });
    maker.seal(0);
    maker.seal(4);
    maker.record("QUORUM", [maker.run([blockOf(ledger, 4)])]);
    expect(await ledger.feed()).toEqual(new Array(8).fill("linked"));
    expect(ledger.chain.effectsDigest).toBe(Buffer.from(maker.state.effectsDigest).toString("hex"));
    await expectUnharmed(ledger);
    // Whoever closes the ledger leaves a checkpoint of it.
    const heads = readdirSync(join(ledger.directory, "checkpoints"));
    expect(heads.filter((name) => name.endsWith(".head"))).toHaveLength(1);
    await ledger.start();
    expect(ledger.chain.slot).toBe(8);
  });

  test("who comes too late is told whose the slot is", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    maker.record("QUORUM", [maker.run([blockOf(ledger, 1)])]);
    expect(await ledger.feed()).toEqual(["linked"]);
    expect(await ledger.append(ledger.made(1))).toBe("taken");
    expect(await ledger.append(ledger.made(0))).toBe("taken");
    const elsewhere = await ledgerOf();
    expect(await elsewhere.append(ledger.made(1))).toBe("record: WRONG_CHAIN.");
    const { values } = await ledger.ask("child", 1, fromHex(ledger.chain.hash));
    expect(values).toEqual([]);
    const found = await ledger.ask("child", 1, ledger.made(1).slice(48, 80));
    expect(found.values).toEqual([fromHex(ledger.chain.hash)]);
    const bytes = await ledger.ask("bytes", 1, fromHex(ledger.chain.hash));
    expect(bytes.values[0]).toEqual(ledger.made(1));
  });

  test("junk never reaches the log", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    maker.record("QUORUM", [maker.run([blockOf(ledger, 1)])]);
    const good = ledger.made(1);
    const random = new Random(3, 1);
    for (let i = 0; i < 300; i++) {
      const junk = new Uint8Array(random.nextBelow(600));
      random.fill(junk);
      expect(await ledger.append(junk)).not.toBe("linked");
      const bent = good.slice();
      bent[random.nextBelow(bent.length)] ^= 1 << random.nextBelow(8);
      expect(await ledger.append(bent)).not.toBe("linked");
      expect(await ledger.append(good.slice(0, random.nextBelow(good.length)))).not.toBe("linked");
    }
    expect(await ledger.feed()).toEqual(["linked"]);
    await expectUnharmed(ledger);
  });

  test("a vote that its voter did not sign", async () => {
    const reason = await refusal(([round]) => {
      round.votes[0].signatures![70] ^= 1;
    });
    expect(reason).toStartWith("round 1: the signature of rank 1");
  });

  test("too few votes", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    maker.record("QUORUM", [maker.run([blockOf(ledger, 1)], [0, 1])]);
    expect(await ledger.feed()).toEqual(["round 1: 2 votes, 3 are needed."]);
    await expectUnharmed(ledger);
  });

  test.each([
    ["a byte of a transaction", (block: Uint8Array) => (block[block.length - 1] ^= 1)],
    ["a byte of the block's header", (block: Uint8Array) => (block[100] ^= 1)],
  ])("bodies that the votes are not about: %s", async (_what, change) => {
    // The header, which was voted on, and its signatures stay as they are.
    const reason = await refusal(([round]) => {
      change(round.proposals[1].blocks[0]);
    });
    expect(reason).toStartWith("round 1: the body of rank 1 is bad");
  });

  test("a STORAGE record whose puzzle is not solved", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    maker.record("STORAGE", [maker.run([blockOf(ledger, 1)])], {
      fields: (fields) => {
        fields.puzzleBits = 0;
      },
    });
    expect(await ledger.feed()).toEqual(["record: WRONG_DIFFICULTY."]);
  });

  test("empty records without a reason", async () => {
    const ledger = await ledgerOf();
    ledger.maker.noop(2);
    expect((await ledger.feed())[0]).toStartWith(
      "an empty record says nothing but after an INTENT",
    );
    await expectUnharmed(ledger);
  });
});

describe("membership", () => {
  async function changed(plan: SealPlan, ranks = 4): Promise<string> {
    const ledger = await ledgerOf({ ranks });
    ledger.maker.change(plan);
    const [reason] = await ledger.feed();
    await expectUnharmed(ledger);
    return reason;
  }

  test("a SEAL without one that answered it", async () => {
    expect(await changed({ evict: [2] })).toStartWith("it leaves out rank 2, which answered it");
    expect(await changed({ evict: [2], answers: [0, 1, 3] })).toBe("linked");
  });

  test("a SEAL that makes the job larger than it began", async () => {
    expect(await changed({ admit: 1 })).toStartWith("it has 5 members, and the job began with 4");
    expect(await changed({ admit: 1, evict: [3], answers: [0, 1, 2] })).toBe("linked");
  });

  test("a SEAL by too few answers", async () => {
    expect(await changed({ evict: [2, 3], answers: [0, 1] })).toBe("2 answers, 3 are needed.");
  });

  test("who is convicted is left out though it answered", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    const ask = ledger.ask.bind(ledger);
    const member = maker.members[2];
    const place = maker.place;
    const vote = (fill: number) => {
      const said = { round: 1, digest: new Uint8Array(32).fill(fill), effectsSlot: 0 };
      const whole = { ...said, effectsDigest: new Uint8Array(32) };
      const signature = maker.signAs(2)(voteMessage(place, { ...whole, rank: 2 }));
      return { ...whole, signature };
    };
    const { chainId } = maker.genesis;
    const base = { chainId, member, epoch: maker.epoch, kind: "votes" as const };
    const proof = encodeEvidence({ ...base, first: vote(1), second: vote(2) });
    const nothing = encodeEvidence({ ...base, first: vote(1), second: vote(1) });
    expect((await ask("evidence", "x", nothing)).code).toBe("NO_EVIDENCE");
    expect((await ask("evidence", "x", new Uint8Array(40))).code).toBe("NO_EVIDENCE");
    expect((await ask("evidence", "x", proof)).code).toBe("");
    expect(readdirSync(join(ledger.directory, "evidence"))).toHaveLength(1);
    maker.change({ evict: [2] });
    expect(await ledger.feed()).toEqual(["linked"]);
    const again = { ...member, former: { rank: 2, certificate: member.certificate } };
    expect((await ask("certify", [packCertifiable(again)])).code).toBe("CONVICTED");
  });

  test("an INTENT of a member, and one that gives nobody time", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    maker.memberIntent(1, [1]);
    expect((await ledger.feed())[0]).toStartWith(
      "members of a byzantine epoch seal by their answers",
    );
    const hasty = await ledgerOf();
    const newcomer = hasty.maker.newMember(0);
    const payload = encodeIntent({ member: newcomer.member, answered: [], deadlineMs: 10 });
    hasty.maker.put("INTENT", payload, { newcomer });
    expect((await hasty.feed())[0]).toStartWith("its deadline of 10 ms is too short");
    await expectUnharmed(hasty);
  });

  test("a new job waits its time, and is refuted by whoever lives", async () => {
    const ledger = await ledgerOf();
    const { maker } = ledger;
    const newcomer = maker.intent();
    expect(await ledger.feed()).toEqual(["linked"]);
    const { member } = newcomer;
    const restart = () => {
      const { place, head } = maker;
      return ledger.ask("restart", place.epoch, head, [packMember(member)]);
    };
    expect((await restart()).code).toBe("TOO_EARLY");
    ledger.now = 2000;
    expect((await restart()).code).toBe("TOO_EARLY");
    // A second INTENT meanwhile gives nobody more time, and takes none.
    ledger.now = 3000;
    const { code, values } = await restart();
    expect(code).toBe("");
    const seal = encodeSeal({
      members: [member],
      rounds: [],
      answers: [],
      restartSignature: values[0] as Uint8Array,
    });
    maker.put("SEAL", seal, { newcomer });
    expect(await ledger.feed()).toEqual(["linked"]);
    expect(ledger.chain.ranks).toBe(1);
    await expectUnharmed(ledger);

    const lively = await ledgerOf();
    const other = lively.maker.intent();
    lively.maker.noop(2);
    expect(await lively.feed()).toEqual(["linked", "linked"]);
    lively.now = 10_000;
    const { place, head } = lively.maker;
    const late = await lively.ask("restart", place.epoch, head, [packMember(other.member)]);
    expect(late.code).toBe("LEDGER_IN_USE");
  });

  test("the ledger key signs no restart of an open ledger", async () => {
    const ledger = await ledgerOf();
    const { member } = ledger.maker.newMember(0);
    const { epoch } = ledger.maker.place;
    const asked = (head: Uint8Array) => ledger.ask("restart", epoch, head, [packMember(member)]);
    expect((await asked(ledger.maker.head)).code).toBe("LEDGER_IN_USE");
    expect((await asked(new Uint8Array(32))).code).toBe("NOT_THE_HEAD");
    const forged = { ...member, certificate: new Uint8Array(64) };
    const { code } = await ledger.ask("restart", epoch, ledger.maker.head, [packMember(forged)]);
    expect(code).toBe("NOT_CERTIFIED");
  });
});

describe("certificates", () => {
  const chainOf = (ledger: ValidatedLedger) => ledger.maker.genesis.chainId;

  test("a newcomer proves that the key is its own", async () => {
    const ledger = await ledgerOf();
    const key = generateSigningKey();
    const bare = {
      rank: 9,
      incarnation: new Uint8Array(8).fill(3),
      publicKey: key.publicKey,
      host: "h",
    };
    const proof = signMessage(key.privateKey, proofMessage(chainOf(ledger), bare));
    const { code, values } = await ledger.ask("certify", [packCertifiable({ ...bare, proof })]);
    expect(code).toBe("");
    const [[certificate]] = values as [[Uint8Array]];
    const { ledgerKey } = ledger.maker.genesis;
    expect(verifyMember(ledgerKey, chainOf(ledger), { ...bare, certificate })).toBe(true);
    // Under another number, by the certificate that it has.
    const former = { rank: 9, certificate };
    const moved = await ledger.ask("certify", [packCertifiable({ ...bare, rank: 1, former })]);
    const [[again]] = moved.values as [[Uint8Array]];
    const asOne = { ...bare, rank: 1, certificate: again };
    expect(verifyMember(ledgerKey, chainOf(ledger), asOne)).toBe(true);

    const thief = generateSigningKey();
    const stolen = signMessage(thief.privateKey, proofMessage(chainOf(ledger), bare));
    const codes = [];
    for (const member of [
      { ...bare, proof: stolen },
      { ...bare, host: "elsewhere", proof },
      { ...bare, incarnation: new Uint8Array(8), former },
      { ...bare },
    ])
      codes.push((await ledger.ask("certify", [packCertifiable(member)])).code);
    expect(codes).toEqual(["NOT_PROVEN", "NOT_PROVEN", "NOT_CERTIFIED", "MALFORMED"]);
  });

  test("nobody draws members without end", async () => {
    const ledger = await ledgerOf();
    const key = generateSigningKey();
    const bare = { rank: 0, incarnation: new Uint8Array(8), publicKey: key.publicKey, host: "h" };
    const proof = signMessage(key.privateKey, proofMessage(chainOf(ledger), bare));
    const many = new Array(1024).fill(packCertifiable({ ...bare, proof }));
    expect((await ledger.ask("certify", many)).code).toBe("");
    expect((await ledger.ask("certify", many)).code).toBe("");
    expect((await ledger.ask("certify", many)).code).toBe("TOO_MANY_NEWCOMERS");
    ledger.now = 2000;
    expect((await ledger.ask("certify", many.slice(0, 1))).code).toBe("");
  }, 20_000);
});

test("dead letters are bounded, and named plainly", async () => {
  const ledger = await ledgerOf();
  expect((await ledger.ask("quarantine", "../genesis", new Uint8Array(1))).code).toBe("MALFORMED");
  for (let i = 0; i < 64; i++)
    expect((await ledger.ask("quarantine", "1.junk", Uint8Array.of(i))).code).toBe("");
  const { code } = await ledger.ask("quarantine", "1.junk", Uint8Array.of(99));
  expect(code).toBe("STORAGE_KEPT_ENOUGH");
  expect(readdirSync(join(ledger.directory, "quarantine"))).toHaveLength(64);
});

test("whatever is asked is answered, and the log stays as it is", async () => {
  const ledger = await ledgerOf();
  const random = new Random(4, 1);
  const anything = (depth: number): unknown => {
    switch (random.nextBelow(depth > 3 ? 5 : 6)) {
      case 0:
        return random.nextBelow(3);
      case 1:
        return random.nextFloat() * 2 ** 53;
      case 2:
        return "abc";
      case 3:
        return new Uint8Array([8, 32, 64, 0, 300][random.nextBelow(5)]);
      case 4:
        return fromHex(ledger.chain.hash);
      default:
        return Array.from({ length: random.nextBelow(6) }, () => anything(depth + 1));
    }
  };
  for (let i = 0; i < 3000; i++) {
    const operation = OPERATIONS[random.nextBelow(OPERATIONS.length)];
    if (operation === "quarantine") continue;
    const args = Array.from({ length: random.nextBelow(5) }, () => anything(0));
    const { code } = await ledger.ask(operation, ...args);
    expect(code).not.toBe("UNKNOWN");
  }
  expect(ledger.chain.slot).toBe(0);
  await expectUnharmed(ledger);
});
