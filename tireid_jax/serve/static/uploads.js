// Uploaded pictures: sent one after another, shown small, and a picture to search by like any other.

import { call } from "./api.js";

export class Uploads {
  constructor(limits, { list, count, say, choose }) {
    Object.assign(this, { limits, list, count, say, choose });
  }

  async load() {
    const { images } = await call("GET", "/api/session");
    this.show(images);
  }

  show(images) {
    this.count.textContent = images.length ? String(images.length) : "none";
    this.list.replaceChildren(...images.map((image) => {
      const picture = Object.assign(document.createElement("img"), {
        src: `/api/images/${image.id}/thumbnail`, alt: image.name, loading: "lazy",
      });
      const button = Object.assign(document.createElement("button"), {
        type: "button", className: "picture", title: "Search by this picture",
      });
      button.append(picture);
      button.addEventListener("click", () => this.choose(image));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }));
  }

  async add(files) {
    let failed = "";
    for (const [number, file] of files.entries()) {
      this.say(`Uploading ${number + 1} of ${files.length} …`);
      if (file.size > this.limits.max_upload_bytes) {
        failed = `${file.name} has more than ${this.limits.max_upload_bytes.toLocaleString()} bytes`;
        continue;
      }
      try {
        const name = encodeURIComponent(file.name.slice(-200));
        await call("POST", `/api/session/images?name=${name}`, { body: file });
      } catch (error) {
        failed = `${file.name}: ${error.message}`;
      }
    }
    await this.load().catch(() => {});
    this.say(failed || `Uploaded ${files.length} pictures. Select one to search by it.`, Boolean(failed));
  }

  async clear() {
    try {
      await call("DELETE", "/api/session");
      this.show([]);
      this.say("Your pictures are deleted.");
    } catch (error) {
      this.say(error.message, true);
    }
  }
}
