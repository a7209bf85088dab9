// The keys, over whatever is on the page.

import { byId, el, replace } from "./dom.js";

const GROUPS = [
  ["Everywhere", [["1 … 5", "go to a view"], ["t", "light or dark"], ["?", "this help"], ["Esc", "close what is open"]]],
  [
    "Gallery",
    [
      ["← → ↑ ↓", "select a slice"],
      ["a", "accept the sample, go to the next"],
      ["r", "reject the sample, go to the next"],
      ["u", "take the decision back"],
      ["Space", "large view"],
      ["m", "mask: outline, filled, none"],
      ["c", "next channel"],
      ["+  −", "larger, smaller tiles"],
      ["[  ]", "slice below, above in the same scan"],
      ["v", "open the scan as a volume"],
    ],
  ],
  ["Volume", [["← →", "slice below, above"], ["m", "mask on or off"], ["c", "next channel"], ["l", "axial, three planes, all"]]],
  ["Live sampling", [["← →", "sample before, after"], ["s", "another seed"], ["m", "outline on or off"], ["Space", "play"]]],
  ["Real or synthetic?", [["r", "real"], ["s", "synthetic"]]],
];

export function showHelp() {
  const dialog = byId("help");
  if (dialog.open) return dialog.close();
  const groups = GROUPS.map(([title, keys]) =>
    el(
      "section",
      {},
      el("h3", { text: title }),
      el("dl", {}, keys.flatMap(([key, what]) => [el("dt", {}, key.split(" ").filter(Boolean).map((part) => (part === "…" ? " … " : el("kbd", { text: part })))), el("dd", { text: what })])),
    ),
  );
  replace(dialog, el("div", { class: "head" }, el("h2", { text: "Keys" })), el("div", { class: "keys" }, groups));
  dialog.append(el("p", { class: "row" }, el("button", { text: "Close", class: "primary", onclick: () => dialog.close() })));
  dialog.showModal();
}
