/**
 * The in-memory twin of the file system: one disk, several hosts, and what a real one does to
 * them. It tells what is in the page cache from what is durable, and drops the difference:
 *
 * - `losePower()`: every unsynced byte and name is kept or dropped by chance, each by itself; files
 *   may be torn or end in zeros. All hosts of before are dead; make new ones to recover.
 * - `crashHost(name)`: that host's unsynced bytes may be lost; names live on the server and stay.
 * - `fault`: called before each step; may fail it, delay it, crash around it, or let it happen and
 *   report an error all the same (a retransmitted call).
 * - After EIO on fsync of a file its pages count as clean though they are not durable, as Linux
 *   does it: a second fsync would report success and lose the data.
 * - After EIO on fsync of a directory the same holds of the names that this host had changed in it: its
 *   own next fsync reports success and makes them no more durable; another host's does.
 *
 * A call of a dead host never settles: nothing runs after a crash. Deterministic: all chance comes
 * from `random`, all delay from `clock`.
 */
import { assert } from "../base/assert.ts";
import { concatBytes } from "../base/bytes.ts";
import { SimulatedHost } from "./simulated-host.ts";

export interface DiskStep {
  readonly host: string;
  readonly step:
    | "create"
    | "write"
    | "syncFile"
    | "link"
    | "unlink"
    | "rename"
    | "makeDirectory"
    | "removeDirectory"
    | "syncDirectory"
    | "read"
    | "readDirectory"
    | "status"
    | "fileSystem";
  readonly path: string;
  /** Counts the steps of the disk from 0. */
  readonly number: number;
}

export interface DiskFault {
  /** errno name to fail with. */
  readonly code?: string;
  /** The step happens, and then the error or crash: its caller cannot tell. */
  readonly happens?: boolean;
  readonly delayMs?: number;
  /** Reports success and does nothing: a sync that nobody made, a drive that lies. */
  readonly lies?: boolean;
  /** All power or this host is lost before the step, or after it if it `happens`. */
  readonly crash?: "power" | "host";
}

export interface DiskClock {
  now(): number;
  schedule(delayMs: number, action: () => void): void;
}

export class DiskError extends Error {
  readonly code: string;
  constructor(code: string, path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

export interface Node {
  readonly inode: number;
  readonly kind: "file" | "directory";
  /** What readers see. */
  bytes: Uint8Array;
  /** What survives. */
  durableBytes: Uint8Array;
  dirty: boolean;
  writer: string;
  links: number;
  modifiedMs: number;
  readonly entries: Map<string, Node>;
  durableEntries: Map<string, Node>;
}

/** A change of names; a rename is one change of two names. */
type NameChange = ReadonlyArray<{ directory: Node; name: string; node: Node | undefined }>;

/** One that is not durable yet. */
interface PendingChange {
  readonly number: number;
  readonly change: NameChange;
  readonly host: string;
  /** A sync of its host failed: no sync of that host will ever write it. */
  lost: boolean;
}

export class SimulatedDisk {
  readonly #random: () => number;
  readonly clock: DiskClock | undefined;
  readonly type: string;
  #nextInode = 1;
  /** In the order in which they were made. */
  readonly #pending = new Set<PendingChange>();
  readonly #pendingOf = new Map<Node, Set<PendingChange>>();
  #changes = 0;
  #steps = 0;
  #root: Node;
  readonly #hosts = new Map<string, SimulatedHost>();
  #onPowerLost: (() => void) | undefined;
  /** Room left; files give theirs back when their last name goes. */
  freeBytes: number;
  fault: ((step: DiskStep) => DiskFault | undefined) | undefined;
  /** Called for each host that has died, when the disk shows what is left. */
  onCrash: ((host: string) => void) | undefined;

  constructor(options: {
    /** Seeded, in [0, 1). */
    random: () => number;
    clock?: DiskClock;
    type?: string;
    freeBytes?: number;
  }) {
    this.#random = options.random;
    this.clock = options.clock;
    this.type = options.type ?? "ext";
    this.freeBytes = options.freeBytes ?? Number.MAX_SAFE_INTEGER;
    this.#root = this.newNode("directory", "");
  }

  get steps(): number {
    return this.#steps;
  }

  /** Changes of names that a loss of power may drop, each by itself. */
  get unsyncedNames(): number {
    return this.#pending.size;
  }

  /** The file system as one host sees it. A dead host's name may be used again: a restart. */
  host(name: string): SimulatedHost {
    const known = this.#hosts.get(name);
    if (known?.alive) return known;
    const host = new SimulatedHost(this, name);
    this.#hosts.set(name, host);
    return host;
  }

  /** Settles at the next loss of power. */
  powerLost(): Promise<void> {
    return new Promise((resolve) => {
      const before = this.#onPowerLost;
      this.#onPowerLost = () => {
        before?.();
        resolve();
      };
    });
  }

  crashHost(name: string): void {
    const host = this.#hosts.get(name);
    if (!host?.alive) return;
    host.kill();
    for (const pending of this.#pending) if (pending.host === name) pending.lost = false;
    this.#forEachNode((node) => {
      if (node.dirty && node.writer === name) {
        node.bytes = this.#tear(node);
      }
    });
    this.onCrash?.(name);
  }

  losePower(): void {
    const died = [...this.#hosts.values()].filter((host) => host.alive);
    for (const host of died) host.kill();
    const all = new Set<Node>();
    this.#forEachNode((node) => all.add(node));
    for (const { change } of this.#pending) {
      if (this.#random() < 0.5) apply(change, "durableEntries");
    }
    this.#pending.clear();
    this.#pendingOf.clear();
    for (const node of all) {
      node.bytes = node.dirty ? this.#tear(node) : node.durableBytes;
      node.durableBytes = node.bytes;
      node.dirty = false;
      node.entries.clear();
      for (const [name, child] of node.durableEntries) node.entries.set(name, child);
    }
    for (const node of all) node.links = 0;
    this.#forEachNode((node) => {
      for (const child of node.entries.values()) child.links++;
    });
    const notify = this.#onPowerLost;
    this.#onPowerLost = undefined;
    notify?.();
    for (const host of died) this.onCrash?.(host.name);
  }

  /** Bit rot: flips one bit of what is stored. */
  flipBit(path: string, byte: number, bit: number): void {
    const node = this.find(path);
    assert(node !== undefined && byte < node.bytes.length, "bit rot needs a byte to hit");
    node.bytes = node.bytes.slice();
    node.bytes[byte] ^= 1 << bit;
    node.durableBytes = node.bytes;
  }

  /** Paths of all files, sorted, as readers see them. */
  files(): string[] {
    const paths: string[] = [];
    const visit = (node: Node, path: string) => {
      if (node.kind === "file") paths.push(path);
      for (const [name, child] of node.entries) visit(child, `${path}/${name}`);
    };
    visit(this.#root, "");
    return paths.sort();
  }

  // What follows is for SimulatedHost.

  nextStep(step: Omit<DiskStep, "number">): DiskFault | undefined {
    const number = this.#steps++;
    return this.fault?.({ ...step, number });
  }

  find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of path.split("/")) {
      if (name === "" || name === ".") continue;
      if (node.kind !== "directory") throw new DiskError("ENOTDIR", path);
      node = node.entries.get(name);
      if (node === undefined) return undefined;
    }
    return node;
  }

  /** The directory that a path's last name is in, and that name. */
  place(path: string): { directory: Node; name: string } {
    const cut = path.lastIndexOf("/");
    const directory = this.find(path.slice(0, cut));
    if (directory === undefined) throw new DiskError("ENOENT", path);
    if (directory.kind !== "directory") throw new DiskError("ENOTDIR", path);
    return { directory, name: path.slice(cut + 1) };
  }

  newNode(kind: "file" | "directory", writer: string): Node {
    const empty = new Uint8Array(0);
    return {
      inode: this.#nextInode++,
      kind,
      bytes: empty,
      durableBytes: empty,
      dirty: false,
      writer,
      links: 0,
      modifiedMs: this.clock?.now() ?? 0,
      entries: new Map(),
      durableEntries: new Map(),
    };
  }

  change(change: NameChange, host: string): void {
    for (const { directory, name, node } of change) {
      const before = directory.entries.get(name);
      if (before !== undefined && --before.links === 0) this.freeBytes += before.bytes.length;
      if (node !== undefined) node.links++;
    }
    apply(change, "entries");
    const pending = { number: this.#changes++, change, host, lost: false };
    this.#pending.add(pending);
    for (const { directory } of change) {
      const ofDirectory = this.#pendingOf.get(directory) ?? new Set();
      this.#pendingOf.set(directory, ofDirectory.add(pending));
    }
  }

  write(node: Node, part: Uint8Array, path: string): void {
    if (part.length > this.freeBytes) throw new DiskError("ENOSPC", path);
    this.freeBytes -= part.length;
    node.bytes = node.bytes.length === 0 ? part.slice() : concatBytes([node.bytes, part]);
    node.dirty = true;
    node.modifiedMs = this.clock?.now() ?? 0;
  }

  syncNames(directory: Node, host: string): void {
    for (const pending of [...(this.#pendingOf.get(directory) ?? [])]) {
      if (pending.lost && pending.host === host) continue;
      apply(pending.change, "durableEntries");
      this.#settle(pending);
    }
  }

  /** It is durable, and what was lost of the same names before is past. */
  #settle(settled: PendingChange): void {
    this.#forget(settled);
    for (const { directory } of settled.change)
      for (const earlier of [...(this.#pendingOf.get(directory) ?? [])])
        if (
          earlier.number < settled.number &&
          earlier.change.some((one) => touches(settled.change, one))
        )
          this.#forget(earlier);
  }

  #forget(pending: PendingChange): void {
    this.#pending.delete(pending);
    for (const { directory } of pending.change) {
      const ofDirectory = this.#pendingOf.get(directory);
      ofDirectory?.delete(pending);
      if (ofDirectory?.size === 0) this.#pendingOf.delete(directory);
    }
  }

  /** A sync of the directory by this host failed. */
  loseNames(directory: Node, host: string): void {
    for (const pending of this.#pendingOf.get(directory) ?? [])
      if (pending.host === host) pending.lost = true;
  }

  syncBytes(node: Node): void {
    if (node.dirty) node.durableBytes = node.bytes;
    node.dirty = false;
  }

  /** What is left of unsynced bytes: those of before, all, a part, or a part and zeros. */
  #tear(node: Node): Uint8Array {
    const chance = this.#random();
    if (chance < 0.25) return node.durableBytes;
    if (chance < 0.5) return node.bytes;
    const cut = Math.floor(this.#random() * node.bytes.length);
    if (chance < 0.75) return node.bytes.slice(0, cut);
    return node.bytes.slice().fill(0, cut);
  }

  #forEachNode(visit: (node: Node) => void): void {
    const seen = new Set<Node>();
    const walk = (node: Node) => {
      if (seen.has(node)) return;
      seen.add(node);
      visit(node);
      for (const child of node.entries.values()) walk(child);
      for (const child of node.durableEntries.values()) walk(child);
    };
    walk(this.#root);
    for (const { change } of this.#pending) for (const { node } of change) if (node) walk(node);
  }
}

function touches(change: NameChange, { directory, name }: NameChange[number]): boolean {
  return change.some((one) => one.directory === directory && one.name === name);
}

function apply(change: NameChange, field: "entries" | "durableEntries"): void {
  for (const { directory, name, node } of change) {
    if (node === undefined) directory[field].delete(name);
    else directory[field].set(name, node);
  }
}

/** Faults by chance, for long runs: `rates` are per step; hits are EIO, ENOSPC or a delay. */
export function randomFaults(
  random: () => number,
  rates: { eio?: number; enospc?: number; delay?: number; delayMsMax?: number },
): (step: DiskStep) => DiskFault | undefined {
  const changes = new Set(["create", "write", "syncFile", "link", "syncDirectory"]);
  return ({ step }) => {
    if (!changes.has(step)) return undefined;
    const happens = step === "link" && random() < 0.5;
    if (random() < (rates.eio ?? 0)) return { code: "EIO", happens };
    if (step === "write" && random() < (rates.enospc ?? 0)) return { code: "ENOSPC" };
    if (random() >= (rates.delay ?? 0)) return undefined;
    return { delayMs: random() * (rates.delayMsMax ?? 100) };
  };
}
