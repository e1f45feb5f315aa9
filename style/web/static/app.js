// The page: what is chosen, what is under way, what came of it. What is shown of a run comes from the server alone.

import { get, post } from "./api.js";
import { Chooser } from "./chooser.js";
import { View, describe, removable, title } from "./view.js";

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
  history.replaceState(null, "", "/");  // what is under way is shown, or this one, where nothing is
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
  const find = (test) => state.runs.find(test)?.id;
  const id = [chosen(), find((r) => r.status === "running"), find((r) => r.status !== "waiting"), find(() => true), state.ended[0]]
    .find((one) => one && (state.runs.some((r) => r.id === one) || state.ended.includes(one)));
  if (!id) return view.show(null);
  let run = state.runs.find((r) => r.id === id);
  if (!run) {
    const kept = state.known.get(id);
    run = kept ?? await attempt(() => get(`/runs/${id}`));
    if (run) state.known.set(id, run);
  }
  view.show(run);
  for (const item of document.querySelectorAll(".runs li")) item.setAttribute("aria-current", String(item.dataset.id === id));
}

// --- lists -----------------------------------------------------------------------------------------------------

function item(run) {
  const li = document.createElement("li");
  li.dataset.id = run.id;
  const img = document.createElement("img");
  Object.assign(img, { loading: "lazy", alt: "", src: `/runs/${run.id}/small?v=${run.latest}` });
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
  if (run.status === "paused") button("Go on", "Go on", () => attempt(() => post(`/runs/${run.id}/go-on`)));
  if (run.status === "failed") button("Try again", "Try again", () => attempt(() => post(`/runs/${run.id}/go-on`)));
  const link = (text, what) => {
    const a = document.createElement("a");
    Object.assign(a, { className: "button", href: `/runs/${run.id}/${what}`, textContent: text, download: "" });
    a.setAttribute("aria-label", `${text}: ${title(run)}`);
    row.append(a);
  };
  if (run.picture) link("Download", "picture");
  if (run.report) link("Report", "report");
  if (run.status !== "running") {
    button("Remove", "Remove", () => removable(run) && attempt(async () => {
      await post(`/runs/${run.id}/remove`);
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
  const page = await attempt(() => get("/history"));
  if (!page) return;
  state.shown = page.runs;
  state.known = new Map(page.runs.map((r) => [r.id, r]));
  $("more").hidden = !page.more;
  list("history", state.shown);
}

$("more").addEventListener("click", () => attempt(async () => {
  const page = await get(`/history?after=${state.shown[state.shown.length - 1].id}`);
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

const events = new EventSource("/events");
events.addEventListener("message", async (event) => {
  const data = JSON.parse(event.data), ended = data.ended.join() !== state.ended.join();
  Object.assign(state, data);
  $("lost").hidden = !data.trouble;
  $("lost").textContent = data.trouble;
  list("queue", state.runs);
  if (ended || !renew.done) { renew.done = true; await renew(); }
  announce(data);
  refresh();
});
events.addEventListener("error", () => {
  $("lost").textContent = events.readyState === EventSource.CLOSED
    ? "This page's program has ended, or was started anew: open the address that it printed."
    : "No answer from the program; trying again …";
  $("lost").hidden = false;
});

window.addEventListener("hashchange", refresh);
if (location.search) history.replaceState(null, "", `/${location.hash}`);  // the token leaves the address
attempt(async () => chooser.know(await get("/about")));
