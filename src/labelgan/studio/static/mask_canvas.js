// A mask to draw: brush, eraser, and a hand that moves the lesion under it.

import { el, labelled, segmented } from "./dom.js";

export class MaskCanvas {
  constructor([height, width], changed) {
    this.height = height;
    this.width = width;
    this.changed = changed;
    this.values = new Uint8Array(height * width);
    this.tool = "brush";
    this.radius = Math.max(1, Math.round(Math.min(height, width) / 32));
    this.canvas = el("canvas", { width, height, tabindex: 0, "aria-label": "Lesion mask: draw here" });
    this.node = el("figure", { class: "drawing" }, this.canvas, el("figcaption", { text: "Mask: draw here" }));
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    this.canvas.addEventListener("pointerup", () => this.up());
    this.canvas.addEventListener("pointercancel", () => this.up());
    this.paint();
  }

  tools() {
    const size = el("input", { type: "range", min: 1, max: Math.max(2, Math.round(this.width / 10)), value: this.radius, "aria-label": "Size of the brush" });
    size.addEventListener("input", () => (this.radius = Number(size.value)));
    return [
      labelled("Tool", segmented("Tool", [["brush", "Draw"], ["erase", "Erase"], ["move", "Move"]], this.tool, (name) => (this.tool = name))),
      labelled("Size of the brush", size),
      el("button", { type: "button", text: "Clear", onclick: () => this.clear() }),
    ];
  }

  // Begins with a mask that was sampled, from its picture
  take(address) {
    if (!address) return;
    const image = new Image();
    image.addEventListener("load", () => {
      const small = el("canvas", { width: this.width, height: this.height });
      const context = small.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(image, 0, 0, this.width, this.height);
      const pixels = context.getImageData(0, 0, this.width, this.height).data;
      for (let at = 0; at < this.values.length; at += 1) this.values[at] = pixels[4 * at] > 127 ? 1 : 0;
      this.paint();
      this.changed();
    });
    image.src = address;
  }

  clear() {
    this.values.fill(0);
    this.paint();
    this.changed();
  }

  rows() {
    const rows = [];
    for (let y = 0; y < this.height; y += 1) rows.push(this.values.subarray(y * this.width, (y + 1) * this.width).join(""));
    return rows;
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height];
  }

  down(event) {
    this.canvas.setPointerCapture(event.pointerId);
    this.last = this.place(event);
    this.drawing = true;
    if (this.tool === "move") this.held = this.lesionAt(...this.last);
    else this.stroke(this.last, this.last);
  }

  move(event) {
    if (!this.drawing) return;
    const here = this.place(event);
    if (this.tool === "move") this.drag(here);
    else {
      this.stroke(this.last, here);
      this.last = here;
    }
  }

  up() {
    if (!this.drawing) return;
    this.drawing = false;
    this.held = null;
    this.changed();
  }

  stroke([x0, y0], [x1, y1]) {
    const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) * 2));
    const value = this.tool === "erase" ? 0 : 1;
    for (let step = 0; step <= steps; step += 1) {
      const x = x0 + ((x1 - x0) * step) / steps;
      const y = y0 + ((y1 - y0) * step) / steps;
      for (let row = Math.floor(y - this.radius); row <= y + this.radius; row += 1) {
        for (let column = Math.floor(x - this.radius); column <= x + this.radius; column += 1) {
          const inside = Math.hypot(column + 0.5 - x, row + 0.5 - y) <= this.radius;
          if (inside && row >= 0 && row < this.height && column >= 0 && column < this.width) this.values[row * this.width + column] = value;
        }
      }
    }
    this.paint();
  }

  // The connected pixels under a point, and the others
  lesionAt(x, y) {
    const start = Math.floor(y) * this.width + Math.floor(x);
    if (!this.values[start]) return null;
    const rest = this.values.slice();
    const part = [];
    const open = [start];
    rest[start] = 0;
    while (open.length) {
      const at = open.pop();
      part.push(at);
      const column = at % this.width;
      for (const next of [at - this.width, at + this.width, column > 0 ? at - 1 : -1, column < this.width - 1 ? at + 1 : -1]) {
        if (next >= 0 && next < rest.length && rest[next]) {
          rest[next] = 0;
          open.push(next);
        }
      }
    }
    return { part, rest };
  }

  drag([x, y]) {
    if (!this.held) return;
    const dx = Math.round(x - this.last[0]);
    const dy = Math.round(y - this.last[1]);
    this.values = this.held.rest.slice();
    for (const at of this.held.part) {
      const row = Math.floor(at / this.width) + dy;
      const column = (at % this.width) + dx;
      if (row >= 0 && row < this.height && column >= 0 && column < this.width) this.values[row * this.width + column] = 1;
    }
    this.paint();
  }

  paint() {
    const context = this.canvas.getContext("2d");
    const picture = context.createImageData(this.width, this.height);
    for (let at = 0; at < this.values.length; at += 1) {
      const value = this.values[at] ? 255 : 14;
      picture.data.set([value, value, value, 255], 4 * at);
    }
    context.putImageData(picture, 0, 0);
  }
}
