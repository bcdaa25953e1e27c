// The ranked pictures. Arrow keys, Home and End move between them.

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function describe(result) {
  return [result.camera && `camera ${result.camera}`, result.time].filter(Boolean).join(" · ");
}

function card(result, onChoose, extras) {
  const image = element("img", {
    src: `/api/images/${result.id}/thumbnail`, alt: `rank ${result.rank}: ${result.path}`, loading: "lazy", decoding: "async",
  });
  const picture = element("button", { type: "button", className: "picture", title: "Search by this picture" }, image);
  picture.dataset.image = result.id;
  picture.addEventListener("click", () => onChoose(result));
  const large = element("a", {
    href: `/api/images/${result.id}`, target: "_blank", rel: "noopener", textContent: result.path, title: "Show the picture large",
  });
  const line = element(
    "p", { className: "line-of-rank" }, element("span", { className: "rank", textContent: `#${result.rank}` }),
    element("span", { className: "score", textContent: result.score.toFixed(4), title: "score within this search" }),
  );
  const known = describe(result);
  return element(
    "li", { className: "card" }, picture, line, element("p", {}, large),
    ...(known ? [element("p", { textContent: known })] : []), ...extras(result),
  );
}

export function show(list, results, onChoose, extras = () => []) {
  list.replaceChildren(...results.map((result) => card(result, onChoose, extras)));
}

export function addKeys(list) {
  list.addEventListener("keydown", (event) => {
    const pictures = [...list.querySelectorAll(".picture")];
    const at = pictures.indexOf(document.activeElement);
    if (at < 0) return;
    const top = pictures[0].getBoundingClientRect().top;
    const columns = pictures.filter((picture) => picture.getBoundingClientRect().top === top).length;
    const steps = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: pictures.length - 1,
    };
    const next = pictures[steps[event.key]];
    if (!next) return;
    event.preventDefault();
    next.focus();
  });
}
