// The page: what is chosen, what is under way, what came of it. What is shown of a run comes from the server alone.

import { get, post } from "./api.js";
import { Chooser } from "./chooser.js";
import { View, again, describe, removable, title } from "./view.js";

const $ = (id) => document.getElementById(id);
const state = { runs: [], ended: [], known: new Map(), shown: [], more: false, statuses: new Map() };

export function say(text) {
  $("said").textContent = "";
  requestAnimationFrame(() => { $("said").textContent = text; });
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { $("said").textContent = ""; }, 8000);
}

const attempt = async (work) => {
  try { return await work(); } catch (error) { if (error.name !== "AbortError") say(error.message); return null; }
};

function submitted() {
  const box = $("view");
  history.replaceState(null, "", location.pathname);  // what is under way is shown, or this one, where nothing is
  refresh();
  box.focus({ preventScroll: true });
  if (box.getBoundingClientRect().top > innerHeight / 2) box.scrollIntoView();  // on a phone it is below the form
}

const view = new View(attempt);
const chooser = new Chooser({ say, attempt, submitted });

// --- what is shown ---------------------------------------------------------------------------------------------

const chosen = () => /^#run=([0-9a-f]+)$/.exec(location.hash)?.[1];

function select(id) {
  history.replaceState(null, "", `#run=${id}`);
  refresh();
}

async function refresh() {
  const turn = refresh.turn = (refresh.turn ?? 0) + 1;
  const first = (test) => state.runs.find(test)?.id;
  const next = [first((r) => r.status === "running"), first((r) => r.status !== "waiting"), first(() => true), state.ended[0]];
  const run = await about(chosen()) ?? await about(next.find(Boolean));
  if (turn !== refresh.turn) return;  // somebody has chosen again meanwhile
  view.show(run);
  for (const item of document.querySelectorAll(".runs li")) item.setAttribute("aria-current", String(item.dataset.id === run?.id));
}

// What is told of a run, however old it is; null where there is none, or no answer.
async function about(id) {
  if (!id) return null;
  const known = state.runs.find((r) => r.id === id) ?? state.known.get(id);
  if (known) return known;
  try {
    const run = await get(`runs/${id}`);
    if (["done", "failed"].includes(run.status)) state.known.set(id, run);
    return run;
  } catch (error) {
    if (!(error instanceof TypeError) && id === chosen()) history.replaceState(null, "", location.pathname);  // it has gone
    return null;
  }
}

// --- lists -----------------------------------------------------------------------------------------------------

function item(run) {
  const li = document.createElement("li");
  li.dataset.id = run.id;
  const img = document.createElement("img");
  Object.assign(img, { loading: "lazy", alt: "", src: `runs/${run.id}/small?v=${run.latest}` });
  li.append(img);
  const p = document.createElement("p");
  p.textContent = title(run);
  const small = document.createElement("p");
  small.className = run.reason ? "bad" : "small";
  small.textContent = describe(run);
  const row = document.createElement("div");
  row.className = "row";
  const button = (text, label, work, kind = "") => {
    const b = document.createElement("button");
    Object.assign(b, { type: "button", textContent: text, className: kind });
    b.setAttribute("aria-label", `${label}: ${title(run)}`);
    b.addEventListener("click", work);
    row.append(b);
  };
  button("Show", "Show", () => { select(run.id); $("view").focus(); });
  if (run.status === "paused") button("Go on", "Go on", () => attempt(() => post(`runs/${run.id}/go-on`)));
  if (run.status === "failed") button("Try again", "Try again", () => again(run) && attempt(() => post(`runs/${run.id}/go-on`)));
  const link = (text, what) => {
    const a = document.createElement("a");
    Object.assign(a, { className: "button", href: `runs/${run.id}/${what}`, textContent: text, download: "" });
    a.setAttribute("aria-label", `${text}: ${title(run)}`);
    row.append(a);
  };
  if (run.picture) link("Download", "picture");
  if (run.report) link("Report", "report");
  if (run.status !== "running") {
    button("Remove", "Remove", () => removable(run) && attempt(async () => {
      await post(`runs/${run.id}/remove`);
      if (chosen() === run.id) history.replaceState(null, "", location.pathname);
      await renew();
    }), "quiet");
  }
  li.append(p, small, row);
  return li;
}

function list(name, runs) {
  const box = $(`${name}-list`), text = JSON.stringify(runs.map((r) => ({ ...r, evaluation: 0, loss: 0, seconds: 0, latest: 0 })));
  $(`${name}-empty`).hidden = runs.length > 0;
  if (box.dataset.text === text) return;
  const focused = document.activeElement?.closest?.("li")?.dataset.id, label = document.activeElement?.textContent;
  box.dataset.text = text;
  box.replaceChildren(...runs.map(item));
  if (focused && !document.activeElement?.closest?.("li")) {  // the keyboard's place stays
    const again = [...box.querySelectorAll(`li[data-id="${focused}"] button`)].find((b) => b.textContent === label);
    again?.focus();
  }
}

async function renew() {
  let runs = [], page;
  do {  // as many as were shown
    page = await attempt(() => get(`history?after=${runs.at(-1)?.id ?? ""}`));
    if (!page) return;
    runs = [...runs, ...page.runs];
  } while (page.more && runs.length < state.shown.length);
  state.shown = runs;
  state.known = new Map(runs.map((r) => [r.id, r]));
  $("more").hidden = !page.more;
  list("history", state.shown);
}

$("more").addEventListener("click", () => attempt(async () => {
  const page = await get(`history?after=${state.shown[state.shown.length - 1].id}`);
  state.shown = [...state.shown, ...page.runs];
  $("more").hidden = !page.more;
  list("history", state.shown);
}));

// --- what the server tells -------------------------------------------------------------------------------------

function announce(data) {
  const now = new Map([...data.runs.map((r) => [r.id, r.status]), ...data.ended.map((id) => [id, "ended"])]);
  for (const [id, status] of now) {
    const before = state.statuses.get(id), run = data.runs.find((r) => r.id === id) ?? state.known.get(id);
    if (!before || before === status || !run) continue;
    say(`${title(run)}: ${{ running: "begun", paused: "paused", waiting: "waits", ended: run.reason || "done" }[status]}`);
  }
  state.statuses = now;
}

async function hear(data) {
  const ended = data.ended.join() !== state.ended.join();
  Object.assign(state, data);
  $("lost").hidden = !data.trouble;
  $("lost").textContent = data.trouble;
  list("queue", state.runs);
  if (ended || !renew.done) { renew.done = true; await renew(); }
  announce(data);
  refresh();
}

// A browser keeps no more than six connections to one address, for all its tabs: one that nobody looks at lets its stream
// go after each word, and asks again now and then.
const HIDDEN = 10_000;  // ms
let events = null, later = 0, heard = Promise.resolve();

function listen() {
  clearTimeout(later);
  events?.close();
  const own = events = new EventSource("events");
  own.addEventListener("message", (event) => {
    heard = heard.then(() => attempt(() => hear(JSON.parse(event.data))));  // one word after the other
    if (document.hidden) rest();
  });
  own.addEventListener("error", () => {
    $("lost").textContent = own.readyState === EventSource.CLOSED
      ? "This page's program has ended, or was started anew: open the address that it printed."
      : "No answer from the program; trying again …";
    $("lost").hidden = false;
  });
}

function rest() {
  clearTimeout(later);
  events.close();
  later = setTimeout(listen, HIDDEN);
}

document.addEventListener("visibilitychange", () => (document.hidden ? rest() : listen()));
listen();
window.addEventListener("hashchange", refresh);
attempt(async () => chooser.know(await get("about")));
