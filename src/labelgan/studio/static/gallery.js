// The gallery: filters, tiles that are made as they come into sight, selection by mouse and keys.

import { area, byId, el, get, labelled, pictureAddress, post, replace, segmented, toast } from "./dom.js";
import { Inspector } from "./inspector.js";

const PAGE = 120;
const MARKINGS = [["outline", "Outline"], ["fill", "Filled"], ["none", "None"]];
const TILES = [96, 116, 140, 176, 220];

export class Gallery {
  constructor(studio) {
    this.studio = studio;
    this.inspector = new Inspector(this);
    this.slices = [];
    this.total = 0;
    this.at = -1;
    this.channel = "";
    this.marking = "outline";
    this.size = 2;
    this.query = {};
    this.asked = 0;
    this.grid = byId("grid");
    this.form = byId("filters");
    this.buildTools();
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("change", () => this.reload());
    this.grid.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (tile) this.select(Number(tile.dataset.at));
    });
    this.grid.addEventListener("dblclick", () => this.inspector.enlarge());
    new IntersectionObserver((entries) => entries[0].isIntersecting && this.more(), {
      root: byId("grid-scroll"),
      rootMargin: "900px",
    }).observe(byId("sentinel"));
    studio.onOverview((overview) => this.onOverview(overview));
  }

  // Tools above the tiles

  buildTools() {
    this.channels = el("div");
    this.markings = segmented("Mask", MARKINGS, this.marking, (name) => this.setMarking(name));
    this.sizes = el("input", { type: "range", min: 0, max: TILES.length - 1, value: this.size, "aria-label": "Size of tiles" });
    this.sizes.addEventListener("input", () => this.setSize(Number(this.sizes.value)));
    this.order = el(
      "select",
      { "aria-label": "Order" },
      [["cohort", "in order"], ["load", "most lesion first"], ["shuffled", "shuffled"]].map(([value, text]) => el("option", { value, text })),
    );
    this.order.addEventListener("change", () => this.reload());
    this.count = el("span", { class: "total" });
    replace(byId("gallery-tools"), this.channels, this.markings, this.sizes, this.order, this.count);
    this.setSize(this.size);
  }

  setSize(size) {
    this.size = Math.min(Math.max(size, 0), TILES.length - 1);
    this.sizes.value = this.size;
    this.grid.style.setProperty("--tile", `${TILES[this.size]}px`);
  }

  setMarking(name) {
    this.marking = name;
    this.redraw();
  }

  setChannel(name) {
    this.channel = name;
    this.redraw();
  }

  redraw() {
    for (const tile of this.grid.children) {
      tile.querySelector("img").src = pictureAddress(tile.dataset.key, this.channel, 220, this.marking);
    }
    this.inspector.redraw();
  }

  // Filters

  onOverview(overview) {
    const state = JSON.stringify([overview.sources.map((s) => [s.key, s.slices, s.accept, s.reject]), overview.sites, overview.flags, overview.channels]);
    if (state === this.known) return;
    const first = this.known === undefined;
    this.known = state;
    this.buildFilters(overview);
    this.channel ||= overview.channels[0] ?? "";
    if (overview.channels.length > 1 && this.channelNames !== overview.channels.join()) {
      this.channelNames = overview.channels.join();
      this.channelChoice = segmented("Channel", overview.channels.map((name) => [name, name]), this.channel, (name) => this.setChannel(name));
      replace(this.channels, this.channelChoice);
    }
    if (first || this.slices.length < PAGE || !overview.complete) this.grow();
    else this.countAgain();
  }

  buildFilters(overview) {
    const chosen = new FormData(this.form);
    const had = this.form.childElementCount > 0;
    const on = (name, value) => (had ? chosen.getAll(name).includes(value) : false);
    const check = (name, value, text, count, type = "checkbox") =>
      el(
        "label",
        { class: "check", title: text },
        el("input", { type, name, value, checked: type === "radio" ? (chosen.get(name) ?? "") === value : on(name, value) }),
        el("span", { class: "name", text }),
        el("span", { class: "count", text: count === undefined ? "" : count.toLocaleString("en") }),
      );
    const group = (title, ...children) => el("fieldset", {}, el("legend", { text: title }), children.flat());
    const shown = overview.sources.filter((source) => source.slices > 0);
    const parts = [];
    if (shown.length > 1) {
      parts.push(group("Folder", shown.map((s) => check("source", s.key, s.title, s.slices))));
    }
    const synthetic = shown.filter((source) => source.kind === "synthetic");
    if (synthetic.length && synthetic.length < shown.length) {
      parts.push(group("Origin", check("origin", "", "all", undefined, "radio"), check("origin", "real", "real", undefined, "radio"), check("origin", "synthetic", "synthetic", undefined, "radio")));
    }
    const limits = (name, text) => el("input", { type: "number", name, min: 0, step: "any", placeholder: text, value: chosen.get(name) ?? "", "aria-label": `Lesion area ${text}, mm²` });
    parts.push(
      group(
        "Lesion",
        check("lesion", "", "all slices", undefined, "radio"),
        check("lesion", "with", "with a lesion", undefined, "radio"),
        check("lesion", "without", "without", undefined, "radio"),
        el("div", { class: "pair" }, limits("least", "from"), el("span", { text: "–" }), limits("most", "to"), el("span", { text: "mm²" })),
      ),
    );
    if (overview.sites.length > 1) parts.push(group("Site", overview.sites.map((site) => check("site", site, site))));
    if (synthetic.length) {
      const judged = synthetic.filter((source) => source.accept !== undefined); // those of a study's folds are sealed
      const [accepted, rejected, all] = ["accept", "reject", "slices"].map((name) => judged.reduce((sum, s) => sum + s[name], 0));
      parts.push(
        group(
          "Decision",
          check("decision", "", "all", undefined, "radio"),
          check("decision", "accept", "accepted", accepted, "radio"),
          check("decision", "reject", "rejected", rejected, "radio"),
          check("decision", "undecided", "undecided", all - accepted - rejected, "radio"),
        ),
      );
      const judge = el("button", { type: "button", text: "Look for flags", title: "Copies of patients, masks that do not fit, too much lesion", onclick: () => this.judge(synthetic) });
      const kinds = overview.flags.length ? [check("flag", "", "all", undefined, "radio"), check("flag", "any", "with any flag", undefined, "radio"), overview.flags.map((word) => check("flag", word, word, undefined, "radio"))].flat() : [];
      this.judgeState = el("span", { class: "soft" });
      parts.push(group("Audit flags", kinds, el("div", { class: "row" }, judge), this.judgeState));
    }
    parts.push(el("button", { type: "button", class: "quiet", text: "Clear filters", onclick: () => this.clear() }));
    replace(this.form, parts);
  }

  clear() {
    for (const input of this.form.elements) {
      if (input.type === "checkbox") input.checked = false;
      else if (input.type === "radio") input.checked = input.value === "";
      else if (input.type === "number") input.value = "";
    }
    this.reload();
  }

  async judge(sources) {
    try {
      for (const source of sources) {
        for (;;) {
          const state = await post(`/api/sources/${source.key}/judge`, {});
          if (state.state === "failed") throw new Error(state.text);
          if (state.state === "done") break;
          this.judgeState.textContent = state.text;
          await new Promise((done) => setTimeout(done, 500));
        }
      }
      await this.studio.refresh();
      this.reload();
      toast("Flags are in.", "good");
    } catch (error) {
      this.judgeState.textContent = "";
      toast(error.message);
    }
  }

  asking() {
    const chosen = new FormData(this.form);
    return {
      source: chosen.getAll("source"),
      site: chosen.getAll("site"),
      origin: chosen.get("origin") ?? "",
      lesion: chosen.get("lesion") ?? "",
      least: chosen.get("least") ?? "",
      most: chosen.get("most") ?? "",
      decision: chosen.get("decision") ?? "",
      flag: chosen.get("flag") ?? "",
      order: this.order.value,
    };
  }

  // Tiles

  async reload() {
    this.slices = [];
    this.at = -1;
    this.grid.replaceChildren();
    byId("grid-scroll").scrollTop = 0;
    await this.load();
    if (this.slices.length) this.select(0, false);
    else this.inspector.clear();
  }

  async grow() {
    await this.load();
    if (this.at < 0 && this.slices.length) this.select(0, false);
  }

  more() {
    if (this.slices.length && this.slices.length < this.total) this.load();
  }

  async countAgain() {
    const found = await get("/api/slices", { ...this.asking(), start: 0, count: 1 });
    this.total = found.total;
    this.tell();
  }

  async load() {
    const mine = ++this.asked;
    try {
      const found = await get("/api/slices", { ...this.asking(), start: this.slices.length, count: PAGE });
      if (mine !== this.asked) return;
      this.total = found.total;
      for (const slice of found.slices) {
        this.slices.push(slice);
        this.grid.append(this.tile(slice, this.slices.length - 1));
      }
      this.tell();
    } catch (error) {
      toast(error.message);
    }
  }

  tell() {
    this.count.textContent = `${this.total.toLocaleString("en")} ${this.total === 1 ? "slice" : "slices"}`;
    const empty = byId("grid-empty");
    empty.hidden = this.total > 0;
    empty.textContent = this.studio.overview.complete ? "No slice fits these filters." : "Reading the first cases …";
  }

  tile(slice, at) {
    const image = el("img", { loading: "lazy", decoding: "async", alt: "", src: pictureAddress(slice.key, this.channel, 220, this.marking) });
    const tile = el(
      "button",
      { type: "button", class: "tile", role: "option", "aria-selected": "false", tabindex: -1, data: { key: slice.key, at } },
      el("div", { class: "shot" }, image),
      el(
        "div",
        { class: "words" },
        el("span", { class: "name", text: slice.slices > 1 ? `${slice.case} · ${slice.z + 1}` : slice.case }),
        el(
          "span",
          { class: "facts" },
          el("span", { class: `origin ${slice.synthetic ? "synthetic" : "real"}`, text: slice.synthetic ? "synthetic" : "real" }),
          el("span", { text: slice.load === null ? "no mask" : slice.load ? area(slice.load) : "no lesion" }),
        ),
      ),
    );
    this.dress(tile, slice);
    return tile;
  }

  dress(tile, slice) {
    tile.dataset.decision = slice.decision ?? "";
    tile.querySelector(".mark")?.remove();
    tile.querySelector(".flagged")?.remove();
    if (slice.decision) {
      const word = slice.decision === "accept" ? "accepted" : "rejected";
      tile.append(el("span", { class: `mark ${slice.decision}`, text: slice.decision === "accept" ? "✓" : "✕", title: word, "aria-label": word }));
    }
    if (slice.flags.length) tile.append(el("span", { class: "flagged", text: "⚑", title: slice.flags.join("; ") }));
    tile.setAttribute("aria-label", `${slice.case}, slice ${slice.z + 1}, ${slice.synthetic ? "synthetic" : "real"}`);
  }

  select(at, focus = true) {
    if (at < 0 || at >= this.slices.length) return;
    const before = this.grid.children[this.at];
    if (before) {
      before.setAttribute("aria-selected", "false");
      before.tabIndex = -1;
    }
    this.at = at;
    const tile = this.grid.children[at];
    tile.setAttribute("aria-selected", "true");
    tile.tabIndex = 0;
    if (focus && !byId("large").open) {
      tile.focus({ preventScroll: true });
      tile.scrollIntoView({ block: "nearest" });
    }
    if (at > this.slices.length - 20) this.more();
    this.inspector.show(this.slices[at]);
  }

  columns() {
    const tiles = this.grid.children;
    let count = 1;
    while (count < tiles.length && tiles[count].offsetTop === tiles[0].offsetTop) count += 1;
    return count;
  }

  async decide(decision, forward = true) {
    const slice = this.slices[this.at];
    if (!slice) return;
    if (!slice.synthetic) {
      toast("Only synthetic samples are accepted or rejected.");
      return;
    }
    const at = this.at;
    try {
      const told = await post(`/api/slices/${slice.key}/decision`, { decision });
      Object.assign(slice, told);
      this.dress(this.grid.children[at], slice);
      if (this.at === at) {
        if (forward && at + 1 < this.slices.length) this.select(at + 1);
        else this.inspector.show(slice);
      }
      this.studio.refresh();
    } catch (error) {
      toast(error.message);
    }
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.columns(), ArrowUp: -this.columns() }[event.key];
    if (event.target instanceof HTMLInputElement && step) return false;
    if (step) this.select(Math.min(Math.max(this.at + step, 0), this.slices.length - 1));
    else if (event.key === "Home") this.select(0);
    else if (event.key === "End") this.select(this.slices.length - 1);
    else if (event.key === "a") this.decide("accept");
    else if (event.key === "r") this.decide("reject");
    else if (event.key === "u") this.decide(null, false);
    else if (event.key === "m") this.markings.pick(MARKINGS[(MARKINGS.findIndex(([name]) => name === this.marking) + 1) % 3][0]);
    else if (event.key === "c") this.nextChannel();
    else if (event.key === "+" || event.key === "=") this.setSize(this.size + 1);
    else if (event.key === "-") this.setSize(this.size - 1);
    else if (event.key === " ") this.inspector.enlarge();
    else if (event.key === "[" || event.key === "]") this.inspector.step(event.key === "]" ? 1 : -1);
    else if (event.key === "v") this.inspector.openVolume();
    else return false;
    return true;
  }

  nextChannel() {
    const names = this.studio.overview.channels;
    if (names.length > 1) this.channelChoice.pick(names[(names.indexOf(this.channel) + 1) % names.length]);
  }
}
