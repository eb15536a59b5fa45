// The controls around the stage: what they call, and what the lists and captions show.

/** Connect buttons and fields with the viewer's methods. */
function connectControls(viewer) {
  const actions = {
    previous: () => viewer.stepScene(-1), next: () => viewer.stepScene(1), swap: () => viewer.swapPair(),
    flip: () => viewer.flip(),
    out: () => viewer.zoomStep(-1), in: () => viewer.zoomStep(1), fit: () => viewer.fit(), copy: () => viewer.copyFigure(),
    blind: () => viewer.startBlind(), "blind-0": () => viewer.answerBlind(0), "blind-1": () => viewer.answerBlind(1),
    "blind-none": () => viewer.answerBlind(null), "blind-end": () => viewer.endBlind(),
  };
  for (const button of viewer.root.querySelectorAll("[data-act]")) {
    button.addEventListener("click", actions[button.dataset.act]);
  }
  const changes = {
    scene: (field) => viewer.openScene(Number(field.value)), range: () => viewer.update(), reference: () => viewer.update(),
    "box-size": (field) => viewer.setBoxSize(Number(field.value)), "blind-hr": () => viewer.update(),
  };
  for (const [name, change] of Object.entries(changes)) {
    viewer.find(name).addEventListener("change", (event) => change(event.target));
  }
  const radios = { mode: (value) => viewer.setMode(value), shown: (value) => viewer.setShown(value) };
  for (const [name, choose] of Object.entries(radios)) {
    for (const input of viewer.root.querySelectorAll(`[name=${name}]`)) {
      input.addEventListener("change", () => choose(input.value));
    }
  }
  for (const select of viewer.root.querySelectorAll("[data-pair]")) {
    select.addEventListener("change", () => viewer.setPair(Number(select.dataset.pair), select.value));
  }
  viewer.find("divider").addEventListener("input", (event) => viewer.setDivider(event.target.value / 1000));
}

/** Connect gestures on the stage, and changes of its size. */
function connectStage(viewer) {
  const stage = viewer.find("stage"), { viewport } = viewer;
  attachGestures(stage, {
    pan: (dx, dy) => { viewport.panBy(dx, dy); viewer.draw(); },
    pinch: (factor, point) => { viewport.zoomTo(viewport.exactZoom * factor, point); viewer.draw(); },
    wheel: (direction, point) => { viewport.zoomStep(direction, point); viewer.draw(); },
    click: (point) => { stage.focus({ preventScroll: true }); viewer.placeBox(viewport.toImage(point)); },
    hover: (point) => showPosition(viewer, viewport.toImage(point)),
    slide: (share, reach) => viewer.slide(share, reach),
  });
  stage.addEventListener("pointerleave", () => showPosition(viewer, null));
  // Inside MLflow's page the size of the window is 0 when this script starts. The stage itself is not observed, because
  // laying out changes its height.
  new ResizeObserver(() => viewer.layOut()).observe(viewer.find("width"));
  window.addEventListener("resize", () => viewer.layOut());
}

/** Fill the list of images, by set. */
function fillScenes(viewer) {
  const groups = viewer.data.sets.map((set) => {
    const group = document.createElement("optgroup");
    group.label = set.title;
    viewer.scenes.forEach((scene, index) => {
      if (scene.set === set) group.append(new Option(scene.name, index));
    });
    return group;
  });
  viewer.find("scene").replaceChildren(...groups);
}

/** Fill the lists of results for the current set; another set may have others. */
function fillSources(viewer) {
  const { sources } = viewer.scene.set;
  viewer.pair = viewer.pair.map((key, index) => (sources.includes(key) ? key : viewer.results[index] ?? BICUBIC));
  const fill = (select, value) => {
    select.replaceChildren(...sources.map((key) => new Option(viewer.label(key), key)));
    select.value = value;
  };
  for (const select of viewer.root.querySelectorAll("[data-pair]")) fill(select, viewer.pair[select.dataset.pair]);
  const { value } = viewer.find("reference");
  fill(viewer.find("reference"), sources.includes(value) ? value : HR);
  viewer.find("chips").replaceChildren(...sources.map((key, index) => createChip(viewer, key, index)));
}

function createChip(viewer, key, index) {
  const chip = document.createElement("label"), input = document.createElement("input"), text = document.createElement("span");
  input.type = "checkbox";
  input.value = key;
  input.checked = viewer.chosen.has(key);
  input.addEventListener("change", () => viewer.toggleSource(key));
  text.textContent = viewer.label(key);
  text.title = viewer.data.sources[key].detail ?? "";
  if (index < 9) text.dataset.key = index + 1;
  chip.style.setProperty("--mark", viewer.data.sources[key].color);
  chip.append(input, text);
  return chip;
}

/** Name a pane: its result with the measured values, or in a blind test only its number. */
function fillCaption(viewer, pane, index) {
  if (viewer.blind) {
    const label = pane.key === HR ? "HR" : `${index + 1}`;
    pane.caption.textContent = label;
    pane.canvas.setAttribute("aria-label", `Blind test, image ${label}`);
    return;
  }
  const keys = pane.secondKey ? [pane.key, pane.secondKey] : [pane.key];
  pane.caption.replaceChildren(...keys.map((key) => createLabel(viewer, key)));
  const kind = { image: "", absolute: ", absolute error", signed: ", signed error" }[viewer.shown];
  const names = keys.map((key) => viewer.label(key)).join(" | ");
  pane.canvas.setAttribute("aria-label", `${viewer.scene.name}: ${names}${kind}`);
  pane.canvas.dataset.key = pane.key;
}

function createLabel(viewer, key) {
  const line = document.createElement("span"), label = document.createElement("b"), { psnr, ssim } = viewer.values(key);
  label.textContent = viewer.label(key);
  label.title = viewer.data.sources[key].detail ?? "";
  const values = [psnr === undefined ? "" : formatDecibel(psnr), ssim?.toFixed(4)].filter(Boolean);
  line.append(label, values.join(" · "));
  line.style.setProperty("--mark", viewer.data.sources[key].color);
  return line;
}
