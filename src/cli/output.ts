/**
 * How every command speaks: data to stdout, everything else to stderr, errors as one sentence that
 * begins with "baash:". Numbers for people have thin groups; `--json` prints one object.
 */

/** Writes all of it, also into a slow pipe; Bun cuts what is still buffered at exit. */
export async function print(text: string): Promise<void> {
  await Bun.write(Bun.stdout, text.endsWith("\n") ? text : `${text}\n`);
}

export function printJson(value: unknown): Promise<void> {
  return print(JSON.stringify(value, null, 2));
}

/** "name   value" lines; rows with an undefined value are left out. */
export function describe(
  rows: readonly (readonly [string, string | number | undefined])[],
): string {
  const shown = rows.filter(([, value]) => value !== undefined);
  const width = Math.max(0, ...shown.map(([name]) => Bun.stringWidth(name)));
  return shown
    .map(([name, value]) => {
      const pad = " ".repeat(width - Bun.stringWidth(name));
      return `${name}${pad}  ${typeof value === "number" ? groups(value) : value}\n`;
    })
    .join("");
}

/** 1234567 → "1 234 567". */
export function groups(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, " ");
}

export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return unit === 0 ? `${bytes} B` : `${value.toFixed(1)} ${units[unit]}`;
}

/** Columns of words to the left, of numbers to the right; the first row is the head. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => row[i].length)));
  const isText = (i: number) => rows.slice(1).every((row) => /^(\p{L}|$)/u.test(row[i]));
  const cell = (words: string, i: number) =>
    isText(i) ? words.padEnd(widths[i]) : words.padStart(widths[i]);
  return rows.map((row) => `${row.map(cell).join("  ").trimEnd()}\n`).join("");
}
