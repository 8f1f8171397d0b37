// The measured numbers, and how they are written.

const DATA = JSON.parse(document.getElementById("data").textContent);
const COHORTS = DATA.cohorts;
const COUNT = COHORTS.length;
const FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', 'DejaVu Sans', sans-serif";
const CONFIG = { displaylogo: false, modeBarButtons: [["toImage"]] };
// Colours as the page has them now: report.css decides between light, dark and paper.
function theme() {
  const css = getComputedStyle(document.documentElement);
  const page = (name) => css.getPropertyValue("--" + name).trim();
  const names = ["scheme", "ink", "quiet", "paper", "grid", "axis", "band", "error", "unknown"];
  const colours = Object.fromEntries(names.map((name) => [name, page(name)]));
  return { ...DATA.palette[colours.scheme], ...colours };
}

function plotLayout(colours, extra) {
  const clear = "rgba(0,0,0,0)";
  return {
    paper_bgcolor: clear, plot_bgcolor: clear, dragmode: false, font: { family: FONT, size: 12, color: colours.ink },
    hoverlabel: { align: "left", bgcolor: colours.paper, bordercolor: colours.quiet, font: { family: FONT, size: 12, color: colours.ink } },
    modebar: { color: colours.quiet, activecolor: colours.ink, bgcolor: clear }, ...extra,
  };
}

function byId(id) {
  return document.getElementById(id);
}

function pairIndex(source, target) {
  return source * COUNT + target;
}

function pairValue(name, source, target) {
  return DATA.pairs[name][pairIndex(source, target)];
}

function codeOf(cohort) {
  return COHORTS[cohort].code.toUpperCase();
}

function cohortNumber(code) {
  return COHORTS.findIndex((cohort) => cohort.code === code);
}

// Plotly reads a little HTML in its texts; names are never meant as HTML.
function plain(text) {
  return String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

function decimals(value, digits = 3) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

function signed(value) {
  return value === null || value === undefined ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(3);
}

function probability(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return "< 0.001";
  return value < 0.095 ? value.toPrecision(2) : value.toFixed(2);
}

function withSign(value) {
  const text = probability(value);
  return text.startsWith("<") ? text : "= " + text;
}

function interval(low, high) {
  return low === null || low === undefined ? "no interval" : `95 % interval ${decimals(low)} to ${decimals(high)}`;
}

function stateText(source, target) {
  const state = pairValue("state", source, target);
  if (state === "failed") return pairValue("status", source, target);
  if (state === "self") return "within the cohort, matched folds";
  if (state === "cannot tell") return "cannot tell: too few events or comparable patients";
  return state;
}

// The lines of a cell's numbers, as shown on hover, read out, and on top of the pair.
function pairLines(source, target) {
  const value = (name) => pairValue(name, source, target);
  const lines = [`${codeOf(source)} on ${codeOf(target)}: ${stateText(source, target)}`];
  if (value("c_index_pooled") === null) return lines;
  lines.push(`pooled C-index ${decimals(value("c_index_pooled"))}, ${interval(value("interval_lower"), value("interval_upper"))}`);
  lines.push(`mean of folds ${decimals(value("c_index_mean"))}, ${value("folds_used")} fold pairs used`);
  lines.push(`${value("n_patients")} patients, ${value("n_events")} events, ${value("n_comparable")} comparable pairs`);
  if (value("q_chance") !== null) lines.push(`better than chance q ${withSign(value("q_chance"))}, worse q ${withSign(value("q_below_chance"))}`);
  for (const name of DATA.compared) {
    const difference = value("difference_" + name);
    if (difference !== null) lines.push(`against ${DATA.labels[name]} ${signed(difference)}, q ${withSign(value("q_" + name))}`);
  }
  const confounders = value("confounded_by");
  if (confounders) lines.push(`may be explained without the slide's tissue: ${confounders} alone reaches this C-index`);
  if (value("survival_predicted") !== null) {
    const years = (value("horizon") / 365).toFixed(1);
    lines.push(`recalibrated survival after ${years} years ${decimals(value("survival_predicted"))}, observed ${decimals(value("survival_observed"))}, calibration p ${withSign(value("calibration_p"))}`);
  }
  return lines;
}

// A table from plain texts; the first cell of a row is its header.
function makeTable(head, rows, caption) {
  const table = document.createElement("table");
  table.className = "numbers";
  if (caption) table.createCaption().textContent = caption;
  const cell = (row, text, tag, scope) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (scope) made.scope = scope;
    row.append(made);
  };
  const top = table.createTHead().insertRow();
  head.forEach((text) => cell(top, text, "th", "col"));
  const body = table.createTBody();
  for (const texts of rows) {
    const row = body.insertRow();
    texts.forEach((text, position) => (position ? cell(row, text, "td") : cell(row, text, "th", "row")));
  }
  return table;
}

function axisLayout(colours, extra) {
  return { gridcolor: colours.grid, zeroline: false, linecolor: colours.axis, ticks: "outside", tickcolor: colours.axis, automargin: true, ...extra };
}

// Estimates with intervals on one axis, a row each, first row on top. Rows may have `open`, called on a click.
function drawForest(plot, rows) {
  const colours = theme();
  const position = rows.map((_, row) => row);
  const reach = (value, edge) => (edge === null || edge === undefined ? 0 : Math.abs(edge - value));
  // 0.5 stays in view, with room beside it.
  const ends = rows.flatMap((row) => [row.value, row.low ?? row.value, row.high ?? row.value]).concat(0.48, 0.52);
  const [least, most] = [Math.min(...ends), Math.max(...ends)];
  const room = 0.04 * (most - least);
  const trace = {
    type: "scatter", mode: "markers", x: rows.map((row) => row.value), y: position,
    error_x: {
      type: "data", symmetric: false, thickness: 1.5, width: 3, color: colours.error,
      array: rows.map((row) => reach(row.value, row.high)), arrayminus: rows.map((row) => reach(row.value, row.low)),
    },
    marker: {
      size: 10, color: rows.map((row) => colours[row.colour]), symbol: rows.map((row) => row.symbol || "circle"),
      line: { width: 1.5, color: rows.map((row) => colours[row.line || row.colour]) },
    },
    customdata: rows.map((row) => plain(row.hover)), hovertemplate: "%{customdata}<extra></extra>",
  };
  const layout = plotLayout(colours, {
    height: 70 + 23 * rows.length, margin: { l: 10, r: 20, t: 10, b: 45 }, showlegend: false,
    xaxis: axisLayout(colours, { title: { text: "pooled C-index" }, range: [least - room, most + room], fixedrange: true }),
    yaxis: axisLayout(colours, {
      range: [rows.length - 0.5, -0.5], tickvals: position, ticktext: rows.map((row) => plain(row.label)), fixedrange: true,
      ticks: "", showgrid: false,
    }),
    shapes: [{ type: "line", x0: 0.5, x1: 0.5, yref: "paper", y0: 0, y1: 1, line: { color: colours.quiet, dash: "dot", width: 1.5 } }],
  });
  for (const [row, { band }] of rows.entries()) {
    if (band) layout.shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: row - 0.5, y1: row + 0.5, fillcolor: colours.band, line: { width: 0 }, layer: "below" });
  }
  const first = !plot.classList.contains("js-plotly-plot");
  const drawn = Plotly.react(plot, [trace], layout, { ...CONFIG, responsive: true });
  plot.rows = rows;
  if (first) plot.on("plotly_click", (event) => plot.rows[event.points[0].pointNumber].open?.());
  return drawn;
}
