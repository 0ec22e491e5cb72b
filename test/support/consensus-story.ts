/**
 * Runs a story about the consensus core: commands that make a cluster, disturb it and let time
 * pass, and what the ranks did as lines of text. A block of commands ends with `----`; what follows
 * up to a blank line is the output expected. Commands: README.md beside the stories.
 */
import type {
  Effect,
  Input,
  ProposalName,
  RoundSettlement,
  StorageOn,
} from "../../src/consensus/effects.ts";
import { checkSafety } from "./consensus-checks.ts";
import { Cluster } from "./consensus-cluster.ts";
import { type Epoch, incarnationOf, OUTSIDER } from "./consensus-log.ts";
import { DELAYS, type Delays, type Member, type Message } from "./consensus-parts.ts";

type Options = Record<string, string>;
interface Rule {
  readonly kinds: readonly string[];
  readonly options: Options;
  /** Undefined: lost. */
  readonly ms: number | undefined;
}

const ANSWERS = ["⊥", "N", "Y"];
const lists = (list: string | undefined, item: number) =>
  list === undefined || list.split(",").includes(String(item));
const numbers = (list: string | undefined) => (list ? list.split(",").map(Number) : []);

class Story {
  private cluster = new Cluster({ ranks: 1 });
  private rules: Rule[] = [];
  private slow = new Map<string, number>();
  private lines: string[] = [];
  /** What happens in the same millisecond in the same words is told once, for all who did it. */
  private moment = new Map<string, number[]>();
  private momentAt = 0;

  run(commands: readonly string[]): string[] {
    this.lines = [];
    for (const command of commands) this.command(command);
    this.flush();
    return this.lines;
  }

  finish(): void {
    checkSafety(this.cluster);
  }

  private command(text: string): void {
    const [verb, ...words] = text.split(/\s+/);
    const options: Options = {};
    const plain: string[] = [];
    for (const word of words) {
      const [key, value] = word.split("=");
      if (value === undefined) plain.push(word);
      else options[key] = value;
    }
    const { cluster } = this;
    const each = (act: (rank: number) => void) => {
      for (const word of plain) if (/^\d+$/.test(word)) act(Number(word));
    };
    switch (verb) {
      case "cluster":
        return this.begin(options);
      case "lose":
        return void this.rules.unshift({ kinds: plain, options, ms: undefined });
      case "late":
        return void this.rules.unshift({ kinds: plain, options, ms: Number(options.by) });
      case "heal":
        this.rules = [];
        return;
      case "slow":
        return void this.slow.set(`${plain[0]} ${options.rank}`, Number(options.ms));
      case "judge":
        cluster.verdict = (rank, _round, author) =>
          lists(options.rank, rank) && author === Number(options.author)
            ? (options.says as "no")
            : "yes";
        return;
      case "lie":
        cluster.twin = (author, _round, to) =>
          author === Number(options.author) && lists(options.to, to);
        return;
      case "demand":
        return each((rank) => cluster.input(rank, { type: "demand" }));
      case "ring":
        return each((rank) => cluster.input(rank, { type: "ring", round: Number(options.round) }));
      case "poll":
        return each((rank) => cluster.input(rank, { type: "poll" }));
      case "crash":
        return each((rank) => cluster.crash(rank));
      case "die":
        return each((rank) => {
          const when = { "before-link": "link", "after-link": "linked", "after-pull": "pulled" };
          cluster.members[rank].dieAt = when[plain.at(-1) as "after-link"] as Member["dieAt"];
        });
      case "storage":
        return each((rank) => {
          cluster.members[rank].storageOff = plain.includes("off");
        });
      case "corrupt":
        return each((rank) => {
          cluster.members[rank].corrupt = true;
        });
      case "suspect":
        // Who comes after `by=` takes the whole list for dead or silent from now on.
        for (const rank of numbers(options.by))
          cluster.input(rank, { type: "suspects", ranks: plain.map(Number) });
        return;
      case "alert":
        return each((rank) => cluster.input(rank, { type: "alert" }));
      case "change":
        return each((rank) => {
          const admit = numbers(options.admit).map(incarnationOf);
          cluster.input(rank, { type: "change", evict: numbers(options.evict), admit });
        });
      case "newcomer":
        return this.say(`process ${cluster.addProcess().rank} starts, and is in no epoch`);
      case "outsider": {
        const { slot, hash } = cluster.records.head;
        const kind = plain[0] as "SEAL" | "INTENT";
        const draft = { slot: slot + 1, prevHash: hash, kind, author: OUTSIDER, settlement: [] };
        const linked = cluster.link({ ...draft, answered: [] }) !== undefined;
        return this.say(
          `an outsider ${linked ? "links" : "fails to link"} ${kind} at slot ${slot + 1}`,
        );
      }
      case "run":
        if (plain[0] === "on") return this.runOn();
        cluster.run(cluster.now + Number(plain[0]));
        return;
      case "log":
        return this.tellLog();
      default:
        throw new Error(`no such command: ${text}`);
    }
  }

  private begin({ ranks, depth = "2", storage = "alert", minority = "on" }: Options): void {
    const delay = (part: keyof Delays, rank: number) =>
      this.slow.get(`${part} ${rank}`) ?? DELAYS[part](rank, 0);
    const cluster = new Cluster({
      ranks: Number(ranks),
      depth: Number(depth),
      storageOn: storage as StorageOn,
      minoritySeals: minority === "on",
      delays: {
        mine: (rank) => delay("mine", rank),
        validate: (rank) => delay("validate", rank),
        link: (rank) => delay("link", rank),
        sync: (rank) => delay("sync", rank),
        read: (rank) => delay("read", rank),
        regroup: (rank) => delay("regroup", rank),
      },
    });
    cluster.network = (message) => this.deliver(message);
    cluster.onEffect = (rank, effect, cause) => this.tell(rank, effect, cause);
    cluster.onNote = (rank, text) => this.act(rank, text);
    cluster.onEpoch = (rank, epoch) =>
      this.act(rank, `is in epoch ${epoch.number}, of ${epoch.processes.join(" ")}`);
    this.cluster = cluster;
  }

  private runOn(): void {
    const { cluster } = this;
    const settled = cluster.run(cluster.now + 5000, () => cluster.quiet());
    this.flush();
    this.lines.push(settled ? "all is settled" : "something is still open");
  }

  private deliver(message: Message): number | undefined {
    const { kind, from, to, round } = message;
    const rule = this.rules.find(
      ({ kinds, options }) =>
        (kinds.includes(kind) || kinds.includes("all")) &&
        lists(options.from, from) &&
        lists(options.to, to) &&
        lists(options.round, round),
    );
    if (rule === undefined) return 1;
    if (rule.ms === undefined && kind !== "pull" && kind !== "seal-pull")
      this.say(`(lost: ${kind} ${from} → ${to})`);
    return rule.ms;
  }

  // What is told.

  private say(text: string): void {
    this.flush();
    this.lines.push(`${this.time()}  ${text}`);
  }

  private act(rank: number, text: string): void {
    if (this.momentAt !== this.cluster.now) this.flush();
    this.momentAt = this.cluster.now;
    const ranks = this.moment.get(text);
    if (ranks === undefined) this.moment.set(text, [rank]);
    else ranks.push(rank);
  }

  private time(at = this.cluster.now): string {
    return String(at).padStart(5);
  }

  private flush(): void {
    const agreed = new Map<string, string[]>();
    for (const [text, ranks] of this.moment) {
      const who = ranks.sort((a, b) => a - b).join(" ");
      const match = /^agrees on (\S+) in (round \d+)$/.exec(text);
      if (match === null) this.lines.push(`${this.time(this.momentAt)}  ${who}: ${text}`);
      else {
        const key = `${who}: ${match[2]}`;
        agreed.set(key, [...(agreed.get(key) ?? []), match[1]]);
      }
    }
    for (const [key, names] of agreed) {
      const [who, round] = key.split(": ");
      this.lines.push(
        `${this.time(this.momentAt)}  ${who}: agreed in ${round}: ${names.join(" ")}`,
      );
    }
    this.moment.clear();
  }

  private name({ rank, hash }: ProposalName, round: number, epoch: Epoch): string {
    return hash === this.cluster.proposalHash(epoch, rank, round) ? String(rank) : `${rank}'`;
  }

  private names(list: readonly ProposalName[], round: number, epoch: Epoch): string {
    return list.map((name) => this.name(name, round, epoch)).join(" ") || "nothing";
  }

  private rounds(settlement: readonly RoundSettlement[], epoch: Epoch): string {
    const rounds = settlement.map(({ round, included, lost, votes }) => {
      const without = lost.length > 0 ? `, ${this.names(lost, round, epoch)} lost` : "";
      const voters = votes.map((vote) => vote.rank).join(" ");
      return `: round ${round} with ${this.names(included, round, epoch)}${without}, votes of ${voters}`;
    });
    return rounds.join("");
  }

  private tell(rank: number, effect: Effect, cause: Input): void {
    const text = this.words(rank, effect, cause);
    if (text !== undefined) this.act(rank, text);
  }

  private words(rank: number, effect: Effect, cause: Input): string | undefined {
    const { epoch } = this.cluster.members[rank].parts.at(-1)!;
    switch (effect.type) {
      case "mine":
        return `mines round ${effect.round}`;
      case "propose":
        return `proposes in round ${effect.round}`;
      case "validate":
        return undefined;
      case "vote": {
        const { round, answers } = effect.vote;
        const asked = cause.type === "pull" || cause.type === "seal-pull" ? ", as asked" : "";
        return `votes ${[...answers].map((a) => ANSWERS[a]).join("")} in round ${round}${asked}`;
      }
      case "skip-vote":
        return `no longer votes in round ${effect.round}`;
      case "send-vote":
        return `opens its vote of round ${effect.vote.round} to ${effect.to}`;
      case "send-pull": {
        const { round, force, bodies } = effect.pull;
        const what = bodies.length > 0 ? `body of ${this.names(bodies, round, epoch)}` : "vote";
        return `asks ${effect.to.join(" ")} for the ${what} in round ${round}${force ? ", at once" : ""}`;
      }
      case "send-body":
        return `hands ${effect.to} the body of ${this.name(effect.name, effect.round, epoch)}`;
      case "discard":
        return `throws away its bad copy of ${this.name(effect.name, effect.round, epoch)}`;
      case "send-decided":
        return `tells ${effect.to} of slot ${effect.decided.slot}`;
      case "agreed":
        return `agrees on ${this.name(effect.name, effect.round, epoch)} in round ${effect.round}`;
      case "send-seal-pull": {
        const { pull, to } = effect;
        return `pulls ${to.join(" ")} for a SEAL${changeWords(pull)}`;
      }
      case "send-seal-answer": {
        const { lastVoted } = effect.answer;
        return `answers ${effect.to}, frozen: voted up to round ${lastVoted}`;
      }
      case "link": {
        const what = `appends ${effect.kind} at slot ${effect.slot}`;
        if (effect.kind === "INTENT") return `${what}: ${effect.answered.join(" ")} answered`;
        const rounds = this.rounds(effect.settlement, epoch);
        if (effect.kind !== "SEAL") return `${what}${rounds}`;
        return `${what}${changeWords(effect)}, answers of ${effect.answers.join(" ")}${rounds}`;
      }
      case "read":
        return `reads slot ${effect.slot}`;
      case "finalize": {
        const rounds = effect.rounds.map(
          ({ round, order }) => `, round ${round} is ${this.names(order, round, epoch)}`,
        );
        const how = { linked: " (linked)", record: " (read)", decided: " (told)" };
        const by = how[cause.type as "linked"] ?? ` (told, now clear)`;
        return `final: slot ${effect.slot}${rounds.join("")}${by}`;
      }
      case "returned":
        return `takes back its proposal of round ${effect.round}${effect.rejected ? ", rejected" : ""}`;
      case "sealed":
        return `leaves its epoch: sealed by slot ${effect.slot}`;
      case "halt":
        return `halts: ${effect.code}, ${effect.reason}`;
    }
    return `${rank} ${(effect as Effect).type}`;
  }

  private tellLog(): void {
    this.flush();
    for (const { slot, kind, author, settlement, epoch } of this.cluster.log()) {
      const rounds = settlement.map(
        ({ round, included }) => `, round ${round}: ${this.names(included, round, epoch)}`,
      );
      const by = author < 0 ? "an outsider" : `rank ${author}`;
      this.lines.push(`slot ${slot}: ${kind} by ${by}${rounds.join("")}`);
    }
  }
}

function changeWords({ evict, admit }: { evict: readonly number[]; admit: readonly string[] }) {
  const without = evict.length > 0 ? ` without ${evict.join(" ")}` : "";
  const added = admit.map((incarnation) => Number.parseInt(incarnation, 16)).join(" ");
  return `${without}${added ? ` with process ${added}` : ""}`;
}

/** Runs all blocks of a story and returns it with the output as it is. */
export function tellStory(text: string): string {
  const story = new Story();
  const told: string[] = [];
  let commands: string[] = [];
  let inOutput = false;
  for (const line of text.split("\n")) {
    if (inOutput && line !== "") continue;
    inOutput = false;
    told.push(line);
    if (line === "----") {
      told.push(...story.run(commands));
      commands = [];
      inOutput = true;
    } else if (line !== "" && !line.startsWith("#")) commands.push(line);
  }
  story.finish();
  return told.join("\n");
}
