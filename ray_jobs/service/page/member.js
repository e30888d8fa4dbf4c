// One member of an order: what it is told, how much it counts, and the picture that it is shown.

import { Curve } from "./curve.js";

const TONES = ["tone0", "tone1", "tone2", "tone3", "tone4", "tone5"];
let count = 0;

export function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-") || key === "for" || key === "role") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

export class Member {
  constructor(offers, chosen, prompt, changed, removed) {
    this.offers = offers;
    this.changed = changed;
    this.id = `member-${(count += 1)}`;
    this.image = null;
    this.title = make("h2");
    this.role = make("p", { className: "role" });
    this.name = make("select", {}, ...offers.map((offer) => make("option", { value: offer.name, textContent: offer.name })));
    this.name.value = chosen;
    this.prompt = make("textarea", { value: prompt, maxLength: 4000, rows: 2, placeholder: "a large red circle · 沙滩上的蓝色方块" });
    this.guidance = make("input", { type: "number", min: 0, max: 30, step: 0.5 });
    this.curve = new Curve([[200, 0], [500, 0.5]], () => this.refresh());
    this.peak = make("input", { type: "range", min: 0, max: 1, step: 0.05, value: 0.5 });
    this.said = make("output");
    this.remove = make("button", { type: "button", className: "quiet small", textContent: "Remove" });
    this.remove.addEventListener("click", () => removed(this));
    this.peak.addEventListener("input", () => { this.curve.peak = Number(this.peak.value); });
    this.name.addEventListener("change", () => { this.choose(); changed(); });
    for (const field of [this.prompt, this.guidance]) field.addEventListener("input", changed);
    const add = make("button", { type: "button", className: "quiet small", textContent: "Add a point" });
    add.addEventListener("click", () => this.curve.add());
    this.weights = make("div", { className: "weights" },
      make("div", { className: "said" }, make("span", { textContent: "Weight over time" }), this.said), this.curve.svg,
      make("div", { className: "tools" }, make("label", {}, "d", this.peak), add));
    this.condition = make("div", { className: "condition" });
    this.node = make("li", { className: "member" }, make("header", {}, this.title, this.remove),
      make("div", { className: "fields" }, make("label", {}, "Member", this.name), make("label", {}, "Guidance", this.guidance)),
      this.role, make("label", {}, "Prompt", this.prompt), this.weights, this.condition);
    this.choose();
  }

  get offer() { return this.offers.find((offer) => offer.name === this.name.value); }

  choose() {
    this.guidance.value = this.offer.guidance;
    this.role.textContent = this.offer.role;
    this.role.hidden = !this.offer.role;
    this.image = null;
    this.condition.replaceChildren(...(this.offer.conditions ? this.drawing() : []));
    this.condition.hidden = !this.offer.conditions;
    this.refresh();
  }

  place(number, total) {
    this.number = number;
    this.node.classList.remove(...TONES);
    this.node.classList.add(TONES[number % TONES.length]);
    this.title.replaceChildren(number === 0 ? "Leads" : "Joins in", make("small", { textContent: number === 0 ? "has what the others leave" : "" }));
    this.weights.hidden = number === 0;
    this.remove.hidden = total === 1;
  }

  refresh() {
    this.peak.value = this.curve.peak;
    this.said.textContent = `d = ${this.curve.peak}`;
    this.changed();
  }

  order(d = null) {
    const told = { name: this.name.value, prompt: this.prompt.value, guidance: Number(this.guidance.value) };
    if (this.number > 0) told.weight = d === null ? this.curve.points : this.curve.scaled(d);
    if (this.offer.detects && this.detect.checked) told.detect = true;
    if (this.offer.conditions) told.condition_images = Array(this.offer.conditions).fill(this.image ?? this.blank());
    return told;
  }

  blank() {
    return this.canvas.toDataURL("image/png");
  }

  drawing() {
    this.canvas = make("canvas", { width: 256, height: 256, tabIndex: 0, "aria-label": "Drawing for this member; with the keyboard, choose a file instead" });
    const paint = this.canvas.getContext("2d");
    const wipe = () => { paint.fillStyle = "#000"; paint.fillRect(0, 0, 256, 256); };
    wipe();
    const brush = make("input", { type: "range", min: 2, max: 40, value: 8 });
    const eraser = make("input", { type: "checkbox", className: "check" });
    const clear = make("button", { type: "button", className: "quiet small", textContent: "Clear" });
    const file = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp" });
    const url = make("input", { type: "url", placeholder: "https://…/picture.png", inputMode: "url" });
    this.detect = make("input", { type: "checkbox", className: "check" });
    this.detect.addEventListener("change", this.changed);
    const keep = () => { this.image = this.canvas.toDataURL("image/png"); url.value = ""; this.changed(); };
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * 256, ((event.clientY - box.top) / box.height) * 256];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      this.canvas.setPointerCapture(event.pointerId);
      let from = at(event);
      const stroke = (moved) => {
        const to = at(moved);
        Object.assign(paint, { strokeStyle: eraser.checked ? "#000" : "#fff", lineWidth: Number(brush.value), lineCap: "round" });
        paint.beginPath();
        paint.moveTo(...from);
        paint.lineTo(...to);
        paint.stroke();
        from = to;
      };
      stroke(event);
      this.canvas.addEventListener("pointermove", stroke);
      this.canvas.addEventListener("pointerup", () => { this.canvas.removeEventListener("pointermove", stroke); keep(); }, { once: true });
    });
    clear.addEventListener("click", () => { wipe(); keep(); });
    file.addEventListener("change", async () => {
      if (!file.files[0]) return;
      const picture = await createImageBitmap(file.files[0]);
      wipe();
      paint.drawImage(picture, 0, 0, 256, 256);
      keep();
    });
    url.addEventListener("change", () => { this.image = url.value.trim() || null; this.changed(); });
    return [make("p", { className: "hint", textContent: "The picture that this member follows: draw white on black, choose a file, or name a URL." }),
      make("div", { className: "how" }, this.canvas, make("div", {},
        make("label", {}, "Brush", brush), make("div", { className: "tools" }, make("label", {}, eraser, "Erase"), clear),
        make("label", {}, "File", file), make("label", {}, "URL", url),
        ...(this.offer.detects ? [make("label", {}, this.detect, "An ordinary picture: find its edges or depth")] : [])))];
  }
}
