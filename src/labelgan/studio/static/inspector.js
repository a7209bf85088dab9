// The selected slice: all channels, the nearest real slice, the decision, and a way to the volume.

import { area, byId, el, get, latest, number, pictureAddress, replace } from "./dom.js";

const SIDE = 400;

export class Inspector {
  constructor(gallery) {
    this.gallery = gallery;
    this.place = byId("inspector");
    this.dialog = byId("large");
    this.detail = null;
    this.ask = latest((slice) => this.load(slice));
    this.askNearest = latest((key) => this.loadNearest(key));
    this.clear();
  }

  clear() {
    this.slice = this.detail = null;
    replace(this.place, el("p", { class: "empty", text: "Select a slice to look at it closely." }));
  }

  show(slice) {
    this.slice = slice;
    this.ask(slice);
  }

  async load(slice) {
    const detail = await get(`/api/slices/${slice.key}`);
    if (this.slice !== slice) return;
    this.detail = detail;
    this.render();
    if (this.dialog.open) this.renderLarge();
  }

  redraw() {
    if (this.detail) this.render();
    if (this.dialog.open) this.renderLarge();
  }

  pictures(key, channels, side = SIDE) {
    const shots = channels.map((name) =>
      el("figure", {}, el("img", { src: pictureAddress(key, name, side, this.gallery.marking), alt: `${name} of the slice` }), el("figcaption", { text: name })),
    );
    return el("div", { class: channels.length > 1 ? "shots" : "shots one" }, shots);
  }

  render() {
    const detail = this.detail;
    const parts = [
      el(
        "div",
        { class: "head" },
        el("h2", { text: detail.case, title: detail.case }),
        el("span", { class: `origin ${detail.synthetic ? "synthetic" : "real"}`, text: detail.synthetic ? "synthetic" : "real" }),
      ),
      this.pictures(detail.key, detail.channels),
    ];
    if (detail.slices > 1) parts.push(this.slider(detail));
    if (detail.judged) parts.push(this.judgement(detail));
    if (detail.flags.length) parts.push(el("div", { class: "flags" }, detail.flags.map((word) => el("span", { text: word }))));
    if (detail.synthetic) {
      this.nearestPlace = el("div", { class: "list" }, el("h3", { text: "Nearest real slice" }), el("p", { class: "soft", text: "searching …" }));
      parts.push(this.nearestPlace);
      this.askNearest(detail.key);
    }
    parts.push(this.facts(detail));
    const open = el("button", { type: "button", text: "Open volume (v)", onclick: () => this.openVolume() });
    const large = el("button", { type: "button", text: "Large (space)", onclick: () => this.enlarge() });
    parts.push(el("div", { class: "row" }, detail.slices > 1 ? open : null, large));
    replace(this.place, parts);
  }

  slider(detail) {
    const input = el("input", { type: "range", min: 0, max: detail.slices - 1, value: detail.z, "aria-label": "Slice of the scan" });
    const text = el("span", { class: "soft", text: `slice ${detail.z + 1} of ${detail.slices}` });
    input.addEventListener("input", () => {
      text.textContent = `slice ${Number(input.value) + 1} of ${detail.slices}`;
      this.goTo(Number(input.value));
    });
    return el("div", { class: "slide" }, input, text);
  }

  goTo(z) {
    const key = this.detail?.neighbours[z];
    if (!key || key === this.detail.key) return;
    const at = this.gallery.slices.findIndex((slice) => slice.key === key);
    if (at >= 0) this.gallery.select(at, false);
    else this.show({ key });
  }

  step(by) {
    if (this.detail) this.goTo(this.detail.z + by);
  }

  judgement(detail) {
    const button = (name, word, letter, mark) =>
      el(
        "button",
        { type: "button", class: mark, "aria-pressed": String(detail.decision === name), onclick: () => this.gallery.decide(name, false) },
        word,
        el("kbd", { text: letter }),
      );
    return el(
      "div",
      { class: "judge" },
      button("accept", "✓ Accept", "a", "yes"),
      button("reject", "✕ Reject", "r", "no"),
      el("button", { type: "button", class: "quiet", text: "undo", title: "Take the decision back (u)", disabled: !detail.decision, onclick: () => this.gallery.decide(null, false) }),
    );
  }

  facts(detail) {
    const rows = [
      ["Folder", detail.source],
      ["Site", detail.site],
      ["Patient", detail.patient],
      ["Lesion", detail.has_mask ? area(detail.load) : "no mask"],
      ["Grid", `${detail.size[0]} × ${detail.size[1]} of ${number(detail.pixel_mm[0], 2)} × ${number(detail.pixel_mm[1], 2)} mm`],
      ["Decided", detail.decided ? `${detail.decision}, ${detail.decided.replace("T", " ").slice(0, 16)} UTC` : ""],
    ];
    return el("dl", {}, rows.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", { text: name }), el("dd", { text: value })]));
  }

  async loadNearest(key) {
    if (this.detail?.key !== key) return;
    const place = this.nearestPlace;
    try {
      const found = await get(`/api/slices/${key}/nearest`);
      if (this.detail?.key !== key) return;
      this.nearest = found;
      const moved = [found.flip ? "mirrored" : "", found.shift.some(Boolean) ? `moved by ${found.shift.join(", ")}` : ""].filter(Boolean).join(", ");
      replace(
        place,
        el("h3", { text: found.of_training ? "Nearest training slice" : "Nearest real slice (training cases are not here)" }),
        this.pictures(found.slice.key, this.detail.channels),
        el(
          "p",
          { class: "soft" },
          `${found.slice.case} · ${found.slice.z + 1}, likeness ${number(found.likeness, 2)} (1 is the same)${moved ? `, ${moved}` : ""}`,
        ),
      );
      if (this.dialog.open) this.renderLarge();
    } catch (error) {
      if (this.detail?.key === key) replace(place, el("h3", { text: "Nearest real slice" }), el("p", { class: "soft", text: error.message }));
    }
  }

  openVolume() {
    const detail = this.detail;
    if (detail && detail.slices > 1) this.gallery.studio.show("volume", detail.case_key, detail.z);
  }

  enlarge() {
    if (this.dialog.open) return this.dialog.close();
    if (!this.detail) return;
    this.renderLarge();
    this.dialog.showModal();
  }

  renderLarge() {
    const detail = this.detail;
    const state = { accept: "✓ accepted", reject: "✕ rejected" }[detail.decision] ?? "";
    const place = `${detail.case}${detail.slices > 1 ? ` · slice ${detail.z + 1} of ${detail.slices}` : ""}`;
    this.dialog.style.setProperty("--count", detail.channels.length);
    replace(
      this.dialog,
      el(
        "div",
        { class: "head" },
        el("h2", { text: place }),
        el("span", { class: "soft", text: [detail.synthetic ? "synthetic" : "real", area(detail.load), state].filter(Boolean).join(" · ") }),
        el("button", { class: "quiet", text: "Close (Esc)", onclick: () => this.dialog.close() }),
      ),
      this.pictures(detail.key, detail.channels, 720),
    );
  }
}
