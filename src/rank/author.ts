/** Hands the writer the keys of a participation: records are signed by its incarnation. */
import type { KeyObject } from "node:crypto";
import type { LedgerStorage } from "../storage/storage-service.ts";
import type { Identity } from "./roster.ts";

export function writeAs(
  storage: LedgerStorage,
  { incarnation, signing }: Identity,
  options: { rank: number; ledgerKey?: KeyObject | undefined },
): Promise<void> {
  const { ledgerKey } = options;
  return storage.writeAs({
    rank: options.rank,
    incarnation,
    memberKey: exportKey(signing.privateKey),
    ...(ledgerKey && { ledgerKey: exportKey(ledgerKey) }),
  });
}

function exportKey(key: KeyObject): Uint8Array {
  return new Uint8Array(key.export({ format: "der", type: "pkcs8" }));
}
