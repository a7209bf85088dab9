// Live sampling: sliders for what the generator offers, and a canvas for masks where it takes them.

import { area, byId, el, get, labelled, latest, number, post, replace, segmented, toast } from "./dom.js";
import { MaskCanvas } from "./mask_canvas.js";

const SIDE = 384;

export class Live {
  constructor(studio) {
    this.place = byId("view-live");
    this.settings = {};
    this.outlined = true;
    this.mode = "sample";
    this.run = null;
    this.ask = latest(() => this.sample());
    this.askMask = latest(() => this.fromMask());
    this.side = el("aside", { class: "side" });
    this.stage = el("div", { class: "stage" });
    replace(this.place, this.side, this.stage);
    studio.onOverview((overview) => this.fill(overview.sources.filter((source) => source.kind === "run" && source.status === "complete")));
  }

  fill(runs) {
    const known = runs.map((run) => run.key).join();
    if (known === this.known) return;
    this.known = known;
    this.runs = runs;
    if (!runs.length) {
      replace(this.side, el("h2", { text: "Live sampling" }));
      replace(this.stage, el("p", { class: "empty", text: "There is no finished run here. Name one: labelgan studio RUN." }));
      return;
    }
    this.chooser = el("select", { "aria-label": "Run" }, runs.map((run) => el("option", { value: run.key, text: `${run.title} (${run.model})` })));
    this.chooser.addEventListener("change", () => this.open(this.chooser.value));
    this.open(runs[0].key);
  }

  async open(key) {
    this.run = key;
    replace(this.stage, el("p", { class: "empty", text: "loading the generator …" }));
    try {
      this.offers = await get(`/api/live/${key}`);
    } catch (error) {
      replace(this.side, el("h2", { text: "Live sampling" }), labelled("Run", this.chooser));
      replace(this.stage, el("p", { class: "empty", text: error.message }));
      return;
    }
    this.settings = Object.fromEntries(this.offers.controls.map((control) => [control.name, control.default]));
    this.mode = "sample";
    this.build();
    this.ask();
  }

  build() {
    const { offers } = this;
    this.seed = this.slider("Seed", { low: 0, high: 999, step: 1, value: 0, most: offers.most_seed });
    this.index = this.slider("Sample", { low: 0, high: 199, step: 1, value: 0, most: offers.most_index });
    const controls = offers.controls.map((control) => {
      const made = this.slider(control.unit ? `${control.label}, ${control.unit}` : control.label, { ...control, value: control.default, most: control.high }, (value) => {
        this.settings[control.name] = value;
      });
      return made.field;
    });
    this.outline = el("input", { type: "checkbox", checked: this.outlined });
    this.outline.addEventListener("change", () => {
      this.outlined = this.outline.checked;
      this.draw();
    });
    this.play = el("button", { type: "button", text: "▶ Play (space)", onclick: () => this.toggle() });
    const modes = offers.from_mask
      ? labelled("Start from", segmented("Start from", [["sample", "chance"], ["mask", "a mask you draw"]], this.mode, (name) => this.setMode(name)))
      : null;
    replace(
      this.side,
      el("h2", { text: "Live sampling" }),
      labelled("Run", this.chooser),
      modes,
      this.seed.field,
      (this.indexField = this.index.field),
      controls,
      el("label", { class: "check" }, this.outline, el("span", { class: "name", text: "outline of the lesion" })),
      (this.buttons = el("div", { class: "row" }, el("button", { type: "button", text: "Another seed (s)", onclick: () => this.anotherSeed() }), this.play)),
      (this.drawTools = el("div", { class: "list", hidden: true })),
      el("p", { class: "soft", text: `${offers.channels.join(" + ")} + mask, ${offers.size[0]} × ${offers.size[1]} of ${number(offers.pixel_mm[0], 2)} mm. The same seed and sample give the same slice as labelgan sample.` }),
    );
    const names = [...offers.channels].sort((a, b) => (a === "T1" ? -1 : b === "T1" ? 1 : 0));
    this.shown = names.map((name) => ({ name, at: offers.channels.indexOf(name), image: el("img", { alt: `${name} of the sample` }) }));
    this.maskImage = el("img", { alt: "lesion mask of the sample" });
    this.maskFigure = el("figure", { class: "mask" }, this.maskImage, el("figcaption", { text: "Mask" }));
    this.words = el("p", { class: "soft", role: "status" });
    this.strip = el("div", { class: "strip", role: "group", "aria-label": "Neighbouring samples" });
    this.stripKnown = "";
    const figures = this.shown.map(({ name, image }) => el("figure", {}, image, el("figcaption", { text: name })));
    this.trio = el("div", { class: "trio" }, figures, this.maskFigure);
    this.trio.style.setProperty("--count", names.length + 1);
    replace(this.stage, this.trio, this.words, this.strip);
  }

  slider(text, { low, high, step, value, most }, change = () => {}) {
    const range = el("input", { type: "range", min: low, max: high, step, value, "aria-label": text });
    const box = el("input", { type: "number", min: low, max: most, step, value, "aria-label": `${text}, number` });
    const made = { value, field: labelled(text, el("div", { class: "slide" }, range, box)) };
    made.set = (wanted) => {
      made.value = Math.min(Math.max(wanted, low), most);
      range.value = made.value;
      box.value = made.value;
      change(made.value);
      if (this.mode === "mask") this.askMask();
      else this.ask();
    };
    range.addEventListener("input", () => made.set(Number(range.value)));
    box.addEventListener("change", () => made.set(Number.isFinite(Number(box.value)) ? Number(box.value) : value));
    return made;
  }

  async sample() {
    const run = this.run;
    const parameters = { seed: this.seed.value, index: this.index.value, side: SIDE };
    for (const [name, value] of Object.entries(this.settings)) parameters[`set.${name}`] = value;
    const begun = performance.now();
    const told = await get(`/api/live/${run}/sample`, parameters);
    if (run !== this.run || this.mode !== "sample") return;
    this.told = told;
    this.draw(performance.now() - begun);
    await this.drawStrip(run, parameters);
  }

  // The samples that were made together with this one

  async drawStrip(run, { side, ...parameters }) {
    const wanted = JSON.stringify([run, parameters.seed, Math.floor(parameters.index / 8), this.settings]);
    if (this.stripKnown !== wanted) {
      this.stripKnown = wanted;
      const { first, pictures } = await get(`/api/live/${run}/strip`, parameters);
      const buttons = pictures.map((picture, at) =>
        el(
          "button",
          { type: "button", class: "small", data: { index: first + at }, title: `sample ${first + at}`, onclick: () => this.index.set(first + at) },
          el("img", { src: picture, alt: `sample ${first + at}`, width: 72, height: 72 }),
        ),
      );
      replace(this.strip, buttons);
    }
    for (const button of this.strip.children) button.setAttribute("aria-current", String(Number(button.dataset.index) === this.index.value));
  }

  draw(spent = undefined) {
    if (!this.told) return;
    const pictures = this.outlined ? this.told.outlined : this.told.plain;
    for (const { at, image } of this.shown) image.src = pictures[at];
    if (this.mode === "sample") this.maskImage.src = this.told.mask;
    const load = this.told.lesion_pixels ? `lesion ${area(this.told.lesion_mm2)} (${this.told.lesion_pixels} pixels)` : "no lesion";
    const time = spent === undefined ? "" : ` · ${number(spent)} ms`;
    const which = this.mode === "sample" ? `seed ${this.seed.value}, sample ${this.index.value} · ` : "";
    this.words.textContent = `${which}${load}${time}`;
  }

  anotherSeed() {
    this.seed.set(Math.floor(Math.random() * 1000));
  }

  toggle() {
    if (this.playing) {
      clearInterval(this.playing);
      this.playing = 0;
    } else {
      this.playing = setInterval(() => {
        if (this.place.hidden) this.toggle();
        else this.index.set((this.index.value + 1) % 200);
      }, 450);
    }
    this.play.textContent = this.playing ? "❚❚ Pause (space)" : "▶ Play (space)";
  }

  // Masks that are drawn

  setMode(name) {
    this.mode = name;
    const drawing = name === "mask";
    if (this.playing) this.toggle();
    this.indexField.hidden = drawing;
    this.buttons.hidden = drawing;
    this.drawTools.hidden = !drawing;
    this.strip.hidden = drawing;
    if (!drawing) {
      this.trio.lastChild.replaceWith(this.maskFigure);
      this.ask();
      return;
    }
    this.canvas = new MaskCanvas(this.offers.size, () => this.askMask());
    this.canvas.take(this.told?.mask);
    this.trio.lastChild.replaceWith(this.canvas.node);
    replace(this.drawTools, this.canvas.tools());
  }

  async fromMask() {
    const told = await post(`/api/live/${this.run}/from-mask`, { rows: this.canvas.rows(), seed: this.seed.value });
    if (this.mode !== "mask") return;
    this.told = told;
    this.draw();
  }

  key(event) {
    if (!this.offers) return false;
    if (event.target instanceof HTMLInputElement && event.target.type === "range" && event.key.startsWith("Arrow")) return false;
    if (event.key === "ArrowRight") this.index.set(this.index.value + 1);
    else if (event.key === "ArrowLeft") this.index.set(this.index.value - 1);
    else if (event.key === "s") this.anotherSeed();
    else if (event.key === "m") this.outline.click();
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) this.toggle();
    else return false;
    return true;
  }
}
