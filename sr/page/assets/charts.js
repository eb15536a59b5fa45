"use strict";
(() => {
  const NARROW = 600; // CSS pixels; below it, the legend is under the chart
  const isTouch = matchMedia("(pointer: coarse)").matches; // a drag scrolls the page there, it does not zoom
  const config = {
    displaylogo: false, showSendToCloud: false, displayModeBar: isTouch ? false : "hover",
    modeBarButtonsToRemove: ["sendDataToCloud", "select2d", "lasso2d"],
  };
  const plots = [...document.querySelectorAll(".plot")];
  const readJson = (element) => JSON.parse(element.textContent);
  const template = readJson(document.getElementById("plotly-template"));

  async function loadPlotly() {
    const packed = atob(document.getElementById("plotly").textContent);
    const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  }

  function makeLayout(layout, width, height) {
    const isNarrow = width < NARROW;
    const result = structuredClone(layout);
    Object.assign(result, {
      width, height, template, uirevision: "same", // the user's zoom stays
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { ...result.font, color: "#1b1f24", family: getComputedStyle(document.body).fontFamily, size: isNarrow ? 11 : 13 },
      margin: { t: 32, r: isNarrow ? 12 : 32, b: 48, l: isNarrow ? 44 : 64, ...result.margin },
    });
    if (isTouch) result.dragmode = false;
    if (isNarrow) result.legend = { ...result.legend, orientation: "h", x: 0, xanchor: "left", y: -0.2, yanchor: "top" };
    for (const axis of Object.keys(result).filter((key) => /^[xy]axis/.test(key))) result[axis].automargin = true;
    return result;
  }

  function draw(plot) {
    const { clientWidth: width, clientHeight: height } = plot;
    if (!width || !window.Plotly) return; // hidden, or in a frame that has no size yet
    plot.figure ??= readJson(plot.parentElement.querySelector("script"));
    Plotly.react(plot, plot.figure.data, makeLayout(plot.figure.layout, width, height), config);
  }

  loadPlotly().then(() => {
    const observer = new ResizeObserver((entries) => {
      requestAnimationFrame(() => entries.forEach((entry) => draw(entry.target)));
    });
    plots.forEach((plot) => observer.observe(plot));
  }).catch((error) => {
    for (const plot of plots) plot.textContent = `This browser cannot draw the chart (${error.message}).`;
  });
})();
