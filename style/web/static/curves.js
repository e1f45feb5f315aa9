// The loss and its parts over the evaluations, as SVG: logarithmic upwards, a thin line where a finer scale begins.

const H = 220, LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 40;
const LINES = [["loss", 2, "one"], ["content", 3, "two"], ["style", 4, "three"]];

const element = (name, attributes = {}, text = "") => {
  const found = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
  found.textContent = text;
  return found;
};

const short = (v) => v === 0 ? "0" : Number(v).toExponential(0).replace("e+", "e");

export function draw(box, points) {
  box.replaceChildren();
  const W = Math.max(300, box.clientWidth);  // so that its letters are of the page's size
  if (points.length < 2) return;
  const values = points.flatMap((p) => [p[2], p[3], p[4]]).filter((v) => v > 0);
  const low = Math.log10(Math.min(...values)), high = Math.max(Math.log10(Math.max(...values)), low + 0.1);
  const last = points[points.length - 1][0];
  const x = (n) => LEFT + (W - LEFT - RIGHT) * n / last;
  const y = (v) => TOP + (H - TOP - BOTTOM) * (high - Math.log10(v)) / (high - low);
  const first = points[0], end = points[points.length - 1];
  const svg = element("svg", {
    viewBox: `0 0 ${W} ${H}`, role: "img",
    "aria-label": `Loss ${first[2].toPrecision(3)} at evaluation ${first[0]}, ${end[2].toPrecision(3)} at ${end[0]}`,
  });
  for (let k = Math.ceil(low); k <= high; k++) {
    svg.append(element("line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: y(10 ** k), y2: y(10 ** k) }));
    svg.append(element("text", { x: LEFT - 6, y: y(10 ** k) + 4, "text-anchor": "end" }, short(10 ** k)));
  }
  points.forEach((p, k) => {
    if (k && p[1] !== points[k - 1][1]) {
      svg.append(element("line", { class: "axis", x1: x(p[0]), x2: x(p[0]), y1: TOP, y2: H - BOTTOM }));
    }
  });
  LINES.forEach(([name, column, kind], k) => {
    const shown = points.filter((p) => p[column] > 0);
    if (!shown.length) return;
    const d = shown.map((p, i) => `${i ? "L" : "M"}${x(p[0]).toFixed(1)} ${y(p[column]).toFixed(1)}`).join("");
    svg.append(element("path", { class: kind, d }));
    svg.append(element("line", { class: kind, x1: LEFT + 90 * k, x2: LEFT + 90 * k + 28, y1: H - 8, y2: H - 8, "stroke-width": 2 }));
    svg.append(element("text", { x: LEFT + 90 * k + 34, y: H - 4 }, name));
  });
  svg.append(element("text", { x: W - RIGHT, y: H - BOTTOM + 16, "text-anchor": "end" }, `evaluation ${last}`));
  box.append(svg);
}
