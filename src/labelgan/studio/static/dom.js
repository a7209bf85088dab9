// Elements and requests. Text reaches the page through textContent alone, so that no name can become markup.

export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name === "text") node.textContent = value;
    else if (name === "data") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && !name.includes("-")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const byId = (id) => document.getElementById(id);

export function replace(node, ...children) {
  node.replaceChildren(...children.flat().filter(Boolean));
}

export class AnswerError extends Error {}

async function answer(response) {
  let value = null;
  try {
    value = await response.json();
  } catch {
    throw new AnswerError(response.ok ? "the answer cannot be read" : `refused (${response.status})`);
  }
  if (!response.ok) throw new AnswerError(value.error ?? `refused (${response.status})`);
  return value;
}

async function ask(address, options) {
  let response;
  try {
    response = await fetch(address, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new AnswerError("studio does not answer; was it ended?");
  }
  return answer(response);
}

export function get(address, parameters = {}, signal = undefined) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== "" && one !== null && one !== undefined) query.append(name, one);
    }
  }
  const text = query.toString();
  return ask(text ? `${address}?${text}` : address, { signal });
}

export function post(address, value) {
  return ask(address, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
}

let hiding = 0;

export function toast(text, kind = "bad") {
  const place = byId("toast");
  place.textContent = text;
  place.dataset.kind = kind;
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (place.hidden = true), kind === "bad" ? 7000 : 2500);
}

// Runs one question at a time: of those that come meanwhile only the last is asked.
export function latest(work) {
  let busy = false;
  let waiting = null;
  const run = async (...values) => {
    if (busy) {
      waiting = values;
      return;
    }
    busy = true;
    try {
      await work(...values);
    } catch (error) {
      if (error.name !== "AbortError") toast(error.message);
    } finally {
      busy = false;
      if (waiting) {
        const next = waiting;
        waiting = null;
        run(...next);
      }
    }
  };
  return run;
}

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits, signDisplay: "negative" });

export const area = (mm2) => (mm2 === null || mm2 === undefined ? "no mask" : `${number(mm2)} mm²`);

export function pictureAddress(key, channel, side, marking) {
  return `/api/slices/${key}/picture?${new URLSearchParams({ channel, side, marking })}`;
}

export function labelled(text, control, extra = {}) {
  // a label over a group of buttons would press the first of them
  const tag = control instanceof HTMLInputElement || control instanceof HTMLSelectElement || control.classList.contains("slide") ? "label" : "div";
  return el(tag, { class: "field", ...extra }, el("span", { text }), control);
}

export function segmented(label, options, value, change) {
  const group = el("div", { class: "segmented", role: "group", "aria-label": label });
  const buttons = options.map(([name, text]) =>
    el("button", { type: "button", text, "aria-pressed": String(name === value), data: { name }, onclick: () => pick(name) }),
  );
  function pick(name) {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.name === name));
    change(name);
  }
  group.append(...buttons);
  group.pick = pick;
  return group;
}
