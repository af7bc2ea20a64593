"use strict";
const at = (id) => document.getElementById(id);
// Told apart in lightness as well as in hue; white text can be read on each.
const COLOURS = ["#0a5c9e", "#a63d00", "#00664f", "#7b2d7f", "#7a5200", "#3d4a57"];
let classes = [], found = null, latest = 0;

function say(text, wrong = false) {
  at("status").textContent = text;
  at("status").classList.toggle("wrong", wrong);
}

function colour(label) {
  return COLOURS[Math.max(0, classes.indexOf(label)) % COLOURS.length];
}

function percent(score) {
  return `${Math.round(100 * score)} %`;
}

async function introduce() {
  try {
    const model = await (await fetch("model")).json();
    classes = model.classes;
    const drawn = (model.trained_on || "").includes("drawn") ? "It has seen drawn streets only, no photographs." : "";
    at("knows").textContent = `This model knows: ${classes.join(", ")}. ${drawn}`;
  } catch {
    at("knows").textContent = "The service does not answer.";
  }
}

// What the service takes is JPEG and PNG; the browser can read more, and hands on what it sees.
async function readable(file) {
  if (["image/jpeg", "image/png"].includes(file.type)) return file;
  try {
    const bitmap = await createImageBitmap(file);
    const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    return (await new Promise((done) => canvas.toBlob(done, "image/png"))) || file;
  } catch {
    return file;  // the service says what is wrong with it
  }
}

async function send(file) {
  const mine = ++latest;  // an answer that comes after a newer picture was chosen is not shown
  say("Looking …");
  at("result").hidden = true;
  found = null;
  try {
    const image = await readable(file);
    const form = new FormData();
    form.append("file", image, "image");
    const response = await fetch("tag?threshold=0.05", { method: "POST", body: form });
    const answer = await response.json();
    if (mine !== latest) return;
    if (!response.ok) throw new Error(answer.detail);
    const url = URL.createObjectURL(image);
    await new Promise((done, failed) => {
      at("picture").onload = done;
      at("picture").onerror = () => failed(new Error("this browser cannot show the image"));
      at("picture").src = url;
    });
    URL.revokeObjectURL(url);
    if (mine !== latest) return;
    found = answer;
    // As large as the window allows, and a small picture not too small to see.
    at("stage").style.width = `min(100%, ${(75 * answer.width) / answer.height}vh, max(${answer.width}px, 34rem))`;
    at("result").hidden = false;
    show();
  } catch (error) {
    if (mine === latest) say(error instanceof TypeError ? "The service does not answer." : `Not taken: ${error.message}.`, true);
  }
}

function shape(kind, attributes, parent) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  parent.append(one);
}

function show() {
  const least = at("threshold").value / 100;
  at("shown").textContent = percent(least);
  if (!found) return;
  const tags = found.tags.filter((tag) => tag.score >= least);
  const svg = at("boxes"), stage = at("stage");
  svg.setAttribute("viewBox", `0 0 ${found.width} ${found.height}`);
  svg.replaceChildren();
  stage.querySelectorAll(".tag").forEach((one) => one.remove());
  for (const { label, score, box: [x1, y1, x2, y2] } of [...tags].reverse()) {  // the surest on top
    const place = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
    shape("rect", { ...place, class: "under" }, svg);
    shape("rect", { ...place, class: "box", stroke: colour(label) }, svg);
    const name = document.createElement("span");
    name.className = y1 / found.height < 0.06 ? "tag inside" : "tag";
    name.textContent = `${label} ${percent(score)}`;
    name.style.background = colour(label);
    name.style.left = `${(100 * x1) / found.width}%`;
    name.style.top = `${(100 * y1) / found.height}%`;
    stage.append(name);
  }
  at("tags").replaceChildren(...tags.map(({ label, score }) => {
    const row = document.createElement("li");
    const mark = document.createElement("i"), name = document.createElement("b"), how = document.createElement("span");
    mark.style.background = colour(label);
    name.textContent = label;
    how.textContent = percent(score);
    row.append(mark, name, how);
    return row;
  }));
  at("nothing").hidden = tags.length > 0;
  const names = tags.map((tag) => tag.label).join(", ");
  at("picture").alt = tags.length ? `Your image, with boxes around: ${names}` : "Your image";
  say(tags.length ? `${tags.length} found: ${names}.` : "No objects.");
}

function one(files) {
  const images = [...files];
  if (images.length) send(images[0]);
}

for (const id of ["pick", "photograph"]) {
  at(id).addEventListener("change", (event) => {
    one(event.target.files);
    event.target.value = "";  // so that the same file can be chosen again
  });
}
at("threshold").addEventListener("input", show);
document.addEventListener("paste", (event) => one(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").classList.add("over");
});
for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => at("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  one(event.dataTransfer.files);
});
introduce();
