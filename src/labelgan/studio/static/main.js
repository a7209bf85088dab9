// Views, theme, progress, and keys that work everywhere.

import { byId, el, get, replace, toast } from "./dom.js";
import { Gallery } from "./gallery.js";
import { showHelp } from "./help.js";

const views = { gallery: null, volume: null, live: null, blind: null, reports: null };
const loaders = {
  volume: async () => new (await import("./volume.js")).Volume(studio),
  live: async () => new (await import("./live.js")).Live(studio),
  blind: async () => new (await import("./blind.js")).Blind(studio),
  reports: async () => new (await import("./reports.js")).Reports(studio),
};

export const studio = {
  overview: { sources: [], sites: [], channels: [], flags: [], notes: [], complete: false },
  view: "",
  ready: false,
  listeners: [],
  onOverview(listener) {
    this.listeners.push(listener);
    if (this.ready) listener(this.overview);
  },
  sources(...kinds) {
    return this.overview.sources.filter((source) => kinds.includes(source.kind));
  },
  refresh,
  show,
};

export async function show(name, ...rest) {
  const same = studio.view === name;
  studio.view = name;
  for (const key of Object.keys(views)) {
    byId(`view-${key}`).hidden = key !== name;
    const tab = byId(`tab-${key}`);
    tab.setAttribute("aria-selected", String(key === name));
    tab.tabIndex = key === name ? 0 : -1;
  }
  if (location.hash !== `#${name}`) history.replaceState(null, "", `#${name}`);
  try {
    views[name] ??= await loaders[name]();
    if (!same || rest.length) await views[name].enter?.(...rest);
  } catch (error) {
    toast(error.message);
  }
}

async function refresh() {
  const overview = await get("/api/overview");
  studio.overview = overview;
  studio.ready = true;
  const place = byId("status");
  if (overview.complete) {
    const slices = overview.sources.reduce((sum, source) => sum + source.slices, 0);
    replace(place, el("span", { text: `${slices.toLocaleString("en")} slices` }));
  } else {
    const bar = el("progress", { max: overview.total, value: overview.done, "aria-label": "cases read" });
    replace(place, el("span", { text: `reading ${overview.done} of ${overview.total}` }), bar);
  }
  const notes = byId("notes-button");
  notes.hidden = overview.notes.length === 0;
  notes.title = `${overview.notes.length} notes: what could not be read`;
  for (const listener of studio.listeners) listener(overview);
}

async function watch() {
  let delay = 400;
  for (;;) {
    try {
      await refresh();
      if (studio.overview.complete) return;
    } catch (error) {
      toast(error.message);
      delay = 3000;
    }
    await new Promise((done) => setTimeout(done, delay));
    delay = Math.min(delay * 1.3, 2000);
  }
}

function showNotes() {
  const dialog = byId("help");
  replace(
    dialog,
    el("h2", { text: "What could not be read" }),
    el("ul", {}, studio.overview.notes.slice(0, 200).map((note) => el("li", { text: note }))),
    el("button", { text: "Close", onclick: () => dialog.close() }),
  );
  dialog.showModal();
}

function switchTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("labelgan-theme", root.dataset.theme);
  } catch {
    // a browser that keeps nothing: the choice lasts as long as the page
  }
}

function typing(event) {
  const target = event.target;
  return target instanceof HTMLInputElement ? !["checkbox", "radio", "range"].includes(target.type) : target instanceof HTMLSelectElement;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event)) return;
  const large = byId("large");
  if (byId("help").open) return;
  if (large.open && studio.view !== "gallery") return;
  if (event.key === "?") showHelp();
  else if (event.key === "t") switchTheme();
  else if (/^[1-5]$/.test(event.key) && !large.open) show(Object.keys(views)[Number(event.key) - 1]);
  else if (!views[studio.view]?.key?.(event)) return;
  event.preventDefault();
}

function begin() {
  try {
    const theme = localStorage.getItem("labelgan-theme");
    if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
  } catch {
    // as above
  }
  const tabs = [...document.querySelectorAll(".tabs button")];
  for (const [at, tab] of tabs.entries()) {
    tab.addEventListener("click", () => show(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(at + step + tabs.length) % tabs.length];
      next.focus();
      show(next.dataset.view);
      event.preventDefault();
      event.stopPropagation();
    });
  }
  byId("theme").addEventListener("click", switchTheme);
  byId("help-button").addEventListener("click", showHelp);
  byId("notes-button").addEventListener("click", showNotes);
  document.addEventListener("keydown", onKey);
  views.gallery = new Gallery(studio);
  const wanted = location.hash.slice(1);
  show(wanted in views ? wanted : "gallery");
  watch();
}

begin();
