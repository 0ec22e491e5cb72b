/**
 * The answers of a vote as they travel: runs of equal answers, each a number whose lowest two bits are
 * the answer and the rest how many ranks in a row have it, seven bits a byte, lowest first. Nearly all
 * ranks have the same answer in nearly all votes, so that a vote is as short with 40,000 members as
 * with 40, and what a rank receives in a round grows as the members do, not as their square. Never
 * longer than a byte a rank.
 */

/** No run is longer than what is counted in four bytes. */
const BYTES_A_RUN_MAX = 4;

export function encodeAnswers(answers: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let from = 0; from < answers.length; ) {
    const answer = answers[from];
    let to = from + 1;
    while (to < answers.length && answers[to] === answer) to++;
    let rest = ((to - from) << 2) | answer;
    for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
    out.push(rest);
    from = to;
  }
  return Uint8Array.from(out);
}

/** Undefined where these are not the answers of `ranks` ranks, encoded as above. */
export function decodeAnswers(runs: Uint8Array, ranks: number): Uint8Array | undefined {
  if (runs.length > ranks) return undefined;
  const answers = new Uint8Array(ranks);
  let before = -1;
  let from = 0;
  for (let at = 0; at < runs.length; ) {
    let run = 0;
    let bytes = 0;
    for (;;) {
      if (at === runs.length || bytes === BYTES_A_RUN_MAX) return undefined;
      const byte = runs[at++];
      run |= (byte & 0x7f) << (7 * bytes++);
      if (byte >= 0x80) continue;
      // Each list of answers has one encoding.
      if (byte === 0 && bytes > 1) return undefined;
      break;
    }
    const answer = run & 3;
    const to = from + (run >>> 2);
    if (answer === 3 || answer === before || to === from || to > ranks) return undefined;
    answers.fill(answer, from, to);
    before = answer;
    from = to;
  }
  return from === ranks ? answers : undefined;
}
