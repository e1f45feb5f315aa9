// The form: pictures chosen or dropped, options, and what it will take before it begins.

import { post, send } from "./api.js";

const $ = (id) => document.getElementById(id);
const sized = ([w, h]) => `${w} × ${h}`;
const megabytes = (n) => n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.round(n / 1e6)} MB`;

export function duration(s) {
  if (s < 90) return `${Math.max(1, Math.round(s))} s`;
  return s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
}

export class Chooser {
  constructor({ say, attempt, submitted }) {
    Object.assign(this, { say, attempt, submitted, content: [], styles: [], limits: { bytes: 64e6, styles: 8 }, asking: null });
    for (const to of ["content", "styles"]) {
      const input = $(`${to}-file`), box = document.querySelector(`[data-drop="${to}"]`);
      input.addEventListener("change", () => { this.take(to, [...input.files]); input.value = ""; });
      for (const kind of ["dragover", "dragenter"]) {
        box.addEventListener(kind, (e) => { e.preventDefault(); box.classList.add("over"); });
      }
      box.addEventListener("dragleave", () => box.classList.remove("over"));
      box.addEventListener("drop", (e) => { e.preventDefault(); box.classList.remove("over"); this.take(to, [...e.dataTransfer.files]); });
    }
    for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (e) => e.preventDefault());
    for (const button of document.querySelectorAll("[data-sample]")) {
      button.addEventListener("click", () => this.work(button, async () => this.add(button.dataset.to, await post(`samples/${button.dataset.sample}`))));
    }
    $("strength").addEventListener("input", () => { $("strength-value").textContent = $("strength").value; });
    $("form").addEventListener("input", () => this.changed());
    $("form").addEventListener("submit", (e) => { e.preventDefault(); this.submit(); });
    try { Object.assign(this, JSON.parse(sessionStorage.chosen)); } catch { /* nothing was chosen */ }
    for (const to of ["content", "styles"]) this.list(to);
    this.changed();
  }

  know(about) {
    this.limits = about.limits;
    this.presets = about.presets;
    $("size").max = about.limits.size;
    for (const name of Object.keys(about.presets)) $("preset").append(new Option(name, name));
  }

  async take(to, files) {
    for (const file of files) {
      if (file.size > this.limits.bytes) { this.say(`${file.name}: larger than ${megabytes(this.limits.bytes)}`); continue; }
      this.say(`${file.name} …`);
      const found = await this.attempt(async () => {
        try { return await send(file); } catch (error) { throw new Error(`${file.name}: ${error.message}`); }
      });
      if (found) this.add(to, found);
    }
  }

  add(to, picture) {
    if (to === "content") this.content = [picture];
    else if (this.styles.some((s) => s.id === picture.id)) return this.say(`${picture.name}: is there already`);
    else if (this.styles.length >= this.limits.styles) return this.say(`at most ${this.limits.styles} paintings`);
    else this.styles.push(picture);
    this.list(to);
    this.say([`${picture.name}: ${sized([picture.width, picture.height])} pixels.`, ...picture.notes].join(" "));
    this.changed();
  }

  list(to) {
    sessionStorage.chosen = JSON.stringify({ content: this.content, styles: this.styles });  // a reload keeps them
    $(`${to}-chosen`).replaceChildren(...this[to].map((picture) => {
      const li = document.createElement("li"), img = document.createElement("img"), span = document.createElement("span"), b = document.createElement("button");
      Object.assign(img, { src: `uploads/${picture.id}`, alt: "" });
      span.textContent = `${picture.name}, ${sized([picture.width, picture.height])}`;
      Object.assign(b, { type: "button", className: "quiet", textContent: "Remove" });
      b.setAttribute("aria-label", `Remove ${picture.name}`);
      b.addEventListener("click", () => {
        this[to] = this[to].filter((one) => one !== picture);
        this.list(to);
        this.changed();
        $(`${to}-file`).focus();
      });
      li.append(img, span, b);
      if (to === "styles" && this.styles.length > 1) li.append(this.share(picture));
      return li;
    }));
  }

  share(picture) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, { type: "number", min: 0, max: 100, step: "any", value: picture.share ?? 1 });
    input.addEventListener("input", () => { picture.share = Number(input.value); });
    label.append("Share ", input);
    label.className = "share";
    input.setAttribute("aria-label", `Share of ${picture.name}`);
    return label;
  }

  asked() {
    const preset = $("preset").value || null, number = (id) => Number($(id).value);
    return {
      content: this.content[0]?.id, styles: this.styles.map((s) => s.id), preset,
      strength: number("strength"), size: number("size"), keep_colors: $("keep_colors").checked,
      ...(preset ? {} : { evaluations: number("evaluations") }),
      ...(this.styles.length > 1 ? { style_blend: this.styles.map((s) => s.share ?? 1) } : {}),
    };
  }

  missing() {
    if (!this.content.length) return "Choose a photograph.";
    if (!this.styles.length) return "Choose a painting.";
    return $("size").checkValidity() ? "" : `Size: a number from ${$("size").min} to ${$("size").max}.`;
  }

  changed() {
    const preset = $("preset").value;
    $("preset-help").textContent = preset ? `${this.presets?.[preset] ?? ""}. Its own number of evaluations.` : "";
    $("evaluations").disabled = Boolean(preset);
    clearTimeout(this.timer);
    this.asking?.abort();
    $("paint").disabled = Boolean(this.missing());
    if (this.missing()) return this.tell(this.missing());
    if (!this.planned) this.tell("Finding out what it takes …");
    this.timer = setTimeout(() => this.plan(), 350);
  }

  tell(...lines) {
    this.planned = false;
    $("plan").replaceChildren(...lines.filter(Boolean).map((line) => {
      const p = document.createElement("p");
      if (line.bad) p.className = "bad";
      p.textContent = line.bad ?? line;
      return p;
    }));
  }

  async plan() {
    this.asking = new AbortController();
    try {
      const p = await post("plan", this.asked(), this.asking.signal);
      const steps = p.stages.map((s) => `${sized(s.size)} (${s.evaluations})`).join(", then ");
      const time = p.seconds ? `roughly ${duration(p.seconds)}` : "time unknown before the start";
      this.tell(
        `${sized(p.size)} pixels from ${sized(p.content)}; about ${megabytes(p.peak)} of ${megabytes(p.memory)} memory; ${time}.`,
        `Sizes and evaluations: ${steps}. Network ${p.network} on ${p.device}.`, ...p.notes,
        p.network === "mini" ? "Better pictures with VGG-19: python -m weights fetch vgg19" : "",
      );
      this.planned = true;
    } catch (error) {
      if (error.name !== "AbortError") this.tell({ bad: error.message });
    }
  }

  async submit() {
    if (this.missing()) return this.say(this.missing());
    await this.work($("paint"), async () => {
      await post("runs", this.asked());
      this.say("It is in the queue.");
      this.submitted();
    });
  }

  async work(button, work) {
    button.disabled = true;
    await this.attempt(work);
    button.disabled = false;
  }
}
