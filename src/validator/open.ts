/** From a directory to a validator: makes the ledger or opens it, replays it, and is ready to judge. */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import { toHex } from "../base/bytes.ts";
import { Chain } from "../ledger/chain.ts";
import { createGenesis, type GenesisOptions, parseGenesis } from "../ledger/genesis.ts";
import { generateSigningKey } from "../ledger/keys.ts";
import { createLedgerKeyFile, ledgerKeyPath, loadLedgerKey } from "../ledger/ledger-key.ts";
import { step } from "../ledger/replay.ts";
import { NodeFileOps } from "../storage/node-file-ops.ts";
import { preflight } from "../storage/preflight.ts";
import { type Opened, type OpenOptions, StorageService } from "../storage/storage-service.ts";
import { Validator, type ValidatorOptions } from "./validator.ts";

export interface OpenValidator
  extends Pick<ValidatorOptions, "takeoverMsMin" | "checkpointRecords" | "say" | "onFatal"> {
  readonly directory: string;
  /** Where the ledger key is, or is to be; by default where a ledger's key lies. */
  readonly ledgerKey: string | undefined;
  readonly force: boolean;
  /** Of a ledger that is not there yet. */
  readonly founding: Omit<GenesisOptions, "created" | "nonce">;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export async function openValidator(
  options: OpenValidator,
): Promise<{ validator: Validator; storage: StorageService; chain: Chain; opened: Opened }> {
  const now = () => performance.now();
  const nothing = { block: () => new Uint8Array(0) };
  const storage = new StorageService({
    ops: new NodeFileOps(),
    now,
    blocks: nothing,
    onNotice: ({ code, message }) => options.say(code, message),
  });
  const incarnation = new Uint8Array(randomBytes(8));
  const { directory, force } = options;
  const opened = await openOrCreate(options, storage, {
    ...{ directory: resolve(directory), incarnation: toHex(incarnation), force },
  });
  const genesis = parseGenesis(opened.genesis, `${directory}/genesis`);
  const path = options.ledgerKey ?? ledgerKeyPath(genesis.chainId, options.environment);
  const ledgerKey = loadLedgerKey(path, genesis.ledgerKey);
  let chain = new Chain(genesis);
  await storage.recover(
    (_head, payload) => {
      try {
        chain = Chain.restore(genesis, payload);
      } catch {
        return false;
      }
      return true;
    },
    (bytes) => step(chain, bytes),
  );
  // It is no member and signs no record: the key of its own is never used.
  const memberKey = exportKey(generateSigningKey().privateKey);
  await storage.writeAs({ rank: 0, incarnation, memberKey, ledgerKey: exportKey(ledgerKey) });
  const { takeoverMsMin, checkpointRecords, say, onFatal } = options;
  const rules = { takeoverMsMin, checkpointRecords, say, onFatal, now };
  const validator = new Validator({ chain, storage, ledgerKey, ...rules });
  return { validator, storage, chain, opened };
}

function exportKey(key: ReturnType<typeof generateSigningKey>["privateKey"]): Uint8Array {
  return new Uint8Array(key.export({ format: "der", type: "pkcs8" }));
}

async function openOrCreate(
  options: OpenValidator,
  storage: StorageService,
  directory: OpenOptions & { readonly force: boolean },
): Promise<Opened> {
  const unique = `${directory.incarnation}-0`;
  const place = await preflight(new NodeFileOps(), directory.directory, { ...directory, unique });
  if (place.isLedger) return await storage.open(directory);
  const key = generateSigningKey();
  const nonce = new Uint8Array(randomBytes(16));
  const { genesis, bytes } = createGenesis(
    { ...options.founding, created: Date.now(), nonce },
    key,
  );
  // The key first: a ledger without its key could never be written to.
  const path = options.ledgerKey ?? ledgerKeyPath(genesis.chainId, options.environment);
  createLedgerKeyFile(path, key.privateKey);
  return await storage.open({ ...directory, genesis: bytes });
}
