/** Cards bind process, incarnation and keys; sessions find each other's processes by them. */
import { describe, expect, test } from "bun:test";
import { toHex } from "../../../src/base/bytes.ts";
import { certifyMember, generateSigningKey } from "../../../src/ledger/keys.ts";
import { EarlyMessages } from "../../../src/rank/early-messages.ts";
import { nextMembers } from "../../../src/rank/next-members.ts";
import { type Card, decodeCard, drawIdentity, Roster } from "../../../src/rank/roster.ts";
import { epochKey, Session } from "../../../src/rank/session.ts";

const ledgerKey = generateSigningKey();
const chainId = new Uint8Array(16).fill(9);
const chain = { chainId, genesis: { ledgerKey: ledgerKey.publicKey } };

function draw(process: number, key = ledgerKey.privateKey) {
  return drawIdentity({
    incarnation: new Uint8Array(8).fill(process + 1),
    process,
    host: `host${process}`,
    mark: { pid: 1000 + process, startTicks: 5 },
    chainId,
    ledgerKey: key,
  });
}

const cardOf = (bytes: Uint8Array) => decodeCard(bytes, chain) as Card;
const hex = (process: number) => toHex(new Uint8Array(8).fill(process + 1));

describe("cards", () => {
  test("arrive as they were drawn", () => {
    const { card, cardBytes } = draw(2);
    expect(cardOf(cardBytes)).toEqual(card);
  });

  test("of somebody without the ledger key are refused", () => {
    const stranger = draw(2, generateSigningKey().privateKey);
    expect(decodeCard(stranger.cardBytes, chain)).toBe("is not certified by the ledger key");
  });

  test("of another ledger are refused", () => {
    const other = { ...chain, chainId: new Uint8Array(16) };
    expect(decodeCard(draw(1).cardBytes, other)).toBe("is about another ledger");
  });

  test("no byte of what is certified can be changed", () => {
    const { cardBytes, card } = draw(3);
    for (let at = 0; at < cardBytes.length; at++) {
      const bytes = cardBytes.slice();
      bytes[at] ^= 1;
      const read = decodeCard(bytes, chain);
      // The box key and the mark are not certified: a wrong one costs its owner the welcome.
      if (typeof read !== "string") expect(read.member).toEqual(card.member);
    }
  });
});

describe("sessions", () => {
  const roster = new Roster();
  for (const process of [0, 1, 2, 5]) roster.add(draw(process).card);
  const members = [1, 5, 2].map((process, rank) =>
    certifyMember(ledgerKey.privateKey, chainId, { ...draw(process).card.member, rank }),
  );
  const master = new Uint8Array(32).fill(4);
  const session = new Session({
    incarnation: new Uint8Array(8).fill(6),
    epoch: new Uint8Array(32).fill(1),
    members,
    master,
    roster,
  });

  test("know who they are and which process everybody is", () => {
    expect(session.self).toBe(1);
    expect(session.others).toEqual([0, 2]);
    expect(session.processesOf([0, 1, 2])).toEqual([1, 5, 2]);
    expect(session.member(2)).toBe(2);
    expect(session.member(0)).toBeUndefined();
    expect(session.complete).toBe(true);
  });

  test("learn a member's process when its card comes late", () => {
    const few = new Roster();
    for (const process of [1, 5]) few.add(draw(process).card);
    const late = new Session({ ...session, master, roster: few });
    expect(late.complete).toBe(false);
    expect(late.processesOf([0, 1, 2])).toEqual([1, 5]);
    few.add(draw(2).card);
    expect(late.learn(few)).toBe(true);
    expect(late.process(2)).toBe(2);
    expect(late.learn(few)).toBe(false);
  });

  test("the next members: who stays keeps the order, the admitted come after, strangers do not", () => {
    const by = { chain: chain as never, ledgerKey: ledgerKey.privateKey, roster };
    const next = nextMembers(members, { evict: [0], admit: [hex(0), "ff".repeat(8)] }, by);
    expect(next.map(({ incarnation }) => toHex(incarnation))).toEqual([hex(5), hex(2), hex(0)]);
    expect(next.map(({ rank }) => rank)).toEqual([0, 1, 2]);
  });

  test("each epoch has a key of its own", () => {
    const a = epochKey(master, new Uint8Array(32).fill(1));
    expect(epochKey(master, new Uint8Array(32).fill(2))).not.toEqual(a);
    expect(epochKey(master, new Uint8Array(32).fill(1))).toEqual(a);
  });
});

test("early messages: the newest are kept, copied, and taken once", () => {
  const early = new EarlyMessages();
  const bytes = new Uint8Array([1, 2, 3]);
  for (let i = 0; i < 5000; i++) early.keep(i, bytes);
  bytes[0] = 9;
  const taken = early.take();
  expect(taken.length).toBe(4096);
  expect(taken[0].from).toBe(5000 - 4096);
  expect(taken[4095].bytes).toEqual(Uint8Array.of(1, 2, 3));
  expect(early.take()).toEqual([]);
});
