/** StorageService with real genesis, keys and records, over any FileOps: as a rank's writer has it. */
import { toHex } from "../../src/base/bytes.ts";
import { createGenesis } from "../../src/ledger/genesis.ts";
import { generateSigningKey } from "../../src/ledger/keys.ts";
import { type RecordKind, recordHash } from "../../src/ledger/record.ts";
import type { FileOps } from "../../src/storage/file-ops.ts";
import type { StorageNotice } from "../../src/storage/healer.ts";
import type { AppendResult, RecordDraft } from "../../src/storage/ledger-writer.ts";
import { type OpenOptions, StorageService } from "../../src/storage/storage-service.ts";
import { newIncarnation, ROOT, SEGMENT_RECORDS } from "./simulated-ledger.ts";

const key = generateSigningKey();
/** DER, of the ledger and of every member. */
export const MEMBER_KEY = new Uint8Array(key.privateKey.export({ format: "der", type: "pkcs8" }));

function genesisOf(nonce: number): Uint8Array {
  return createGenesis(
    {
      created: 1_700_000_000_000,
      nonce: new Uint8Array(16).fill(nonce),
      difficulty: 1,
      storageDifficulty: 3,
      blockTransactionsMax: 64,
      supply: 1000,
    },
    key,
  ).bytes;
}

export const GENESIS = genesisOf(1);
/** Of another ledger, made with the same key. */
export const OTHER_GENESIS = genesisOf(2);

/** One writer and what it knows of the chain. */
export class ServiceWriter {
  readonly service: StorageService;
  readonly incarnation: string;
  readonly notices: StorageNotice[];
  slot = -1;
  hash: Uint8Array = new Uint8Array(32);
  /** Hashes of all records that this writer knows, by slot. */
  readonly hashes: Uint8Array[] = [];

  private constructor(service: StorageService, incarnation: string, notices: StorageNotice[]) {
    this.service = service;
    this.incarnation = incarnation;
    this.notices = notices;
  }

  /** Opens or makes the ledger, recovers, and is ready to write. */
  static async start(
    ops: FileOps,
    options: Partial<OpenOptions> & { now?: () => number } = {},
  ): Promise<ServiceWriter> {
    const { now = () => 0, ...open } = options;
    const incarnation = newIncarnation();
    const notices: StorageNotice[] = [];
    const service = new StorageService({
      ops,
      now,
      blocks: { block: () => new Uint8Array(0) },
      onNotice: (notice) => notices.push(notice),
      segmentRecords: SEGMENT_RECORDS,
    });
    const writer = new ServiceWriter(service, incarnation, notices);
    await service.open({
      directory: ROOT,
      incarnation,
      genesis: GENESIS,
      reserveBytes: 0,
      ...open,
    });
    await service.recover(
      () => false,
      (bytes) => writer.step(recordHash(bytes)),
    );
    const bytes = Uint8Array.from(Buffer.from(incarnation, "hex"));
    const keys = { rank: 0, incarnation: bytes, memberKey: MEMBER_KEY, ledgerKey: MEMBER_KEY };
    await service.writeAs(keys);
    return writer;
  }

  draft(kind: RecordKind, payload: Uint8Array): RecordDraft {
    return {
      kind,
      slot: this.slot + 1,
      prevHash: this.hash,
      epoch: new Uint8Array(32),
      firstRound: 1,
      lastRound: 0,
      heightBefore: 0,
      creationTime: 1,
      rounds: [],
      payload,
    };
  }

  /** Links a record of `bytes` payload bytes and, when it won, steps over it. */
  async append(kind: RecordKind = "QUORUM", bytes = 8): Promise<AppendResult> {
    const tag = new TextEncoder().encode(`${this.incarnation} ${this.slot + 1}`);
    const payload = new Uint8Array(Math.max(bytes, tag.length));
    payload.set(tag);
    const result = await this.service.append(this.draft(kind, payload));
    if (result.won) this.step(result.hash);
    return result;
  }

  async grow(count: number): Promise<void> {
    while (this.slot + 1 < count) await this.append();
  }

  /** Reads records that others linked, and steps over them. */
  async follow(): Promise<void> {
    for (;;) {
      const bytes = await this.service.child(this.slot + 1, this.hash);
      if (bytes === undefined) return;
      this.step(recordHash(bytes));
    }
  }

  step(hash: Uint8Array): void {
    this.slot++;
    this.hash = hash;
    this.hashes[this.slot] = hash;
  }

  /** The file of a record in the tail. */
  path(slot: number): string {
    const segment = String(Math.floor(slot / SEGMENT_RECORDS)).padStart(6, "0");
    const parent = slot === 0 ? new Uint8Array(32) : this.hashes[slot - 1];
    return `${ROOT}/log/${segment}/${String(slot).padStart(10, "0")}.${toHex(parent)}`;
  }
}
