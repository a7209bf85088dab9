// Pages of studies and audits, in a sealed frame.

import { byId, el, replace } from "./dom.js";

export class Reports {
  constructor(studio) {
    this.place = byId("view-reports");
    this.list = el("div", { class: "list" });
    this.stage = el("div", { class: "stage" });
    replace(this.place, el("aside", { class: "side" }, el("h2", { text: "Studies and audits" }), this.list), this.stage);
    studio.onOverview((overview) => this.fill(overview.sources.filter((source) => source.report)));
  }

  fill(sources) {
    const known = sources.map((source) => source.key).join();
    if (known === this.known) return;
    this.known = known;
    const buttons = sources.map((source) =>
      el("button", { type: "button", title: source.title, onclick: () => this.open(source) }, source.title, el("small", { text: source.kind })),
    );
    replace(this.list, buttons.length ? buttons : el("p", { class: "soft", text: "No study or audit here has a report." }));
    if (sources.length) this.open(sources[0]);
    else replace(this.stage, el("p", { class: "empty", text: "Name a study or an audit, or a folder that holds one: labelgan studio DIR." }));
  }

  open(source) {
    for (const button of this.list.children) button.setAttribute("aria-current", String(button.title === source.title));
    replace(this.stage, el("iframe", { title: `Report of ${source.title}`, sandbox: "", src: `/api/reports/${source.key}` }));
  }
}
