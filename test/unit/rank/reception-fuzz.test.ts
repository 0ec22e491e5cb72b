/**
 * Whatever bytes come, a rank neither throws nor grows: every kind of message that its peers send,
 * bent in every way, authentic and not, by the ten thousand, while it goes on with its work.
 */
import { expect, test } from "bun:test";
import { Random } from "../../../src/base/random.ts";
import { pack } from "../../../src/ledger/codec.ts";
import { ENVELOPE_BYTES, encodePull, encodeStatus, MESSAGE } from "../../../src/rank/envelope.ts";
import {
  EMPTY_BODY,
  encodeAccusation,
  encodeHeal,
  encodeLanes,
  encodeSealAnswer,
  encodeSealPull,
  encodeWelcome,
} from "../../../src/rank/membership-messages.ts";
import { LiarsWorld } from "../../support/liars-world.ts";
import { bent, keepLying, overhear } from "../../support/lies.ts";

const LIAR = 3;
const TIMEOUT_MS = 120_000;
/** What is private in production and changed here. */
type Open = { epoch?: { reception: { offences: Uint32Array } } };
/** Each to three members. */
const A_TURN = 12;
const KEPT_OF_A_TYPE = 40;
/** Bytes that begin something in msgpack, and lengths that promise too much. */
const TELLING = [
  0x00, 0x7f, 0x80, 0x90, 0x9f, 0xa0, 0xc0, 0xc4, 0xc6, 0xcb, 0xcf, 0xd9, 0xdd, 0xff,
];

function mangled(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = bytes.slice();
  const changes = 1 + random.nextBelow(4);
  for (let i = 0; i < changes; i++) {
    const at = ENVELOPE_BYTES + random.nextBelow(Math.max(1, copy.length - ENVELOPE_BYTES));
    // The head of a message says the most.
    const near = random.nextBelow(2) === 0 ? ENVELOPE_BYTES + random.nextBelow(12) : at;
    const isTelling = random.nextBelow(2) === 0;
    copy[Math.min(near, copy.length - 1)] = isTelling
      ? TELLING[random.nextBelow(TELLING.length)]
      : random.nextBelow(256);
  }
  switch (random.nextBelow(6)) {
    case 0:
      return copy.subarray(0, random.nextBelow(copy.length + 1));
    case 1: {
      const longer = new Uint8Array(copy.length + 1 + random.nextBelow(200));
      longer.set(copy);
      return longer;
    }
    case 2:
      copy[0] = random.nextBelow(24);
      return copy;
    default:
      return copy;
  }
}

/** One of each kind that a calm run never sends. */
function samples(): Uint8Array[] {
  const hash = "ab".repeat(32);
  const effects = { effectsSlot: 1, effectsDigest: hash };
  const answer = { rank: LIAR, headSlot: 1, lastVoted: 0, votes: [], ...effects };
  const bytes = new Uint8Array(90).fill(7);
  const bodies: readonly (readonly [number, Uint8Array])[] = [
    [MESSAGE.status, encodeStatus({ kind: "progress", json: '{"a":1}' })],
    [MESSAGE.accuse, encodeAccusation({ rank: 1, certain: false, withdrawn: false })],
    [MESSAGE.sealPull, encodeSealPull({ evict: [1], admit: ["00".repeat(8)], lastRound: 3 })],
    [MESSAGE.sealAnswer, encodeSealAnswer(answer)],
    [MESSAGE.pull, encodePull({ round: 1, vote: true, force: true, bodies: [{ rank: 1, hash }] })],
    [MESSAGE.heal, encodeHeal({ attempt: 1, count: 1 })],
    [MESSAGE.lanes, encodeLanes(5)],
    [MESSAGE.propagate, pack([bytes, bytes])],
    [MESSAGE.card, pack([bytes, 1, bytes])],
    [MESSAGE.recordPull, pack([1, new Uint8Array(32)])],
    [MESSAGE.record, pack([1, new Uint8Array(32), bytes])],
    [MESSAGE.evidence, pack(["baash-evidence", 1, bytes, 2, [1], bytes, [1], [1]])],
    [MESSAGE.hello, pack([bytes, 1])],
    [
      MESSAGE.welcome,
      encodeWelcome({ slot: 1, epoch: new Uint8Array(32), box: bytes, cards: [bytes] }),
    ],
  ];
  const others = Object.values(MESSAGE).filter((type) => !bodies.some(([known]) => known === type));
  const all = [...bodies, ...others.map((type) => [type, EMPTY_BODY] as const)];
  return all.map(([type, body]) => {
    const envelope = new Uint8Array(ENVELOPE_BYTES + body.length);
    envelope[0] = type;
    envelope.set(body, ENVELOPE_BYTES);
    return envelope;
  });
}

test.each(["byzantine", "majority"] as const)(
  "a rank of a %s ledger takes any bytes",
  async (quorum) => {
    const random = new Random(8, 1);
    // Where one member's word may be the truth only what came by itself is bent.
    const kept = new Map<number, Uint8Array[]>(
      quorum === "byzantine" ? samples().map((bytes) => [bytes[0], [bytes]]) : [],
    );
    let sent = 0;
    const world = new LiarsWorld({
      quorum,
      liars: [LIAR],
      loadMs: 900,
      // So that as many kinds of messages as a calm run can have are heard.
      settings: { propagate: "backup" },
      lie: (liar) => {
        overhear(liar, (bytes) => {
          const ofType = kept.get(bytes[0]) ?? [];
          kept.set(bytes[0], ofType);
          if (ofType.length < KEPT_OF_A_TYPE) ofType.push(bytes.slice());
          else ofType[random.nextBelow(KEPT_OF_A_TYPE)] = bytes.slice();
        });
        const { inner } = liar.transport as unknown as { inner: typeof liar.transport };
        keepLying(liar, 2, (context, others) => {
          const types = [...kept.keys()];
          if (types.length === 0) return;
          for (let i = 0; i < A_TURN; i++) {
            const ofType = kept.get(types[random.nextBelow(types.length)])!;
            const bytes = mangled(ofType[random.nextBelow(ofType.length)], random);
            if (bytes.length === 0) continue;
            const isAuthentic = random.nextBelow(3) > 0 && bytes.length > ENVELOPE_BYTES;
            for (const to of others) {
              inner.send(to, isAuthentic ? bent(bytes, context, random) : bytes);
              sent++;
            }
          }
        });
      },
      // In a byzantine epoch nobody listens for long to one that sends such things: here they do.
      meanwhile: ({ clock, honest }) => {
        const forgive = () => {
          for (const { loop } of honest)
            (loop as unknown as Open).epoch?.reception.offences.fill(0);
          clock.after(1, forgive);
        };
        forgive();
      },
    });
    await world.run();
    expect(world.violation?.message).toBeUndefined();
    expect(sent).toBeGreaterThan(8000);
    const misdeeds = world.misdeeds(LIAR);
    const seen = Object.values(MESSAGE).filter((type) => kept.has(type));
    expect(seen.length).toBe(quorum === "byzantine" ? Object.keys(MESSAGE).length : seen.length);
    expect(seen.length).toBeGreaterThan(4);
    expect(Object.keys(misdeeds).length).toBeGreaterThan(6);
    expect(Object.values(misdeeds).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(1000);
    expect(world.files("quarantine").length).toBeLessThanOrEqual(64);
    // S14: whatever is bent on the way convicts nobody.
    expect(world.files("evidence")).toEqual([]);
  },
  TIMEOUT_MS,
);
