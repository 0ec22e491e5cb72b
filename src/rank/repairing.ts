/**
 * Damage in the log is looked for and mended: one member of each host reads old records again, a few
 * at a time, and what the storage cannot mend from its own copies is asked of the other members,
 * who may still hold the bytes. What nobody has is told as an alert; nothing is ever cut off.
 * Main thread.
 */
import { fromHex, toHex } from "../base/bytes.ts";
import { BaashError, errorCode } from "../base/errors.ts";
import { pack, scanMessagePack, unpackScanned } from "../ledger/codec.ts";
import { VERDICT } from "../ledger/verdict.ts";
import { RECORD_BYTES_MAX } from "../limits.ts";
import type { RankContext, RankShared } from "./context.ts";
import { isBytes, isCount, MESSAGE, unpackBody } from "./envelope.ts";

/** What is known of a damaged record. */
export interface DamagedRecord {
  readonly slot: number;
  readonly prevHash: Uint8Array;
  readonly hash: Uint8Array;
}

/** Records that are asked for at once. */
const WANTED_MAX = 16;
const RECORD_LIMITS = { depthMax: 2, itemsMax: 4, bytesMax: RECORD_BYTES_MAX + 64 };

export class Repairing {
  private readonly shared: RankShared;
  private readonly pollsForHost: () => boolean;
  private context: RankContext | undefined;
  private send: ((to: readonly number[], type: number, body: Uint8Array) => void) | undefined;
  private nextSlot = 0;
  private scrubbing = false;
  /** Damaged records that others were asked for, by hash. */
  private readonly wanted = new Map<string, DamagedRecord>();
  readonly counters = { scrubbed: 0, repaired: 0, damaged: 0 };

  constructor(shared: RankShared, pollsForHost: () => boolean) {
    this.shared = shared;
    this.pollsForHost = pollsForHost;
  }

  entered(
    context: RankContext,
    send: (to: readonly number[], type: number, body: Uint8Array) => void,
  ): void {
    this.context = context;
    this.send = send;
    this.scrubLater(context);
  }

  left(): void {
    this.context = undefined;
  }

  private scrubLater(context: RankContext): void {
    const { clock, settings } = this.shared;
    if (settings.scrubMs === 0) return;
    clock.schedule(clock.now() + settings.scrubMs, () => {
      if (this.context !== context) return;
      if (this.pollsForHost()) this.scrub();
      this.scrubLater(context);
    });
  }

  private scrub(): void {
    const { storage, settings, events } = this.shared;
    if (this.scrubbing) return;
    this.scrubbing = true;
    storage.scrub(this.nextSlot, settings.scrubRecords).then(
      ({ nextSlot, checked, repaired, damaged }) => {
        this.scrubbing = false;
        this.nextSlot = nextSlot;
        this.counters.scrubbed += checked;
        this.counters.repaired += repaired;
        for (const { path, slot, prevHash, hash } of damaged) {
          if (slot !== undefined && prevHash !== undefined && hash !== undefined)
            this.want({ slot, prevHash, hash });
          else this.damaged(path, "and nothing tells which bytes it must have");
        }
      },
      (error) => {
        this.scrubbing = false;
        events.onAlert({ code: errorCode(error), message: String(error) });
      },
    );
  }

  private damaged(which: string, what: string): void {
    this.counters.damaged++;
    const message = `${which} is damaged ${what}: restore its file from a copy; the ledger goes on, but nobody can verify it.`;
    this.shared.events.onAlert({ code: "RECORD_DAMAGED", message });
  }

  /** Others may hold the bytes in memory, or in a file that is good for them. */
  want(record: DamagedRecord): void {
    const { context } = this;
    const hash = toHex(record.hash);
    if (context === undefined || this.wanted.has(hash) || this.wanted.size >= WANTED_MAX) return;
    this.wanted.set(hash, record);
    this.send!(context.session.others, MESSAGE.recordPull, pack([record.slot, record.hash]));
    const { clock, settings } = this.shared;
    clock.schedule(clock.now() + settings.repairWaitMs, () => {
      if (this.wanted.delete(hash))
        this.damaged(`The record of slot ${record.slot}`, "and no member has a good copy");
    });
  }

  /** A member asks for a record. False when malformed. */
  onPull(from: number, body: Uint8Array): boolean {
    const fields = unpackBody(body);
    if (fields?.length !== 2) return false;
    const [slot, hash] = fields;
    if (!isCount(slot) || !isBytes(hash, 32)) return false;
    const wanted = hash.slice();
    this.shared.storage.recordBytes(slot, wanted).then(
      (bytes) => {
        if (bytes !== undefined) this.send?.([from], MESSAGE.record, pack([slot, wanted, bytes]));
      },
      (error) => this.shared.events.onAlert({ code: errorCode(error), message: String(error) }),
    );
    return true;
  }

  /** A member answers. False when malformed. */
  onRecord(body: Uint8Array): boolean {
    if (scanMessagePack(body, 0, body.length, RECORD_LIMITS) !== VERDICT.OK) return false;
    const fields = unpackScanned(body);
    if (!Array.isArray(fields) || fields.length !== 3) return false;
    const [slot, hash, bytes] = fields;
    if (!isCount(slot) || !isBytes(hash, 32) || !isBytes(bytes)) return false;
    const record = this.wanted.get(toHex(hash));
    if (record === undefined) return true; // another member was faster
    this.wanted.delete(toHex(hash));
    this.shared.storage.repair(record, bytes.slice()).then(
      (repaired) => {
        if (!repaired) return this.want(record);
        this.counters.repaired++;
        const message = `The record of slot ${slot} was damaged; it was restored from another member's copy.`;
        this.shared.events.onAlert({ code: "RECORD_REPAIRED", message });
      },
      (error) => this.shared.events.onAlert({ code: errorCode(error), message: String(error) }),
    );
    return true;
  }
}

/** Which record a STORAGE_DAMAGED tells of, where it says. */
export function damagedRecordOf(error: unknown): DamagedRecord | undefined {
  if (!(error instanceof BaashError)) return undefined;
  const { slot, prevHash, hash } = error.data;
  if (typeof slot !== "number" || typeof prevHash !== "string" || typeof hash !== "string")
    return undefined;
  return { slot, prevHash: fromHex(prevHash), hash: fromHex(hash) };
}
