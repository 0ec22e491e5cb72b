/** A client that outlives its ranks: real sockets, ledgers in memory behind them. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LedgerClient } from "../../../src/client/client.ts";
import { circleOf, listSockets, SilenceWatch } from "../../../src/client/failover.ts";
import { Intake } from "../../../src/gateway/intake.ts";
import { encodeFrame, FRAME } from "../../../src/ledger/intake-frames.ts";
import { SUBMIT, type TransactionBatch } from "../../../src/ledger/service.ts";
import { encodeTransaction, txnIDOf } from "../../../src/ledger/transaction-object.ts";
import { MemoryService } from "../../support/memory-service.ts";

/** Long enough for a machine that is busy with other tests; only tests of silence wait for it. */
const SILENCE_MS = 400;

class StoppingService extends MemoryService {
  override submit(_: number, batch: TransactionBatch, from: number, statuses: Uint8Array): number {
    statuses.fill(SUBMIT.STOPPING, from, batch.count);
    return batch.count;
  }
}

let root = "";
const closers: (() => void)[] = [];

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "baash-failover-"));
});
afterEach(() => {
  for (const close of closers.splice(0).reverse()) close();
  rmSync(root, { recursive: true, force: true });
});

const pathOf = (process: number) => join(root, `rank-${process}.sock`);

function rank(process: number, service = new MemoryService()) {
  const intake = new Intake({ path: pathOf(process), service });
  closers.push(() => intake.close());
  return { intake, service };
}

/** A rank that was stopped: the kernel takes connections for it; `greets` when it was seen before. */
function frozen(process: number, greets: boolean): { connected: Promise<void> } {
  const connected = Promise.withResolvers<void>();
  const hello = [FRAME.HELLO, 1, new Uint8Array(16).fill(3), process, 2, 7, [65536, 1000, 1000]];
  const listener = Bun.listen({
    unix: pathOf(process),
    socket: {
      open(socket) {
        if (greets) socket.write(encodeFrame(hello));
        connected.resolve();
      },
      data() {},
    },
  });
  closers.push(() => listener.stop(true));
  return { connected: connected.promise };
}

async function connect(first: number, reconnectMs = 10_000) {
  const visited: string[] = [];
  const client = await LedgerClient.connect(pathOf(first), {
    reconnectMs,
    failover: {
      sockets: () => listSockets([root]),
      silenceMs: SILENCE_MS,
      onConnected: (path) => void visited.push(path),
    },
  });
  closers.push(() => client.close());
  return { client, visited };
}

const transfer = (sequence: number) =>
  encodeTransaction({
    kind: "transfer",
    chainId: new Uint8Array(16).fill(3),
    senderID: 0,
    sequence,
    lastValidRound: 1000,
    creationTime: 1,
    receiverID: 1,
    txnAmount: 1,
  });
const FINAL = { level: "final", outcome: "OK" } as const;

describe("another rank takes over", () => {
  test("the rank dies with transactions on it: the same bytes are final elsewhere, once", async () => {
    const [one, two] = [rank(0), rank(1)];
    one.service.isAutomatic = false;
    const { client, visited } = await connect(0);
    const receipts = client.submit([transfer(1), transfer(2)], "both");
    while (one.service.submitted < 2) await client.stats();
    one.intake.close();
    expect(await receipts).toEqual([FINAL, FINAL]);
    expect(two.service.balance(1)).toBe(2);
    expect(visited).toEqual([pathOf(0), pathOf(1)]);
    expect(client.socketPath).toBe(pathOf(1));
    const id = txnIDOf(transfer(1));
    expect(await client.status(0, 1, id)).toEqual({ state: "final", outcome: "OK" });
  });

  test("queries that the rank did not answer are asked again", async () => {
    const { connected } = frozen(0, true);
    rank(1);
    const { client } = await connect(0);
    await connected;
    expect((await client.balance(0)).balance).toBe(1_000_000);
  });

  test("a frozen rank that does not greet is passed by", async () => {
    frozen(0, false);
    rank(1);
    const { client, visited } = await connect(0);
    expect(visited).toEqual([pathOf(1)]);
    expect(await client.submit([transfer(1)])).toEqual([FINAL]);
  });

  test("a rank that freezes with transactions on it is left", async () => {
    frozen(0, true);
    const two = rank(1);
    const { client, visited } = await connect(0);
    expect(await client.submit([transfer(1)])).toEqual([FINAL]);
    expect(visited).toEqual([pathOf(0), pathOf(1)]);
    expect(two.service.balance(1)).toBe(1);
  });

  test("a rank that stops takes nothing more: it is left, and nothing is told as refused", async () => {
    rank(0, new StoppingService());
    rank(1);
    const { client, visited } = await connect(0);
    expect(await client.submit([transfer(1), transfer(2)])).toEqual([FINAL, FINAL]);
    expect(visited).toEqual([pathOf(0), pathOf(1)]);
  });

  test("a rank that answers is not left, however long its transactions take", async () => {
    const one = rank(0);
    rank(1);
    one.service.isAutomatic = false;
    const { client, visited } = await connect(0);
    const receipts = client.submit([transfer(1)]);
    // The submission, and then what the client asks of itself: each time a fifth of its patience.
    while (one.intake.counters().frames < 12) await Bun.sleep(SILENCE_MS / 20);
    one.service.settle();
    expect(await receipts).toEqual([FINAL]);
    expect(visited).toEqual([pathOf(0)]);
  });
});

describe("nobody is there", () => {
  test("connecting ends after its time; what was open then fails with why the rank was lost", async () => {
    writeFileSync(pathOf(0), "no socket");
    await expect(connect(0, 0)).rejects.toMatchObject({ code: "CLIENT_CONNECT" });
    rmSync(pathOf(0));
    const one = rank(0);
    one.service.isAutomatic = false;
    const { client } = await connect(0, 0);
    const receipts = client.submit([transfer(1)]);
    while (one.service.submitted < 1) await client.stats();
    one.intake.close();
    await expect(receipts).rejects.toMatchObject({ code: "CLIENT_STOPPING" });
  });

  test("a rank that comes later is found", async () => {
    const { service, intake } = rank(0);
    service.isAutomatic = false;
    const { client } = await connect(0);
    const receipts = client.submit([transfer(1)]);
    while (service.submitted < 1) await client.stats();
    intake.close();
    const late = rank(5);
    expect(await receipts).toEqual([FINAL]);
    expect(late.service.balance(1)).toBe(1);
  });
});

describe("sockets and circles", () => {
  test("sockets of several directories, by number; other files and missing places are none", () => {
    const second = join(root, "second");
    mkdirSync(second);
    for (const name of ["rank-10.sock", "rank-2.sock", "rank-x.sock", "else"]) {
      writeFileSync(join(root, name), "");
    }
    writeFileSync(join(second, "rank-0.sock"), "");
    expect(listSockets([root, join(root, "missing"), second])).toEqual([
      join(root, "rank-2.sock"),
      join(root, "rank-10.sock"),
      join(second, "rank-0.sock"),
    ]);
  });

  test("each place begins elsewhere", () => {
    expect(circleOf(["a", "b", "c"], 1)).toEqual(["b", "c", "a"]);
    expect(circleOf(["a", "b", "c"], 5)).toEqual(["c", "a", "b"]);
    expect(circleOf([], 5)).toEqual([]);
  });

  test("silence is asked into once, and counts only while something is waited for", async () => {
    const asked: number[] = [];
    let waits = false;
    const silent = Promise.withResolvers<void>();
    let looks = 0;
    const watch = new SilenceWatch(50, {
      isWaiting: () => {
        // Idle for many spans first: that is no silence.
        if (++looks > 40) waits = true;
        return waits;
      },
      ask: () => void asked.push(looks),
      onSilent: () => silent.resolve(),
    });
    watch.start();
    await silent.promise;
    watch.stop();
    expect(asked).toEqual([41]);
  });
});
