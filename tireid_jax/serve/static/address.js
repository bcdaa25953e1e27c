// The search in the address of the page, so that it can be sent as a link and found in the history.

const LISTS = ["cameras", "folders"];
const TEXTS = ["start", "end"];
export const DEFAULT_TOP = 20;

export function empty() {
  return { text: "", image: null, top: DEFAULT_TOP, session: false, filters: { cameras: [], folders: [], start: "", end: "" } };
}

export function read(address) {
  const values = new URLSearchParams(address);
  const query = empty();
  query.text = values.get("q") ?? "";
  query.image = values.get("image");
  query.session = values.get("in") === "session";
  const top = Number.parseInt(values.get("top") ?? "", 10);
  if (top >= 1) query.top = top;
  for (const name of LISTS) query.filters[name] = values.getAll(name);
  for (const name of TEXTS) query.filters[name] = values.get(name) ?? "";
  return query;
}

export function write(query) {
  const values = new URLSearchParams();
  if (query.text) values.set("q", query.text);
  if (query.image) values.set("image", query.image);
  if (query.session) values.set("in", "session");
  if (query.top !== DEFAULT_TOP) values.set("top", String(query.top));
  for (const name of LISTS) for (const value of query.filters[name]) values.append(name, value);
  for (const name of TEXTS) if (query.filters[name]) values.set(name, query.filters[name]);
  const address = values.toString();
  return address ? `?${address}` : "/";
}

export function isEmpty(query) {
  return !query.text.trim() && !query.image;
}
