// The page: members and settings to an order, its job's events to pictures, the same order as code.

import { ask, askJson, hasKey, listen, send } from "./api.js";
import { asCurl, asPython, split } from "./code.js";
import { Member, make } from "./member.js";

const $ = (id) => document.getElementById(id);
const PREVIEWS = 5;
let members = [], offers = [], isFusing = true, running = [];

function body(d = null) {
  const shared = { steps: Number($("steps").value), seed: Number($("seed").value), size: $("size").value };
  if (isFusing) return { members: members.map((member) => member.order(d)), bridge_every: Number($("bridge").value), ...shared };
  const { prompt, guidance } = members[0].order();
  return { prompt, guidance, ...shared };
}

const path = () => (isFusing ? "v1/fusions" : "v1/images/generations");

function showCode() {
  if (!members.length) return;
  const url = new URL(path(), location.href).href, order = body();
  $("curl").textContent = asCurl(url, order, hasKey());
  $("python").textContent = asPython(url, order, hasKey());
  $("files").replaceChildren(...split(order)[1].map((file) => make("a", { href: file.data, download: file.name, textContent: `save ${file.name}` })));
}

function arrange() {
  $("members").replaceChildren(...members.map((member) => member.node));
  members.forEach((member, number) => member.place(number, members.length));
  $("add").hidden = !isFusing || members.length >= 6;
  $("compare").hidden = $("values-label").hidden = $("bridge-label").hidden = !isFusing;
  $("compare").disabled = members.length < 2;
  showCode();
}

function addMember(prompt = "") {
  const used = members.map((member) => member.name.value);
  const chosen = offers.find((offer) => !used.includes(offer.name)) ?? offers[0];
  members.push(new Member(offers, chosen.name, prompt, showCode, (gone) => { members = members.filter((member) => member !== gone); arrange(); }));
  arrange();
}

function say(text, isWrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", isWrong);
}

function card(caption) {
  const image = make("img", { alt: caption, width: 256, height: 256 }), bar = make("progress", { max: 1, value: 0 });
  const text = make("span", { textContent: "waiting" }), film = make("div", { className: "film" });
  const node = make("figure", { className: "card early" }, image, bar,
    make("figcaption", {}, make("b", { textContent: caption }), text, film));
  image.hidden = true;
  const show = (data) => { image.src = data; image.hidden = false; };
  return { node, image, bar, text, film, show };
}

async function follow(order, shown) {
  const job = await send(path(), { ...order, async: true, partial_images: PREVIEWS });
  running.push(job);
  $("cancel").disabled = false;
  await listen(job, (name, data) => {
    if (name === "step") {
      Object.assign(shown.bar, { max: data.steps, value: data.step });
      shown.text.textContent = `step ${data.step} of ${data.steps}`;
      for (const preview of data.previews ?? []) {
        shown.show(`data:image/png;base64,${preview}`);
        shown.film.append(make("img", { src: `data:image/png;base64,${preview}`, alt: `step ${data.step}` }));
      }
    } else if (name === "failed" || name === "cancelled") {
      throw Object.assign(new Error(data.error.message), { status: 409 });
    } else if (name === "succeeded") {
      shown.done = data;
    }
  });
  const made = shown.done.result;
  const picture = await (await ask(made.data[0].url.slice(1))).blob();
  shown.show(URL.createObjectURL(picture));
  shown.node.classList.remove("early");
  shown.bar.remove();
  shown.text.textContent = `${made.size}, seed ${made.data[0].seed}, ${made.model}`;
  shown.node.dataset.done = "yes";
}

async function run(orders) {
  running = [];
  const cards = orders.map(([caption]) => card(caption));
  $("pictures").replaceChildren(...cards.map((shown) => shown.node));
  $("pictures").classList.toggle("many", orders.length > 1);
  $("draw").disabled = $("compare").disabled = true;
  say(orders.length > 1 ? "Drawing side by side …" : "Drawing …");
  const started = performance.now();
  const ended = await Promise.allSettled(orders.map(([, order], number) => follow(order, cards[number])));
  ended.forEach((end, number) => { if (end.status === "rejected") cards[number].text.textContent = end.reason.message; });
  const wrong = ended.find((end) => end.status === "rejected");
  if (wrong?.reason.status === 401) $("key-box").open = true;
  say(wrong ? wrong.reason.message : `Done in ${((performance.now() - started) / 1000).toFixed(1)} s.`, Boolean(wrong));
  $("draw").disabled = false;
  $("compare").disabled = members.length < 2;
  $("cancel").disabled = true;
}

function values() {
  const found = $("values").value.split(/[,，\s]+/).filter(Boolean).map(Number);
  if (!found.length || found.length > 8 || found.some((d) => !(d >= 0 && d <= 1))) throw new Error("d: accepted are up to eight numbers from 0 to 1");
  return found;
}

async function copy(button, text) {
  await navigator.clipboard.writeText(text);
  const said = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = said; }, 1500);
}

async function start() {
  const models = (await askJson("v1/models")).data;
  const { root, sizes, default_size: size } = models[0];
  try {
    offers = (await askJson("v1/members")).data;
  } catch (error) {
    if (error.status !== 404) throw error;
    isFusing = false;
    offers = [{ name: "experts", role: "", guidance: 6, conditions: 0, size }];
    $("lead").textContent = "Write a prompt, in Chinese or English, and watch the steps arrive.";
  }
  $("served").textContent = `Serving ${root}`;
  $("key-box").open = false;
  $("size").replaceChildren(make("option", { value: "auto", textContent: "auto" }),
    ...sizes.map((name) => make("option", { value: name, textContent: name.replace("x", " × ") })));
  if (!members.length) {
    addMember("a large red circle");
    if (isFusing) addMember("沙滩上的蓝色方块");
  }
}

async function tryStart() {
  try {
    await start();
  } catch (error) {
    $("served").textContent = error.status === 401 ? "An API key is needed" : error.message;
    if (error.status === 401) $("key-box").open = true;
    else setTimeout(tryStart, 2000);
  }
}

$("key").addEventListener("change", tryStart);
$("add").addEventListener("click", () => addMember());
$("order").addEventListener("input", showCode);
$("order").addEventListener("submit", (event) => { event.preventDefault(); run([["Your picture", body()]]); });
$("compare").addEventListener("click", () => {
  if (!$("order").reportValidity()) return;
  try {
    run(values().map((d) => [`d = ${d}`, body(d)]));
  } catch (error) {
    say(error.message, true);
  }
});
$("cancel").addEventListener("click", () => running.forEach((job) => ask(`v1/jobs/${job.id}`, { method: "DELETE" }).catch(() => {})));
$("copy-curl").addEventListener("click", () => copy($("copy-curl"), $("curl").textContent));
$("copy-python").addEventListener("click", () => copy($("copy-python"), $("python").textContent));
tryStart();
