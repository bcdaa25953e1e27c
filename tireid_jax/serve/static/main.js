// The page: reads the address, searches, and shows what was found.

import * as address from "./address.js";
import { ApiError, call } from "./api.js";
import * as grid from "./grid.js";
import { Marks } from "./marks.js";
import { Uploads } from "./uploads.js";
import { Words } from "./words.js";

const at = (id) => document.getElementById(id);
let query = address.empty();
let pending = null;
let marks = null;
let uploads = null;
const words = new Words({ box: at("words"), list: at("words-list"), hint: at("words-hint"), results: at("results"), say });

function say(line, isError = false) {
  at("message").textContent = line;
  at("message").classList.toggle("error", isError);
}

function selected(id) {
  return [...at(id).selectedOptions].map((option) => option.value);
}

function readForm() {
  query.text = at("text").value;
  query.top = at("top").valueAsNumber || address.DEFAULT_TOP;
  query.session = at("session").checked;
  query.filters = {
    cameras: selected("cameras"), folders: selected("folders"), start: at("start").value.trim(), end: at("end").value.trim(),
  };
}

function fillForm() {
  at("text").value = query.text;
  at("top").value = String(query.top);
  for (const id of ["cameras", "folders"]) {
    for (const option of at(id).options) option.selected = query.filters[id].includes(option.value);
  }
  at("start").value = query.filters.start;
  at("end").value = query.filters.end;
  at("session").checked = query.session;
  const { cameras, folders, start, end } = query.filters;
  const numFilters = cameras.length + folders.length + Boolean(start) + Boolean(end);
  at("filters-count").textContent = numFilters || "none";
  if (numFilters) at("filters").open = true;
  at("examples").hidden = !address.isEmpty(query);
  at("found").hidden = address.isEmpty(query);
  at("chosen").hidden = !query.image;
  at("chosen-mix").hidden = !query.text.trim();
  if (query.image) at("chosen-image").src = `/api/images/${query.image}/thumbnail`;
  else at("chosen-image").removeAttribute("src");
  document.title = query.text.trim() ? `${query.text} – Person search` : "Person search";
}

function showUnseen(words) {
  const marked = words.flatMap((word) => [Object.assign(document.createElement("mark"), { textContent: word }), " "]);
  at("unseen-words").replaceChildren(...marked);
  at("unseen").hidden = !words.length;
}

async function run() {
  pending?.abort();
  showUnseen([]);
  words.clear();
  fillForm();
  const results = at("results");
  if (address.isEmpty(query)) {
    results.replaceChildren();
    results.setAttribute("aria-busy", "false");
    say("Describe a person, or choose an example.");
    return;
  }
  const request = new AbortController();
  pending = request;
  results.setAttribute("aria-busy", "true");
  say("Searching …");
  try {
    const answer = await call("POST", "/api/search", { json: query, signal: request.signal });
    if (query.text.trim()) at("caption").value = query.text.trim();
    marks.forget();
    grid.show(results, answer.results, choose, query.session ? undefined : (result) => [marks.buttons(result)]);
    showUnseen(answer.unseen);
    if (answer.results.length) words.show(query.text);
    say(answer.results.length ? `${answer.results.length} images, best first.` : "No image satisfies the filters.");
  } catch (error) {
    if (error.name === "AbortError") return;
    results.replaceChildren();
    if (error.status === 401) login();
    else say(error.message, true);
  }
  results.setAttribute("aria-busy", "false");
}

function search() {
  const next = address.write(query);
  if (next !== location.search) history.pushState(null, "", next);
  run();
}

function choose(result) {
  query = { ...query, image: result.id, text: "" };
  search();
  scrollTo({ top: 0 });
  at("text").focus();
}

function login() {
  if (!at("login").open) at("login").showModal();
}

async function submitToken(event) {
  event.preventDefault();
  try {
    await call("POST", "/api/login", { json: { token: at("token").value.trim() } });
    at("token").value = "";
    await start();
  } catch (error) {
    at("login-message").textContent = error.message;
  }
}

function addOptions(id, names) {
  at(id).replaceChildren(...names.map((name) => new Option(name, name)));
  at(`${id}-label`).hidden = !names.length;
}

function addExamples(examples) {
  at("examples").replaceChildren(...examples.map((sentence) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: sentence });
    button.addEventListener("click", () => {
      query = { ...query, text: sentence, image: null };
      search();
    });
    return button;
  }));
}

async function start() {
  try {
    const gallery = await call("GET", "/api/gallery");
    at("about").textContent = `${gallery.num_images.toLocaleString()} images in ${gallery.name}`;
    marks = new Marks(gallery.id, { caption: at("caption"), count: at("marks-count"), say });
    at("top").max = String(gallery.limits.max_top);
    addOptions("cameras", gallery.cameras);
    addOptions("folders", gallery.folders);
    for (const label of document.querySelectorAll(".time")) label.hidden = !gallery.has_times;
    at("filters").hidden = !gallery.cameras.length && !gallery.folders.length && !gallery.has_times;
    addExamples(gallery.examples);
    uploads = new Uploads(gallery.limits, {
      list: at("uploads-list"), count: at("uploads-count"), say, choose,
    });
    await uploads.load();
    query = address.read(location.search);
    run();
  } catch (error) {
    at("results").setAttribute("aria-busy", "false");
    if (error instanceof ApiError && error.status === 401) {
      login();
      return;
    }
    say(error.message, true);
  }
  at("login").close();
  at("main").inert = false; // nothing that is typed before is lost to the query in the address
}

function toggleTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

const theme = localStorage.getItem("theme");
if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
at("theme").addEventListener("click", toggleTheme);
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  readForm();
  search();
});
at("chosen-remove").addEventListener("click", () => {
  readForm();
  query.image = null;
  search();
  at("text").focus();
});
at("filters-clear").addEventListener("click", () => {
  readForm();
  query.filters = address.empty().filters;
  search();
});
at("login-form").addEventListener("submit", submitToken);
at("files").addEventListener("change", async (event) => {
  await uploads?.add([...event.target.files]);
  event.target.value = "";
});
at("uploads-delete").addEventListener("click", async () => {
  await uploads?.clear();
  if (query.session) {
    readForm();
    query.session = false;
    search();
  }
});
at("session").addEventListener("change", () => {
  readForm();
  search();
});
at("marks-export").addEventListener("click", () => marks?.download());
at("marks-clear").addEventListener("click", () => marks?.clear());
at("caption").addEventListener("input", () => marks?.refresh());
addEventListener("popstate", () => {
  query = address.read(location.search);
  run();
});
grid.addKeys(at("results"));
start();
