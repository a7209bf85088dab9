// Native volumes with the mask over them, by NiiVue.

import { byId, el, get, labelled, number, replace, segmented, toast } from "./dom.js";

const PLANES = [["axial", "Axial"], ["multi", "Three planes"], ["render", "3D"]];

export class Volume {
  constructor(studio) {
    this.studio = studio;
    this.place = byId("view-volume");
    this.cases = new Map();
    this.plane = "axial";
    this.opacity = 0.5;
    this.before = 0.5;
    this.channel = "";
    this.channelPlace = el("div");
    this.planes = segmented("Planes", PLANES, this.plane, (name) => this.setPlane(name));
    this.opacityInput = el("input", { type: "range", min: 0, max: 1, step: 0.05, value: this.opacity, "aria-label": "Opacity of the mask" });
    this.opacityInput.addEventListener("input", () => this.setOpacity(Number(this.opacityInput.value)));
    this.smooth = el("input", { type: "checkbox", checked: true });
    this.smooth.addEventListener("change", () => this.nv?.setInterpolation(!this.smooth.checked));
    this.list = el("div", { class: "list", "aria-label": "Scans" });
    this.title = el("h2", { text: "No scan is open" });
    this.readout = el("div", { class: "readout", hidden: true });
    this.wait = el("div", { class: "wait", hidden: true, text: "reading the volume …" });
    this.canvas = el("canvas", { id: "niivue", tabindex: 0, "aria-label": "Volume" });
    replace(
      this.place,
      el(
        "aside",
        { class: "side" },
        this.title,
        labelled("Channel", this.channelPlace),
        labelled("View", this.planes),
        labelled("Mask opacity", this.opacityInput),
        el("label", { class: "check" }, this.smooth, el("span", { class: "name", text: "smooth between voxels" })),
        el("p", { class: "soft", text: "Scroll for slices, drag with the right button for the window, left is the patient's right." }),
        el("h3", { text: "Scans" }),
        this.list,
      ),
      el("div", { class: "stage" }, this.canvas, this.readout, this.wait),
    );
    studio.onOverview(() => studio.view === "volume" && this.fill());
  }

  // One entry a scan, from the slices in its middle

  fill() {
    this.filling ??= this.read().finally(() => (this.filling = null));
    return this.filling;
  }

  async read() {
    const cases = await get("/api/cases");
    if (cases.length && cases.length === this.cases.size) return;
    this.cases = new Map(cases.map((one) => [one.key, one]));
    const buttons = cases.map((one) =>
      el(
        "button",
        { type: "button", data: { key: one.key }, title: one.source, "aria-current": String(one.key === this.current), onclick: () => this.open(one.key) },
        one.id,
        el("small", { text: `${one.source} · ${one.slices} slices` }),
      ),
    );
    replace(this.list, buttons.length ? buttons : el("p", { class: "soft", text: "There is no scan with several slices here." }));
  }

  async enter(key = undefined, z = undefined) {
    await this.fill();
    const wanted = key ?? this.current ?? this.cases.keys().next().value;
    if (wanted && (wanted !== this.current || z !== undefined)) await this.open(wanted, z);
  }

  async start() {
    if (this.nv) return;
    const { Niivue, DRAG_MODE } = await import("./vendor/niivue.js");
    const nv = new Niivue({
      isRadiologicalConvention: true,
      backColor: [0, 0, 0, 1],
      crosshairColor: [0.42, 0.7, 1, 0.7],
      crosshairWidth: 0.25,
      crosshairWidthUnit: "percent",
      show3Dcrosshair: true,
      dragMode: DRAG_MODE.contrast,
      loadingText: "",
      logLevel: "error",
    });
    nv.addColormap("lesion", { R: [0, 230, 230], G: [0, 159, 159], B: [0, 0, 0], A: [0, 255, 255], I: [0, 1, 255] });
    nv.onLocationChange = (told) => this.tell(told);
    await nv.attachToCanvas(this.canvas);
    if (!nv.gl) throw new Error("this browser has no WebGL 2, which volumes need; the gallery works without");
    this.nv = nv;
  }

  async open(key, z = undefined) {
    const one = this.cases.get(key);
    if (!one) return;
    this.current = key;
    for (const button of this.list.children) button.setAttribute("aria-current", String(button.dataset?.key === key));
    this.title.textContent = one.id;
    if (!one.channels.includes(this.channel)) this.channel = one.channels[0];
    this.channelChoice = segmented("Channel", one.channels.map((name) => [name, name]), this.channel, (name) => this.setChannel(name));
    replace(this.channelPlace, this.channelChoice);
    await this.load(one, z);
  }

  async load(one, z = undefined) {
    this.wait.hidden = false;
    try {
      await this.start();
      const address = (name) => `/api/cases/${one.key}/${encodeURIComponent(name)}.nii.gz`;
      const volumes = [{ url: address(this.channel), name: "image.nii.gz", colormap: "gray" }];
      if (one.mask) volumes.push({ url: address("mask"), name: "mask.nii.gz", colormap: "lesion", opacity: this.opacity, cal_min: 0.5, cal_max: 1 });
      await this.nv.loadVolumes(volumes);
      if (this.current !== one.key) return;
      this.opened = one;
      this.setPlane(this.plane);
      this.nv.setInterpolation(!this.smooth.checked);
      this.goTo(z ?? one.fullest, one.slices);
    } catch (error) {
      toast(`The volume cannot be shown: ${error.message}`);
    } finally {
      this.wait.hidden = true;
    }
  }

  goTo(z, slices) {
    const position = [...this.nv.scene.crosshairPos];
    position[2] = (z + 0.5) / slices;
    this.nv.scene.crosshairPos = position;
    this.nv.updateGLVolume();
    this.nv.createOnLocationChange();
  }

  tell(told) {
    const [x, y, z] = told.mm;
    const values = told.values.map((value) => number(value.value, 2));
    const mask = this.opened?.mask ? ` · mask ${values[1] ?? "–"}` : "";
    this.readout.hidden = false;
    this.readout.textContent = `${number(x, 1)}, ${number(y, 1)}, ${number(z, 1)} mm · ${this.channel} ${values[0] ?? "–"}${mask}`;
  }

  setChannel(name) {
    this.channel = name;
    const one = this.cases.get(this.current);
    const at = this.nv?.scene?.crosshairPos?.[2];
    this.load(one, at === undefined ? undefined : at * one.slices - 0.5);
  }

  setPlane(name) {
    this.plane = name;
    if (!this.nv) return;
    const types = { axial: this.nv.sliceTypeAxial, multi: this.nv.sliceTypeMultiplanar, render: this.nv.sliceTypeRender };
    this.nv.setSliceType(types[name]);
  }

  setOpacity(value) {
    this.opacity = value;
    this.opacityInput.value = value;
    if (this.nv?.volumes.length > 1) this.nv.setOpacity(1, value);
  }

  key(event) {
    if (event.key === "ArrowRight") this.nv?.moveCrosshairInVox(0, 0, 1);
    else if (event.key === "ArrowLeft") this.nv?.moveCrosshairInVox(0, 0, -1);
    else if (event.key === "l") this.planes.pick(PLANES[(PLANES.findIndex(([name]) => name === this.plane) + 1) % 3][0]);
    else if (event.key === "m") {
      if (this.opacity) [this.before, this.opacity] = [this.opacity, 0];
      else this.opacity = this.before;
      this.setOpacity(this.opacity);
    } else if (event.key === "c" && this.opened?.channels.length > 1) {
      const names = this.opened.channels;
      this.channelChoice.pick(names[(names.indexOf(this.channel) + 1) % names.length]);
    } else return false;
    return true;
  }
}
