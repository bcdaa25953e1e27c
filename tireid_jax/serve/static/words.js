// The words of the query. While one is selected, each result is the darker the less a region matters for the word.

import { call } from "./api.js";

// Opacity of the darkest part.
const DARKEST = 0.75;

function cover(picture, relevance) {
  const image = picture.querySelector("img");
  const cells = new ImageData(relevance[0].length, relevance.length);
  const values = relevance.flat();
  const lowest = Math.min(...values);
  const range = Math.max(...values) - lowest;
  if (!range) return;
  values.forEach((value, cell) => {
    cells.data[4 * cell + 3] = Math.round(255 * DARKEST * (1 - ((value - lowest) / range) ** 2));
  });
  const small = new OffscreenCanvas(cells.width, cells.height);
  small.getContext("2d").putImageData(cells, 0, 0);
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
  picture.append(canvas);
}

export class Words {
  constructor({ box, list, hint, results, say }) {
    Object.assign(this, { box, list, hint, results, say, pending: null });
  }

  clear() {
    this.uncover();
    this.list.replaceChildren();
    this.box.hidden = true;
  }

  show(text) {
    const words = text.split(/\s+/).filter(Boolean);
    if (words.length < 2) return;
    this.list.replaceChildren(...words.map((word, number) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: word });
      button.setAttribute("aria-pressed", "false");
      button.addEventListener("click", () => this.toggle(button, words.join(" "), number));
      return button;
    }));
    this.box.hidden = false;
  }

  uncover() {
    this.pending?.abort();
    this.pending = null;
    this.hint.hidden = true;
    for (const made of this.results.querySelectorAll("canvas, .adds")) made.remove();
    for (const button of this.list.children) button.setAttribute("aria-pressed", "false");
  }

  async toggle(button, text, number) {
    const isOn = button.getAttribute("aria-pressed") === "true";
    this.uncover();
    if (isOn) return;
    button.setAttribute("aria-pressed", "true");
    this.hint.hidden = false;
    const request = new AbortController();
    this.pending = request;
    const pictures = [...this.results.querySelectorAll(".picture")];
    let failed = 0;
    for (const [at, picture] of pictures.entries()) {
      this.say(`Looking for “${button.textContent}” in picture ${at + 1} of ${pictures.length} …`);
      try {
        const json = { image: picture.dataset.image, text, number };
        const found = await call("POST", "/api/word_map", { json, signal: request.signal });
        picture.firstChild.loading = "eager";
        await picture.firstChild.decode();
        if (request.signal.aborted) return;
        cover(picture, found.relevance);
        const line = document.createElement("p");
        line.className = "adds";
        line.textContent = `“${found.word}” adds ${found.drop.toFixed(4)}`;
        picture.after(line);
      } catch (error) {
        if (request.signal.aborted) return;
        // A picture that has left the gallery or cannot be decoded has no map; other errors are those of all pictures.
        if (error.status !== 404 && error.name !== "EncodingError") {
          this.say(error.message, true);
          return;
        }
        failed += 1;
      }
    }
    const gone = failed ? ` ${failed} cannot be read.` : "";
    this.say(`“${button.textContent}” in ${pictures.length - failed} pictures.${gone}`);
  }
}
