/** A rank's storage through a real socket: what it may do, and what becomes of it when that breaks. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex, writeU32 } from "../../../src/base/bytes.ts";
import { errorCode } from "../../../src/base/errors.ts";
import { Random } from "../../../src/base/random.ts";
import { generateSigningKey, signMessage } from "../../../src/ledger/keys.ts";
import { encodeSeal, type Member } from "../../../src/ledger/settlement.ts";
import { NodeFileOps } from "../../../src/storage/node-file-ops.ts";
import { ValidatedStorage } from "../../../src/validator/client.ts";
import { ValidatorServer } from "../../../src/validator/server.ts";
import { FrameReader, FrameWriter } from "../../../src/validator/stream.ts";
import { encodeFrame, FRAME_BYTES_MAX, proofMessage } from "../../../src/validator/wire.ts";
import { ValidatedLedger } from "../../support/validated-ledger.ts";

let root = "";
let made = 0;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "baash-socket-"));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of open.splice(0)) one.close();
});

const SELF = new Set([process.getuid!()]);
const INCARNATION = "00000000000000bb";

class Served {
  readonly ledger: ValidatedLedger;
  readonly path: string;
  readonly refused: string[] = [];
  server: ValidatorServer;

  constructor(ledger: ValidatedLedger, path: string, allowed: ReadonlySet<number> = SELF) {
    this.ledger = ledger;
    this.path = path;
    this.server = this.listen(allowed);
  }

  listen(allowed: ReadonlySet<number> = SELF): ValidatorServer {
    this.server = new ValidatorServer({
      ...{ path: this.path, allowed },
      handle: (operation, args) => this.ledger.validator.handle(operation, args),
      say: (code) => this.refused.push(code),
    });
    open.push(this.server);
    return this.server;
  }

  client(): ValidatedStorage {
    const storage = new ValidatedStorage({
      path: this.path,
      ops: new NodeFileOps(),
      blocks: { block: () => new Uint8Array(0) },
      now: () => performance.now(),
    });
    open.push(storage);
    return storage;
  }
}

async function served(allowed?: ReadonlySet<number>): Promise<Served> {
  const place = join(root, String(made++));
  const ledger = await ValidatedLedger.open(place);
  return new Served(ledger, join(place, "v.sock"), allowed);
}

const directoryOf = ({ ledger }: Served) => ({
  directory: ledger.directory,
  incarnation: INCARNATION,
});

/** A rank that was let in: its storage, and itself. */
async function rankOf(world: Served): Promise<{ storage: ValidatedStorage; member: Member }> {
  const storage = world.client();
  await storage.open(directoryOf(world));
  await storage.recover(
    () => false,
    () => {},
  );
  const key = generateSigningKey();
  const incarnation = fromHex(INCARNATION);
  const bare = { rank: 0, incarnation, publicKey: key.publicKey, host: "h" };
  const { chainId } = world.ledger.maker.genesis;
  const proof = signMessage(key.privateKey, proofMessage(chainId, bare));
  const [member] = await storage.certify([{ ...bare, proof }]);
  const memberKey = new Uint8Array(key.privateKey.export({ format: "der", type: "pkcs8" }));
  await storage.writeAs({ rank: 0, incarnation, memberKey });
  return { storage, member };
}

async function sealDraft({ storage, member }: Awaited<ReturnType<typeof rankOf>>) {
  const zeros = new Uint8Array(32);
  const restartSignature = await storage.signRestart(zeros, zeros, [member]);
  const { parts } = encodeSeal({ members: [member], rounds: [], answers: [], restartSignature });
  return {
    ...{ kind: "SEAL" as const, slot: 0, prevHash: zeros, epoch: zeros, firstRound: 1 },
    ...{ lastRound: 0, heightBefore: 0, creationTime: 1, rounds: [] },
    payload: Buffer.concat(parts),
  };
}

describe("a rank's storage", () => {
  test("opens, is certified, hands a record over, and reads what became of it", async () => {
    const world = await served();
    const rank = await rankOf(world);
    const draft = await sealDraft(rank);
    expect(await rank.storage.child(0, new Uint8Array(32))).toBeUndefined();
    const result = await rank.storage.append(draft);
    if (!result.won) throw new Error("the slot was free");
    const bytes = (await rank.storage.child(0, new Uint8Array(32)))!;
    expect(bytes.length).toBe(result.bytes);
    expect(await rank.storage.child(1, result.hash)).toBeUndefined();
    expect(await rank.storage.counters()).toMatchObject({ records: 1 });
    // Somebody who comes later reads the same, and loses the slot.
    const other = await rankOf(world);
    const records: Uint8Array[] = [];
    const late = world.client();
    await late.open(directoryOf(world));
    const head = await late.recover(
      () => false,
      (record) => void records.push(record),
    );
    expect(head).toMatchObject({ slot: 0, records: 1 });
    expect(records).toEqual([bytes]);
    const again = await other.storage.append(draft);
    expect(again).toEqual({ won: false, winner: bytes });
  });

  test("writes nothing itself, and has no ledger key to let anybody in", async () => {
    const world = await served();
    const { storage } = await rankOf(world);
    expect(await storage.fold()).toBe(false);
    expect(await storage.quarantine("1.bad", Uint8Array.of(1))).toContain("/quarantine/1.bad.");
    const evidence = storage.storeEvidence("x", Uint8Array.of(1));
    expect(errorCode(await evidence.catch((error: unknown) => error))).toBe("NO_EVIDENCE");
    const made = storage.open({ ...directoryOf(world), genesis: new Uint8Array(9) });
    expect(errorCode(await made.catch((error: unknown) => error))).toBe("VALIDATED_LEDGER");
  });

  test("is refused what does not count, with the reason, and goes on", async () => {
    const world = await served();
    const rank = await rankOf(world);
    const draft = await sealDraft(rank);
    const wrong = rank.storage.append({ ...draft, heightBefore: 7 });
    const error = await wrong.catch((reason: unknown) => reason);
    expect(errorCode(error)).toBe("RECORD_REFUSED");
    expect(String(error)).toContain("its height is not the chain's");
    expect((await rank.storage.append(draft)).won).toBe(true);
  });

  test("is told that the validator is away, and goes on when it is back", async () => {
    const world = await served();
    const rank = await rankOf(world);
    const draft = await sealDraft(rank);
    world.server.close();
    const gone = await rank.storage.append(draft).catch((reason: unknown) => reason);
    expect(errorCode(gone)).toBe("STORAGE_GONE");
    const still = await rank.storage
      .child(0, new Uint8Array(32))
      .catch((reason: unknown) => reason);
    expect(errorCode(still)).toBe("STORAGE_GONE");
    await world.ledger.start();
    world.listen();
    expect((await rank.storage.append(draft)).won).toBe(true);
  });
});

describe("the socket", () => {
  test("is open to all by its mode, and to some by who they are", async () => {
    const world = await served(new Set([12_345]));
    expect(statSync(world.path).mode & 0o777).toBe(0o666);
    const failed = await world
      .client()
      .open(directoryOf(world))
      .catch((error: unknown) => error);
    expect(errorCode(failed)).toBe("STORAGE_GONE");
    expect(world.refused).toEqual(["PEER_REFUSED"]);
  });

  test("hangs up on whoever sends junk, and serves the others", async () => {
    const world = await served();
    const rank = await rankOf(world);
    const random = new Random(2, 1);
    for (let i = 0; i < 60; i++) {
      const junk = new Uint8Array(4 + random.nextBelow(200));
      random.fill(junk);
      // Lengths that come true, lengths that never do, and one that is too large.
      writeU32(junk, 0, [junk.length - 4, 50_000, FRAME_BYTES_MAX + 1][i % 3]);
      const closed = Promise.withResolvers<void>();
      const socket = await Bun.connect({
        unix: world.path,
        socket: { data() {}, close: () => closed.resolve(), error: () => closed.resolve() },
      });
      socket.write(junk);
      if (i % 3 === 1) socket.end();
      await closed.promise;
    }
    expect((await rank.storage.append(await sealDraft(rank))).won).toBe(true);
    expect(readFileSync(join(world.ledger.directory, "genesis")).length).toBeGreaterThan(100);
  });
});

describe("frames", () => {
  test("come whole through any pieces", () => {
    const random = new Random(1, 1);
    const bodies = Array.from({ length: 40 }, (_, i) =>
      new Uint8Array(random.nextBelow(900) + 2).fill(i),
    );
    const stream = Buffer.concat(bodies.map((body, i) => encodeFrame([i, body])));
    const reader = new FrameReader();
    const seen: number[] = [];
    for (let at = 0; at < stream.length; ) {
      const piece = stream.subarray(at, (at += 1 + random.nextBelow(70)));
      const reused = Buffer.from(piece);
      reader.push(reused);
      // The socket's buffer is used again.
      reused.fill(0xdd);
      for (let body = reader.next(); body !== undefined; body = reader.next()) {
        if (body === "too-large") throw new Error("none is");
        seen.push(body[1]);
      }
    }
    expect(seen).toEqual(bodies.map((_, i) => i));
    expect(reader.heldBytes).toBe(0);
  });

  test("leave as the socket takes them", () => {
    const taken: number[] = [];
    let room = 0;
    const writer = new FrameWriter({
      write: (bytes) => {
        const count = Math.min(room, bytes.length);
        room -= count;
        taken.push(...bytes.subarray(0, count));
        return count;
      },
    });
    writer.send(Uint8Array.of(1, 2, 3));
    writer.send(Uint8Array.of(4, 5));
    expect(writer.waiting).toBe(true);
    while (writer.waiting) {
      room = 1;
      writer.drain();
    }
    expect(taken).toEqual([1, 2, 3, 4, 5]);
  });
});
