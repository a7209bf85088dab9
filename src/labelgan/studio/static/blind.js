// Real or synthetic? One slice at a time, an answer for each, and the accuracy with its interval.

import { byId, el, labelled, number, post, replace, toast } from "./dom.js";

export class Blind {
  constructor(studio) {
    this.studio = studio;
    this.place = byId("view-blind");
    this.side = el("aside", { class: "side" });
    this.stage = el("div", { class: "stage" });
    replace(this.place, this.side, this.stage);
    studio.onOverview((overview) => this.fill(overview.sources.filter((source) => source.kind === "synthetic" && source.slices)));
  }

  fill(sources) {
    const known = sources.map((source) => source.key).join();
    if (known === this.known) return;
    this.known = known;
    this.cohort = el("select", { "aria-label": "Synthetic cohort" }, sources.map((source) => el("option", { value: source.key, text: source.title })));
    this.trials = el("input", { type: "number", min: 5, max: 500, value: 30, "aria-label": "Slices" });
    this.masks = el("input", { type: "checkbox" });
    this.lesions = el("input", { type: "checkbox" });
    this.begin = el("button", { type: "button", class: "primary", text: "Begin", disabled: !sources.length, onclick: () => this.start() });
    replace(
      this.side,
      el("h2", { text: "Real or synthetic?" }),
      labelled("Synthetic cohort", this.cohort),
      labelled("Slices", this.trials),
      el("label", { class: "check" }, this.masks, el("span", { class: "name", text: "show outlines of lesions" })),
      el("label", { class: "check" }, this.lesions, el("span", { class: "name", text: "only slices with a lesion" })),
      this.begin,
    );
    this.intro(sources.length > 0);
  }

  intro(possible) {
    replace(
      this.stage,
      el(
        "div",
        { class: "card" },
        el("h2", { text: "Can you tell them apart?" }),
        el("p", { text: "Each slice is real or synthetic by the toss of a coin. Both are shown on one grid, windowed by the same rule, without a name. After the last one you see how many you got right, with the 95 % interval; an interval that holds one half means that chance would do as well." }),
        el("p", { class: "soft", text: "The answers are saved beside the samples, in blind_tests.json." }),
        possible ? null : el("p", { class: "warn", text: "There is no synthetic cohort here. Name one, and real slices beside it." }),
      ),
    );
  }

  async start() {
    try {
      this.test = await post("/api/blind", { source: this.cohort.value, trials: Number(this.trials.value), masks: this.masks.checked, lesions: this.lesions.checked });
    } catch (error) {
      toast(error.message);
      return;
    }
    this.trial = 0;
    this.begin.textContent = "Begin again";
    this.draw();
  }

  draw() {
    const { test, trial } = this;
    const figures = test.channels.map((name, channel) =>
      el("figure", {}, el("img", { src: `/api/blind/${test.key}/${trial}/${channel}`, alt: `${name}, real or synthetic` }), el("figcaption", { text: name })),
    );
    const pictures = el("div", { class: "pictures" }, figures);
    pictures.style.setProperty("--count", test.channels.length);
    const track = el("div", { class: "track", role: "progressbar", "aria-valuenow": trial, "aria-valuemax": test.trials }, el("div"));
    track.firstChild.style.setProperty("--share", `${(100 * trial) / test.trials}%`);
    replace(
      this.stage,
      el(
        "div",
        { class: "trial" },
        pictures,
        el("div", { class: "answers" }, this.button("real", "Real ", "r"), this.button("synthetic", "Synthetic ", "s")),
        track,
        el("p", { class: "soft", text: `slice ${trial + 1} of ${test.trials}` }),
      ),
    );
  }

  button(name, word, letter) {
    return el("button", { type: "button", onclick: () => this.answer(name) }, word, el("kbd", { text: letter }));
  }

  async answer(name) {
    if (this.busy) return;
    this.busy = true;
    try {
      const told = await post(`/api/blind/${this.test.key}/answer`, { trial: this.trial, answer: name });
      this.trial += 1;
      if (told.over) this.finish(told);
      else this.draw();
    } catch (error) {
      toast(error.message);
    } finally {
      this.busy = false;
    }
  }

  finish(told) {
    const { result } = told;
    const [low, high] = result.interval;
    const percent = (share) => `${number(100 * share, 1)} %`;
    const interval = el(
      "div",
      { class: "interval", role: "img", "aria-label": `accuracy ${percent(result.accuracy)}, interval ${percent(low)} to ${percent(high)}` },
      el("div", { class: "axis" }),
      el("div", { class: "reach" }),
      el("div", { class: "chance" }),
      el("div", { class: "point" }),
      el("span", { class: "zero", text: "0 %" }),
      el("span", { class: "half", text: "chance" }),
      el("span", { class: "one", text: "100 %" }),
    );
    interval.style.setProperty("--low", percent(low).replaceAll(" ", ""));
    interval.style.setProperty("--width", `${100 * (high - low)}%`);
    interval.style.setProperty("--low", `${100 * low}%`);
    interval.style.setProperty("--at", `${100 * result.accuracy}%`);
    const table = result.table;
    const line = (truth) => el("tr", {}, el("th", { text: truth, scope: "row" }), el("td", { text: table[`${truth} called real`] }), el("td", { text: table[`${truth} called synthetic`] }));
    const test = this.test;
    this.test = null;
    replace(
      this.stage,
      el(
        "div",
        { class: "card" },
        el("h2", { text: "The result" }),
        el("p", {}, el("span", { class: "big", text: percent(result.accuracy) }), ` right: ${result.right} of ${result.trials}, 95 % interval ${percent(low)} to ${percent(high)}`),
        interval,
        el("p", { text: `This is ${told.words}.`.replace("This is chance", "Chance") }),
        el("table", {}, el("tr", {}, el("th"), el("th", { text: "called real" }), el("th", { text: "called synthetic" })), line("real"), line("synthetic")),
        el(
          "div",
          { class: "answered" },
          told.truth.map((truth, trial) => {
            const right = truth === told.answers[trial];
            return el("figure", { data: { right: String(right) } }, el("img", { loading: "lazy", src: `/api/blind/${test.key}/${trial}/0`, alt: "" }), el("figcaption", { text: `${right ? "✓" : "✕"} ${truth}` }));
          }),
        ),
        told.saved ? el("p", { class: "soft", text: `Saved beside the samples, in ${told.saved}.` }) : el("p", { class: "warn", text: `Not saved: ${told.not_saved}` }),
      ),
    );
  }

  key(event) {
    if (!this.test || event.target instanceof HTMLSelectElement) return false;
    if (event.key === "r") this.answer("real");
    else if (event.key === "s") this.answer("synthetic");
    else return false;
    return true;
  }
}
