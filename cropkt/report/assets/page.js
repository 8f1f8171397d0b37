// Downloads, addresses within the page, printing, and the start.

async function download(link) {
  const packed = Uint8Array.from(atob(byId("table-" + link.dataset.table).textContent), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const address = URL.createObjectURL(new Blob([await new Response(unpacked).arrayBuffer()], { type: "text/csv" }));
  const made = document.createElement("a");
  Object.assign(made, { href: address, download: link.download });
  made.click();
  setTimeout(() => URL.revokeObjectURL(address), 10000);
}

// #pair=SOURCE,TARGET and #target=CODE open what they name, so that a finding can be sent as a link.
function followAddress() {
  const [what, value] = location.hash.slice(1).split("=");
  const cohorts = (value || "").split(",").map((code) => cohortNumber(decodeURIComponent(code)));
  if (cohorts.includes(-1)) return;
  if (what === "pair" && cohorts.length === 2) openPair(...cohorts);
  if (what === "target" && value) {
    showTarget(cohorts[0]);
    byId("target").scrollIntoView();
  }
}

function fit(width) {
  drawMatrix(width);
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    if (plot.id !== "matrix-plot" && plot.offsetParent) Plotly.relayout(plot, width ? { width } : { width: plot.parentElement.clientWidth });
  }
}

// Everything again, in the colours of the moment.
function recolour() {
  showTarget(shownTarget);
  if (byId("pair").open) openPair(open.source, open.target);
}

window.addEventListener("beforeprint", () => {
  document.documentElement.dataset.paper = "";
  recolour();
  fit(PAPER_WIDTH);
});
window.addEventListener("afterprint", () => {
  delete document.documentElement.dataset.paper;
  recolour();
  fit();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  recolour();
  drawMatrix();
});
window.addEventListener("resize", () => drawMatrix());
window.addEventListener("hashchange", followAddress);
document.querySelectorAll("[data-table]").forEach((link) => link.addEventListener("click", (event) => {
  event.preventDefault();
  download(link);
}));

startPair();
startMatrix().then(startTarget).then(() => {
  document.documentElement.dataset.ready = Math.round(performance.now());
  followAddress();
});
