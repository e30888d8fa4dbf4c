// The weight of a member over time, as a curve whose points are dragged, or moved with the arrow keys.

const WIDTH = 480, HEIGHT = 150, LEFT = 34, RIGHT = 12, TOP = 12, BOTTOM = 26, T = 1000;
const SVG = "http://www.w3.org/2000/svg";
const x = (t) => LEFT + ((T - t) / T) * (WIDTH - LEFT - RIGHT);
const y = (w) => TOP + (1 - w) * (HEIGHT - TOP - BOTTOM);
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

export class Curve {
  // points: [timestep, weight] with timesteps ascending, as the service takes them.
  constructor(points, changed) {
    this.points = points;
    this.changed = changed;
    this.svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "group", "aria-label": "Weight over time" });
    this.svg.addEventListener("dblclick", (event) => this.add(...this.place(event)));
    this.draw();
  }

  get peak() { return Math.max(...this.points.map(([, weight]) => weight)); }

  set peak(wanted) {
    const now = this.peak;
    this.points = this.points.map(([t, weight]) => [t, now > 0 ? +clamp((weight / now) * wanted, 0, 1).toFixed(3) : t >= 500 ? wanted : 0]);
    this.draw();
    this.changed();
  }

  scaled(wanted) {
    const now = this.peak;
    return this.points.map(([t, weight]) => [t, now > 0 ? +clamp((weight / now) * wanted, 0, 1).toFixed(3) : t >= 500 ? wanted : 0]);
  }

  place(event) {
    const box = this.svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * WIDTH, py = ((event.clientY - box.top) / box.height) * HEIGHT;
    return [T - ((px - LEFT) / (WIDTH - LEFT - RIGHT)) * T, 1 - (py - TOP) / (HEIGHT - TOP - BOTTOM)];
  }

  at(t) {
    const after = this.points.findIndex(([place]) => place > t);
    if (after === 0) return this.points[0][1];
    if (after < 0) return this.points.at(-1)[1];
    const [[t0, w0], [t1, w1]] = [this.points[after - 1], this.points[after]];
    return w0 + ((w1 - w0) * (t - t0)) / (t1 - t0);
  }

  add(t = null, weight = null) {
    if (this.points.length >= 12) return;
    if (t === null) {
      const ends = [0, ...this.points.map(([place]) => place), T];
      const gaps = ends.slice(1).map((end, i) => [end - ends[i], (end + ends[i]) / 2]);
      t = gaps.reduce((best, gap) => (gap[0] > best[0] ? gap : best))[1];
      weight = this.at(t);
    }
    this.points.push([Math.round(clamp(t, 0, T)), +clamp(weight, 0, 1).toFixed(2)]);
    this.points.sort((a, b) => a[0] - b[0]);
    this.draw();
    this.changed();
  }

  move(index, t, weight) {
    const low = index > 0 ? this.points[index - 1][0] : 0, high = index + 1 < this.points.length ? this.points[index + 1][0] : T;
    this.points[index] = [Math.round(clamp(t, low, high)), +clamp(weight, 0, 1).toFixed(2)];
    this.draw();
    this.changed();
  }

  remove(index) {
    if (this.points.length <= 1) return;
    this.points.splice(index, 1);
    this.draw();
    this.changed();
  }

  draw() {
    const focused = this.svg.contains(document.activeElement) ? Number(document.activeElement.dataset.index) : null;
    const line = [[T, this.points.at(-1)[1]], ...[...this.points].reverse(), [0, this.points[0][1]]].map(([t, w]) => `${x(t)},${y(w)}`);
    const nodes = [0, 0.5, 1].flatMap((w) => [
      shape("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(w), y2: y(w), class: "gridline" }),
      shape("text", { x: LEFT - 6, y: y(w) + 4, "text-anchor": "end" }, String(w)),
    ]);
    nodes.push(shape("text", { x: LEFT, y: HEIGHT - 7 }, "first step"), shape("text", { x: WIDTH - RIGHT, y: HEIGHT - 7, "text-anchor": "end" }, "last step"));
    nodes.push(shape("polygon", { class: "area", points: [`${x(T)},${y(0)}`, ...line, `${x(0)},${y(0)}`].join(" ") }));
    nodes.push(shape("polyline", { class: "path", points: line.join(" ") }));
    this.points.forEach(([t, weight], index) => nodes.push(this.handle(t, weight, index)));
    this.svg.replaceChildren(...nodes);
    if (focused !== null) this.svg.querySelector(`[data-index="${Math.min(focused, this.points.length - 1)}"]`)?.focus();
  }

  handle(t, weight, index) {
    const point = shape("circle", {
      cx: x(t), cy: y(weight), r: 8, class: "point", tabindex: 0, role: "slider", "data-index": index,
      "aria-label": `Point ${index + 1}: arrows move it, Delete removes it`, "aria-valuemin": 0, "aria-valuemax": 1,
      "aria-valuenow": weight, "aria-valuetext": `weight ${weight} at timestep ${t}`,
    });
    point.addEventListener("keydown", (event) => {
      const moved = { ArrowUp: [0, 0.05], ArrowDown: [0, -0.05], ArrowLeft: [25, 0], ArrowRight: [-25, 0] }[event.key];
      if (moved) this.move(index, t + moved[0], weight + moved[1]);
      else if (event.key === "Delete" || event.key === "Backspace") this.remove(index);
      else return;
      event.preventDefault();
    });
    point.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const follow = (moved) => this.move(index, ...this.place(moved));
      const stop = () => window.removeEventListener("pointermove", follow);
      window.addEventListener("pointermove", follow);
      window.addEventListener("pointerup", stop, { once: true });
      window.addEventListener("pointercancel", stop, { once: true });
      point.focus();
    });
    return point;
  }
}
