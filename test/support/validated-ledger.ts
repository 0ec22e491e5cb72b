/**
 * A validator over a directory of its own, and beside it a maker of records that nobody judged: what
 * the maker writes is handed to the validator as ranks would.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "../../src/base/errors.ts";
import { Chain } from "../../src/ledger/chain.ts";
import { parseGenesis } from "../../src/ledger/genesis.ts";
import { generateSigningKey, type KeyPair } from "../../src/ledger/keys.ts";
import { step } from "../../src/ledger/replay.ts";
import { NodeFileOps } from "../../src/storage/node-file-ops.ts";
import { StorageService } from "../../src/storage/storage-service.ts";
import { Validator } from "../../src/validator/validator.ts";
import type { Operation } from "../../src/validator/wire.ts";
import { LedgerMaker, type MakeOptions } from "./make-ledger.ts";

const exported = ({ privateKey }: KeyPair) =>
  new Uint8Array(privateKey.export({ format: "der", type: "pkcs8" }));

export class ValidatedLedger {
  readonly maker: LedgerMaker;
  readonly directory: string;
  validator!: Validator;
  chain!: Chain;
  /** Milliseconds of the validator's clock. */
  now = 0;
  readonly said: string[] = [];
  fatal: unknown;
  private fed = 0;

  /** `root`: an empty directory. */
  static async open(root: string, options: MakeOptions = {}): Promise<ValidatedLedger> {
    const ledger = new ValidatedLedger(root, options);
    await ledger.start(readFileSync(join(root, "made", "genesis")));
    return ledger;
  }

  private constructor(root: string, options: MakeOptions) {
    const made = { ranks: 4, quorum: "byzantine" as const, difficulty: 0, ...options };
    this.maker = new LedgerMaker(join(root, "made"), made);
    this.directory = join(root, "ledger");
  }

  /** Starts the validator, anew if there was one. */
  async start(genesisBytes?: Uint8Array): Promise<void> {
    const { maker, directory } = this;
    const storage = new StorageService({
      ops: new NodeFileOps(),
      now: () => performance.now(),
      blocks: { block: () => new Uint8Array(0) },
    });
    const incarnation = "00000000000000aa";
    const opened = await storage.open({
      ...{ directory, incarnation, force: true, reserveBytes: 0 },
      ...(genesisBytes && { genesis: genesisBytes }),
    });
    const chain = new Chain(parseGenesis(opened.genesis, "genesis"));
    await storage.recover(
      () => false,
      (bytes) => step(chain, bytes),
    );
    await storage.writeAs({
      ...{ rank: 0, incarnation: new Uint8Array(8).fill(0xaa) },
      ...{ memberKey: exported(generateSigningKey()), ledgerKey: exported(maker.ledgerKey) },
    });
    this.chain = chain;
    this.validator = new Validator({
      ...{ chain, storage, ledgerKey: maker.ledgerKey.privateKey },
      now: () => this.now,
      ...{ takeoverMsMin: 1000, checkpointRecords: 1000 },
      say: (code, sentence) => this.said.push(`${code} ${sentence}`),
      onFatal: (error) => {
        this.fatal = error;
      },
    });
  }

  /** The record that the maker has put in that slot. */
  made(slot: number): Uint8Array {
    const folder = join(this.maker.dir, "log", "000000");
    const name = readdirSync(folder).find((one) => Number(one.split(".")[0]) === slot);
    return new Uint8Array(readFileSync(join(folder, name!)));
  }

  /** "", or the code of what was refused. */
  async ask(
    operation: Operation,
    ...args: unknown[]
  ): Promise<{ code: string; values: unknown[] }> {
    try {
      return { code: "", values: await this.validator.handle(operation, args) };
    } catch (error) {
      return { code: errorCode(error), values: [String(error)] };
    } finally {
      await this.validator.idle();
    }
  }

  /** What the validator says to `bytes`: "linked", "taken", or why it refuses. */
  async append(bytes: Uint8Array): Promise<string> {
    const { code, values } = await this.ask("append", bytes);
    if (code === "") return values[0] === 1 ? "linked" : "taken";
    if (code !== "RECORD_REFUSED") return code;
    return String(values[0]).replace(/^.*does not link this record: /, "");
  }

  /** Hands over what the maker has written since; answers what was said to each. */
  async feed(): Promise<string[]> {
    const outcomes: string[] = [];
    while (this.fed < this.maker.slot) outcomes.push(await this.append(this.made(this.fed++)));
    return outcomes;
  }
}
