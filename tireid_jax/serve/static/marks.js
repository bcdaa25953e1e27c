// Marks of results, kept in this browser until they are deleted. While their section is open, each result has buttons for
// them, and the keys 1, 2 and 3 set them on a focused result.

import { call } from "./api.js";

const NAMES = { this: "this person", fits: "fits, another person", wrong: "wrong" };

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/jsonl" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export class Marks {
  constructor(gallery, { caption, count, say }) {
    this.key = `marks-${gallery}`;
    this.caption = caption;
    this.count = count;
    this.say = say;
    this.groups = [];
    try {
      this.marks = new Map(JSON.parse(localStorage.getItem(this.key) ?? "[]"));
    } catch {
      this.marks = new Map();
    }
    this.refresh();
  }

  // Called before other results are shown.
  forget() {
    this.groups = [];
  }

  buttons(result) {
    const group = document.createElement("fieldset");
    group.className = "marks";
    group.append(Object.assign(document.createElement("legend"), { textContent: `Mark rank ${result.rank}` }));
    const buttons = Object.entries(NAMES).map(([mark, name]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
      button.addEventListener("click", () => this.toggle(result.id, mark));
      return [mark, button];
    });
    group.append(...buttons.map(([, button]) => button));
    queueMicrotask(() => group.closest(".card")?.addEventListener("keydown", (event) => {
      const mark = Object.keys(NAMES)[["1", "2", "3"].indexOf(event.key)];
      const isMarking = document.getElementById("marks").open;
      if (isMarking && mark && !event.ctrlKey && !event.metaKey && !event.altKey) this.toggle(result.id, mark);
    }));
    this.groups.push([result.id, buttons]);
    this.refreshGroup(result.id, buttons);
    return group;
  }

  toggle(image, mark) {
    const caption = this.caption.value.trim();
    if (!caption) {
      document.getElementById("marks").open = true;
      this.caption.focus();
      this.say("Describe the person whom the marks are for first.", true);
      return;
    }
    const key = JSON.stringify([image, caption]);
    if (this.marks.get(key) === mark) this.marks.delete(key);
    else this.marks.set(key, mark);
    this.store();
  }

  store() {
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.marks]));
    } catch {
      this.say("The browser has no room for more marks; export them and delete them.", true);
    }
    this.refresh();
  }

  refreshGroup(image, buttons) {
    const current = this.marks.get(JSON.stringify([image, this.caption.value.trim()]));
    for (const [mark, button] of buttons) button.setAttribute("aria-pressed", String(mark === current));
  }

  refresh() {
    this.count.textContent = this.marks.size ? String(this.marks.size) : "none";
    for (const [image, buttons] of this.groups) this.refreshGroup(image, buttons);
  }

  async download() {
    if (!this.marks.size) {
      this.say("There are no marks to export.", true);
      return;
    }
    const marks = [...this.marks].map(([key, mark]) => {
      const [image, caption] = JSON.parse(key);
      return { image, caption, mark };
    });
    try {
      const files = await call("POST", "/api/annotations", { json: { marks } });
      if (files.annotations) save("annotations.jsonl", files.annotations);
      if (files.wrong) save("wrong.jsonl", files.wrong);
      this.say(`Exported ${files.num_images} images of ${files.num_persons} persons. Prepare them with `
        + "--config.custom.annotations=annotations.jsonl --config.custom.images=GALLERY."
        + (files.num_gone ? ` ${files.num_gone} marks of images that left the gallery were left out.` : ""));
    } catch (error) {
      this.say(error.message, true);
    }
  }

  clear() {
    if (!this.marks.size || !confirm(`Delete all ${this.marks.size} marks?`)) return;
    this.marks.clear();
    this.store();
  }
}
