/** Intake and client over real sockets, above a ledger in memory. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeU32 } from "../../../src/base/bytes.ts";
import { type ClientReceipt, LedgerClient } from "../../../src/client/client.ts";
import { Intake } from "../../../src/gateway/intake.ts";
import {
  decodeFrame,
  FRAME,
  FrameAssembler,
  LEVEL,
  packTransactions,
} from "../../../src/ledger/intake-frames.ts";
import {
  encodeTransaction,
  type TransactionInput,
  txnIDOf,
} from "../../../src/ledger/transaction-object.ts";
import {
  INTAKE_FRAME_BYTES_MAX,
  INTAKE_IN_FLIGHT_MAX,
  INTAKE_SCAN_KEYS_MAX,
} from "../../../src/limits.ts";
import { MemoryService, rawClient } from "../../support/memory-service.ts";

const text = (value: string) => new TextEncoder().encode(value);
let root = "";
let path = "";
let service: MemoryService;
let intake: Intake;
const clients: LedgerClient[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "baash-intake-"));
  path = join(root, "intake.sock");
  start();
});
afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  intake.close();
  rmSync(root, { recursive: true, force: true });
});

function start(options: ConstructorParameters<typeof MemoryService>[0] = {}): void {
  intake?.close();
  service = new MemoryService(options);
  intake = new Intake({ path, service });
}

async function connect(): Promise<LedgerClient> {
  const client = await LedgerClient.connect(path, { chainId: service.chainId });
  clients.push(client);
  return client;
}

function transaction(sequence: number, more: Partial<TransactionInput> = {}): Uint8Array {
  return encodeTransaction({
    kind: "transfer",
    chainId: service.chainId,
    senderID: 0,
    sequence,
    lastValidRound: 1000,
    creationTime: 1,
    ...(more.kind === undefined || more.kind === "transfer" ? { receiverID: 1, txnAmount: 1 } : {}),
    ...more,
  });
}

const batchOf = (count: number, first = 1) =>
  Array.from({ length: count }, (_, i) => transaction(first + i));
const allFinal = (receipts: ClientReceipt[]) =>
  receipts.every((receipt) => receipt.level === "final" && receipt.outcome === "OK");

describe("good clients", () => {
  test("the socket is for its owner only, and goes away with the intake", () => {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    intake.close();
    expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  });

  test("batches at both levels; every receipt comes in the place of its transaction", async () => {
    const client = await connect();
    expect(client.facts).toMatchObject({ rank: 0, ranks: 1 });
    const receipts = await client.submit([
      ...batchOf(100),
      transaction(500, { txnAmount: 5_000_000 }),
    ]);
    expect(allFinal(receipts.slice(0, 100))).toBe(true);
    expect(receipts[100]).toEqual({ level: "final", outcome: "OVERDRAFT" });
    expect(client.lastRound).toBe(1);

    service.isAutomatic = false;
    const agreed = client.submit(batchOf(10, 1000), "agreed");
    const final = client.submit(batchOf(10, 2000), "final");
    while (service.submitted < 121) await client.stats();
    service.agree();
    expect((await agreed).every(({ level }) => level === "agreed")).toBe(true);
    service.settle();
    expect(allFinal(await final)).toBe(true);
    expect(await client.stats()).toMatchObject({ pending: 0, transactions: 121 });
  });

  test("larger than a frame and than what may be in flight: sent in parts", async () => {
    const client = await connect();
    const count = INTAKE_IN_FLIGHT_MAX + 5000;
    expect(allFinal(await client.submit(batchOf(count)))).toBe(true);
    expect(service.balance(1)).toBe(count);
  }, 30_000);

  test("reads, balances and status", async () => {
    const client = await connect();
    const fields = [{ name: text("a"), value: text("1") }];
    const key = text("alice");
    const insert = transaction(1, { kind: "insert", key, fields });
    expect(await client.status(0, 1, txnIDOf(insert))).toEqual({ state: "unknown" });
    service.isAutomatic = false;
    const receipts = client.submit([insert]);
    while (service.submitted < 1) await client.stats();
    expect(await client.status(0, 1, txnIDOf(insert))).toEqual({ state: "pending" });
    service.settle();
    await receipts;
    expect(await client.status(0, 1, txnIDOf(insert))).toEqual({ state: "final", outcome: "OK" });
    const { fields: read, stamp } = await client.read(key);
    expect(read).toEqual(fields);
    expect(stamp.round).toBe(1);
    expect((await client.read(text("nobody"))).fields).toBeUndefined();
    expect((await client.balance(0)).balance).toBe(1_000_000);
  });

  test("many reads at once, more than the rank keeps unsent, are all answered", async () => {
    const client = await connect();
    const fields = [{ name: text("a"), value: new Uint8Array(10_000).fill(7) }];
    await client.submit([transaction(1, { kind: "insert", key: text("alice"), fields })]);
    const reads = Array.from({ length: 500 }, () => client.read(text("alice")));
    for (const { fields: read } of await Promise.all(reads)) expect(read).toEqual(fields);
  });

  test("at both levels each receipt is told as it comes", async () => {
    const client = await connect();
    service.isAutomatic = false;
    const told: [number, ClientReceipt][] = [];
    const last = client.submit(batchOf(3), "both", (place, receipt) => told.push([place, receipt]));
    while (service.submitted < 3) await client.stats();
    service.agree();
    while (told.length < 3) await client.stats();
    expect(told.map(([place, { level }]) => [place, level])).toEqual([
      [0, "agreed"],
      [1, "agreed"],
      [2, "agreed"],
    ]);
    service.settle();
    expect(allFinal(await last)).toBe(true);
    expect(told.slice(3).map(([place]) => place)).toEqual([0, 1, 2]);
    expect(await client.stats()).toMatchObject({ pending: 0 });
  });

  test("scans go on where the rank's limit of keys ends them", async () => {
    const client = await connect();
    const fields = [{ name: text("a"), value: text("1") }];
    const count = INTAKE_SCAN_KEYS_MAX + 500;
    const keys = Array.from({ length: count }, (_, i) => text(`user${10_000 + i}`));
    await client.submit(keys.map((key, i) => transaction(i, { kind: "insert", key, fields })));
    expect(await client.scan(text("user"), 10)).toEqual(keys.slice(0, 10));
    expect(await client.scan(keys[5], count)).toEqual(keys.slice(5));
    expect(await client.scan(text("v"), 10)).toEqual([]);
  });

  test("the same transaction again has the first receipt, and no second effect", async () => {
    const [one, two] = [await connect(), await connect()];
    const txn = transaction(1);
    service.isAutomatic = false;
    const pending = [one.submit([txn, txn]), two.submit([txn])];
    while ((await two.stats()).transactions < 3) await one.stats();
    expect(service.submitted).toBe(1);
    service.settle();
    for (const receipts of await Promise.all(pending)) expect(allFinal(receipts)).toBe(true);
    expect(allFinal(await two.submit([txn]))).toBe(true);
    expect(service.balance(1)).toBe(1);
  });

  test("refusals name their reason", async () => {
    const client = await connect();
    const foreign = transaction(1, { chainId: new Uint8Array(16) });
    const late = transaction(2, { lastValidRound: 0 });
    const receipts = await client.submit([foreign, late, new Uint8Array(3), transaction(3)]);
    expect(receipts).toEqual([
      { level: "refused", code: "WRONG_CHAIN" },
      { level: "refused", code: "EXPIRED" },
      { level: "refused", code: "MALFORMED" },
      { level: "final", outcome: "OK" },
    ]);
  });

  test("a full queue is waited for", async () => {
    start({ slots: 7 });
    const client = await connect();
    expect(allFinal(await client.submit(batchOf(100)))).toBe(true);
    expect((await client.stats()).retried).toBeGreaterThan(0);
  });

  test("after a broken connection what is open is sent again, once in effect", async () => {
    const client = await connect();
    service.isAutomatic = false;
    const receipts = client.submit(batchOf(50));
    while (service.submitted < 50) await client.stats();
    const old = service;
    intake.close();
    intake = new Intake({ path, service });
    const { transactions } = await client.stats();
    expect(transactions).toBe(50);
    old.settle();
    expect(allFinal(await receipts)).toBe(true);
    expect(service.balance(1)).toBe(50);
  });

  test("many connections at once", async () => {
    const all = await Promise.all(Array.from({ length: 100 }, connect));
    const receipts = await Promise.all(
      all.map((client, i) => client.submit(batchOf(20, 1 + 20 * i), i % 2 ? "agreed" : "final")),
    );
    expect(receipts.flat().length).toBe(2000);
    expect(service.balance(1)).toBe(2000);
    expect(intake.counters().connections).toBe(100);
  });

  test("who is not there, or serves another ledger, is named", async () => {
    const nobody = LedgerClient.connect(join(root, "nobody.sock"));
    await expect(nobody).rejects.toThrow(/no rank listens/);
    const other = LedgerClient.connect(path, { chainId: new Uint8Array(16) });
    await expect(other).rejects.toThrow(/serves ledger 0303/);
  });

  test("a path that is too long or taken by a file is refused", () => {
    const long = join(root, "x".repeat(120));
    expect(() => new Intake({ path: long, service })).toThrow(/shorter/);
    const file = join(root, "file");
    writeFileSync(file, "precious");
    expect(() => new Intake({ path: file, service })).toThrow(/cannot be opened/);
    expect(statSync(file).size).toBe(8);
  });
});

describe("bad clients", () => {
  /** What the rank said before it closed the connection. */
  async function farewell(send: (peer: Awaited<ReturnType<typeof rawClient>>) => void) {
    const peer = await rawClient(path);
    send(peer);
    await peer.closed;
    const assembler = new FrameAssembler();
    assembler.push(peer.received());
    const frames: unknown[][] = [];
    for (let body = assembler.next(); body instanceof Uint8Array; body = assembler.next()) {
      frames.push(decodeFrame(body.slice()) as unknown[]);
    }
    expect(frames[0][0]).toBe(FRAME.HELLO);
    return frames.at(-1);
  }
  const goodbye = (words: RegExp) => [
    FRAME.GOODBYE,
    "BAD_FRAME",
    expect.stringMatching(words) as unknown as string,
  ];

  test("oversize and empty frames are refused by their length alone", async () => {
    const length = new Uint8Array(4);
    writeU32(length, 0, INTAKE_FRAME_BYTES_MAX + 1);
    expect(await farewell(({ socket }) => socket.write(length))).toEqual(goodbye(/a frame of/));
    expect(await farewell(({ socket }) => socket.write(new Uint8Array(4)))).toEqual(
      goodbye(/a frame of 0 bytes/),
    );
    expect(intake.counters()).toMatchObject({ framesRejected: 2, bufferedBytes: 0 });
  });

  test("what is no msgpack, no array, or of no known type", async () => {
    const raw = (...body: number[]) => Uint8Array.of(body.length, 0, 0, 0, ...body);
    for (const body of [
      [0xc1],
      [0x07],
      [0x90],
      [0x91, 0x63],
      [0x92, 0x63, 0x01],
      [0xdd, 255, 255],
    ]) {
      const frame = raw(...body);
      expect(await farewell(({ socket }) => socket.write(frame))).toEqual(goodbye(/./));
    }
    // Deeper than anything of ours.
    const deep = raw(...new Array(60).fill(0x91), 0x01);
    expect(await farewell(({ socket }) => socket.write(deep))).toEqual(goodbye(/TOO_DEEP/));
  });

  test("a SUBMIT whose transactions do not add up, without a level, without any", async () => {
    const good = packTransactions([transaction(1)]);
    for (const [level, bytes] of [
      [LEVEL.final, good.subarray(0, -1)],
      [LEVEL.final, Uint8Array.of(1, 0)],
      [9, good],
      [LEVEL.final, new Uint8Array(0)],
    ] as const) {
      const said = await farewell(({ send }) => send([FRAME.SUBMIT, 1, level, bytes]));
      expect(said).toEqual(goodbye(/SUBMIT/));
    }
    expect(service.submitted).toBe(0);
  });

  test("a truncated frame holds nothing once its client is gone", async () => {
    const peer = await rawClient(path);
    await peer.arrival();
    peer.socket.write(Uint8Array.of(100, 0, 0, 0, 0x92));
    const watcher = await connect();
    while ((await watcher.stats()).bufferedBytes === 0);
    peer.socket.end();
    while ((await watcher.stats()).connections > 1);
    expect(await watcher.stats()).toMatchObject({ bufferedBytes: 0, frames: expect.any(Number) });
  });

  test("a client that goes away leaves its transactions to the ledger", async () => {
    service.isAutomatic = false;
    const peer = await rawClient(path);
    await peer.arrival();
    peer.send([FRAME.SUBMIT, 1, LEVEL.final, packTransactions(batchOf(5))]);
    const watcher = await connect();
    while (service.submitted < 5) await watcher.stats();
    peer.socket.end();
    while ((await watcher.stats()).connections > 1);
    service.settle();
    expect(service.balance(1)).toBe(5);
    expect((await watcher.stats()).pending).toBe(0);
  });

  test("a client that does not read is not read, and others are served", async () => {
    const slow = await rawClient(path);
    await slow.arrival();
    slow.socket.pause();
    // Each asks for hundreds of bytes of counters, and nobody takes them.
    const request = Buffer.from([3, 0, 0, 0, 0x92, FRAME.STATS, 1]);
    const requests = 60_000;
    const flood = new Uint8Array(Buffer.concat(new Array(requests).fill(request)));
    const watcher = await connect();
    let sent = 0;
    // Until the intake has taken no frame but the watcher's own for fifty turns.
    for (let idle = 0; idle < 50; ) {
      const before = intake.counters().frames;
      if (sent < flood.length) sent += Math.max(0, slow.socket.write(flood.subarray(sent)));
      await watcher.stats();
      idle = intake.counters().frames - before > 1 ? 0 : idle + 1;
    }
    expect(intake.counters().frames).toBeLessThan(requests);
    expect(allFinal(await watcher.submit(batchOf(10)))).toBe(true);
    // Once it reads again, all that it asked for is answered.
    slow.socket.resume();
    while (intake.counters().frames < requests) {
      if (sent < flood.length) sent += Math.max(0, slow.socket.write(flood.subarray(sent)));
      await watcher.stats();
    }
    slow.socket.end();
  }, 20_000);
});
