// One run: its picture as it grows, how far it is, its curves, and what can be done with it.

import { get, post } from "./api.js";
import { duration } from "./chooser.js";
import { draw } from "./curves.js";

const $ = (id) => document.getElementById(id);
const STATUS = { waiting: "waits", running: "is being painted", paused: "paused", done: "done", failed: "failed" };
const WISH = { pause: "pausing …", stop: "stopping …", remove: "being removed …" };

export function title(run) {
  const [content, ...styles] = run.names;
  return `${content ?? "?"} in the manner of ${styles.join(", ") || "?"}`;
}

export const again = (run) => !run.picture || confirm(`Try again, and give up the picture that there is?\n${title(run)}`);
export const removable = (run) => !run.picture || confirm(`Remove this picture for good?\n${title(run)}`);

export function describe(run) {
  if (run.reason) return run.reason;
  const o = run.options, last = run.stages[run.scale - 1] ?? run.stages[run.stages.length - 1];
  const parts = [WISH[run.wish] ?? STATUS[run.status], `strength ${o.strength ?? 0.5}`, run.preset];
  parts.push(last && run.status !== "waiting" ? last.size.join(" × ") : `${o.size ?? 512} pixels`);
  if (run.from) parts.push("from an earlier picture");
  return parts.filter(Boolean).join(" · ");
}

export class View {
  constructor(attempt) {
    Object.assign(this, { attempt, run: null, points: [], next: 0, loading: false, asking: false });
    for (const b of document.querySelectorAll("#controls [data-do]")) {
      b.addEventListener("click", () => {
        const run = this.run, what = b.dataset.do;
        if (!(({ remove: removable, "go-on": again })[what]?.(run) ?? true)) return;
        attempt(async () => {
          await post(`runs/${run.id}/${what}`);
          if (what === "remove") history.replaceState(null, "", location.pathname);  // another one is shown
        });
      });
    }
    $("compare").addEventListener("input", () => this.compare());
    $("other").addEventListener("input", () => { $("other-value").textContent = $("other").value; });
    $("vary").addEventListener("submit", (e) => {
      e.preventDefault();
      attempt(async () => {
        const { id } = await post(`runs/${this.run.id}/vary`, { strength: Number($("other").value) });
        location.hash = `#run=${id}`;
      });
    });
  }

  show(run) {
    document.title = "minivgg-style";
    const other = run?.id !== this.run?.id || (this.run?.status === "failed" && run.status !== "failed");
    this.run = run;
    $("empty").hidden = Boolean(run);
    $("shown").hidden = !run;
    if (!run) return;
    if (other) this.begin(run);
    $("what").textContent = `${title(run)}: ${describe(run)}`;
    this.controls(run);
    this.progress(run);
    this.picture(run);
    this.curves(run);
  }

  begin(run) {
    Object.assign(this, { points: [], next: 0, version: null });
    $("latest").removeAttribute("src");
    $("before").src = `runs/${run.id}/pictures/content`;
    $("compare").value = 0;
    $("other").value = run.options.strength ?? 0.5;
    $("other-value").textContent = $("other").value;
    draw($("curves"), []);
    this.compare();
  }

  controls(run) {
    const can = {
      pause: ["running", "waiting"].includes(run.status) && run.wish !== "pause",
      "go-on": ["paused", "failed"].includes(run.status) || run.wish === "pause",
      stop: ["running", "paused"].includes(run.status) && run.latest && run.wish !== "stop",
      remove: true,
    };
    for (const b of document.querySelectorAll("#controls [data-do]")) b.hidden = !can[b.dataset.do];
    document.querySelector('[data-do="go-on"]').textContent = run.status === "failed" ? "Try again" : "Go on";
    $("frame").hidden = !run.latest;
    $("download").hidden = !run.picture;
    $("download").href = `runs/${run.id}/picture`;
    $("report").hidden = !run.report;
    $("report").href = `runs/${run.id}/report`;
    $("vary").hidden = !run.latest || run.status === "failed" || run.follows;
    $("curves-box").hidden = !run.evaluation;
    $("compare-field").hidden = !run.latest;
  }

  progress(run) {
    const stages = run.stages, work = stages.map((s) => s.size[0] * s.size[1] * s.evaluations);
    const total = work.reduce((a, b) => a + b, 0);
    const before = stages.slice(0, Math.max(0, run.scale - 1)).reduce((n, s) => n + s.evaluations, 0);
    const stage = stages[run.scale - 1];
    $("progress-field").hidden = !stage || run.status === "done";
    if (!stage) { $("left").textContent = run.status === "running" ? "Preparing …" : ""; return; }
    const here = Math.min(run.evaluation - before, stage.evaluations);
    const done = work.slice(0, run.scale - 1).reduce((a, b) => a + b, 0) + here * stage.size[0] * stage.size[1];
    $("progress").value = total ? done / total : 0;
    if (run.status === "running") document.title = `${Math.round(100 * $("progress").value)} % · minivgg-style`;
    const left = done && run.seconds ? run.seconds * (total - done) / done : 0;
    const where = `scale ${run.scale} of ${stages.length}, ${stage.size.join(" × ")}: evaluation ${here} of ${stage.evaluations}`;
    $("left").textContent = run.status === "done"
      ? `${run.evaluation} evaluations in ${duration(run.seconds)}`
      : `${where}${run.status === "running" && run.evaluation > 3 ? `; about ${duration(left)} left` : ""}`;
  }

  picture(run) {
    if (!run.latest || this.loading || this.version === run.latest) return;
    const next = new Image(), id = run.id;
    this.loading = true;
    this.version = run.latest;
    next.onload = next.onerror = () => {
      this.loading = false;
      if (this.run?.id !== id) return this.run && this.picture(this.run);
      if (next.naturalWidth) {
        $("latest").src = next.src;
        $("latest").alt = `${title(run)}, after ${run.evaluation} evaluations`;
      }
      if (this.run.latest !== this.version) this.picture(this.run);
    };
    next.src = `runs/${id}/latest?v=${run.latest}`;
  }

  compare() {
    const part = Number($("compare").value);
    $("before").hidden = part === 0;
    $("before").style.clipPath = `inset(0 ${100 - part}% 0 0)`;
  }

  async curves(run) {
    if (this.asking || !run.evaluation || this.points.at(-1)?.[0] === run.evaluation) return;
    this.asking = true;
    for (let more = true; more;) {  // a log may be longer than an answer
      const found = await this.attempt(() => get(`runs/${run.id}/points?start=${this.next}`));
      if (!found || this.run?.id !== run.id) break;
      this.points = found.start === 0 ? found.points : [...this.points, ...found.points];
      more = found.next > this.next && this.points.at(-1)?.[0] < run.evaluation;
      this.next = found.next;
      draw($("curves"), this.points);
    }
    this.asking = false;
    if (this.run && this.run.id !== run.id) this.curves(this.run);  // chosen meanwhile
  }
}
