/** SVG charts: well-formed, and everything that is there is drawn. */
import { expect, test } from "bun:test";
import { renderChart } from "../../../src/cli/chart.ts";

test("a chart is well-formed, and has a point for each value that there is", () => {
  const svg = renderChart({
    ...{ title: "a < b & c", subtitle: "", axis: { title: "ranks", values: [16, 100, 40_000] } },
    panels: [
      {
        ...{ title: "t", unit: "u", scale: "logarithmic" },
        series: [
          { name: "s", values: [1, undefined, 1e6] },
          { name: "guide", values: [1, 2, 3], isGuide: true },
        ],
      },
      { title: "zeros", unit: "u", scale: "linear", series: [{ name: "z", values: [0, 0, 0] }] },
    ],
  });
  expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  expect(svg).toContain("a &lt; b &amp; c");
  expect(svg.match(/<circle /g)).toHaveLength(5);
  expect(svg.match(/<polyline /g)).toHaveLength(3);
  const open = svg.match(/<(svg|g|text)\b/g)!.length;
  expect(svg.match(/<\/(svg|g|text)>/g)).toHaveLength(open);
});

test("kinds have names and are not joined; a range is drawn as a line, and zero fits the axis", () => {
  const kinds = renderChart({
    ...{ title: "t", subtitle: "", axis: { title: "kind", values: [1, 2], names: ["off", "on"] } },
    panels: [
      {
        ...{ title: "t", unit: "u", scale: "linear" },
        series: [{ name: "s", values: [1, 2], ranges: [[0.5, 3], undefined] }],
      },
    ],
  });
  expect(kinds).toContain(">off</text>");
  expect(kinds).not.toContain("<polyline");
  const lines = (svg: string) => svg.match(/<line /g)!.length;
  const plain = renderChart({
    ...{ title: "t", subtitle: "", axis: { title: "bits", values: [0, 12] } },
    panels: [{ title: "t", unit: "u", scale: "linear", series: [{ name: "s", values: [1, 3] }] }],
  });
  expect(plain).not.toMatch(/NaN|Infinity|undefined/);
  expect(lines(kinds)).toBe(lines(plain) + 1);
});
