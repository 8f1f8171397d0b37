// The matrix: colours, marks, orders, hover, click and keyboard.

const shown = { order: "registry", measure: "c_index_pooled", numbers: true };
const PAPER_WIDTH = 670; // A4 less its margins, at 96 dots an inch
const cursor = { row: 0, column: 0 };
const MARGIN = { l: 96, t: 150, b: 66 };
const LEAST_CELL = 24; // pixels that a number needs; a narrow screen moves the matrix along

function matrixSize(available) {
  const right = DATA.orders[shown.order].groups.length ? (available > PAPER_WIDTH ? 130 : 100) : 20;
  const cell = Math.max(available < PAPER_WIDTH ? LEAST_CELL : 0, Math.min(60, (available - MARGIN.l - right) / COUNT));
  const height = Math.min(60, Math.max(cell * 0.8, available > PAPER_WIDTH ? 25 : 20));
  return { right, cell, rowHeight: height, width: MARGIN.l + right + cell * COUNT, height: MARGIN.t + MARGIN.b + height * COUNT };
}

function cellText(source, target, room) {
  const mark = DATA.marks[pairValue("state", source, target)] || "";
  const value = pairValue(shown.measure, source, target);
  if (!shown.numbers || value === null) return mark;
  const number = value.toFixed(2).replace(/^0/, "");
  return mark ? number + (room ? "<br>" : "") + mark : number;
}

function matrixTraces(size) {
  const { rows, columns } = DATA.orders[shown.order];
  const grid = (value) => rows.map((source) => columns.map((target) => value(source, target)));
  const relied = (source, target) => pairValue("state", source, target) !== "cannot tell";
  const position = COHORTS.map((_, number) => number);
  const common = { type: "heatmap", x: position, y: position, xgap: 1, ygap: 1 };
  const text = grid((source, target) => cellText(source, target, size.rowHeight >= 20));
  const values = grid((source, target) => (relied(source, target) ? pairValue(shown.measure, source, target) : null));
  const font = { family: FONT, size: size.cell < 22 ? 7 : size.cell < 27 ? 8 : 9.5 };
  const clear = [[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]];
  return [
    { ...common, z: values, coloraxis: "coloraxis", text, texttemplate: "%{text}", textfont: font, hoverinfo: "skip", hoverongaps: false },
    // Over all cells, also those without a colour, so that each of them answers.
    {
      ...common, z: grid(() => 0), zmin: 0, zmax: 1, colorscale: clear, showscale: false,
      text: grid((source, target) => (values[rows.indexOf(source)][columns.indexOf(target)] === null ? cellText(source, target, true) : "")),
      texttemplate: "%{text}", textfont: { ...font, color: theme().quiet },
      customdata: grid((source, target) => pairLines(source, target).map(plain).join("<br>")),
      hovertemplate: "%{customdata}<extra></extra>",
    },
  ];
}

function matrixLayout(size) {
  const { rows, columns, groups } = DATA.orders[shown.order];
  const colours = theme();
  const box = (column, row) => ({ type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5, line: { color: "#000", width: 1.6 } });
  const shapes = rows.map((source, row) => box(columns.indexOf(source), row));
  const annotations = [];
  let start = 0;
  for (const [name, count] of groups) {
    const centre = start + (count - 1) / 2;
    annotations.push({ xref: "paper", x: 1, xanchor: "left", xshift: 8, y: centre, text: plain(name), showarrow: false, font: { size: 11, color: colours.quiet } });
    start += count;
    if (start === COUNT) break;
    const line = { type: "line", line: { color: colours.ink, width: 1.6 } };
    shapes.push({ ...line, xref: "paper", x0: 0, x1: 1, y0: start - 0.5, y1: start - 0.5 });
    shapes.push({ ...line, yref: "paper", y0: 0, y1: 1, x0: start - 0.5, x1: start - 0.5 });
  }
  const axis = { tickvals: rows.map((_, position) => position), showgrid: false, zeroline: false, fixedrange: true, ticks: "", tickfont: { size: 11 } };
  const tickFormat = DATA.reach > 0.2 ? 0.1 : 0.05;
  return plotLayout(colours, {
    width: size.width, height: size.height, margin: { ...MARGIN, r: size.right }, plot_bgcolor: colours.unknown,
    xaxis: { ...axis, side: "top", tickangle: -90, ticktext: columns.map((target) => plain(`${codeOf(target)} ${COHORTS[target].size}`.trim())), range: [-0.5, COUNT - 0.5], title: { text: "target: tested on", font: { size: 12 }, standoff: 12 } },
    yaxis: { ...axis, ticktext: rows.map((source) => plain(codeOf(source))), range: [COUNT - 0.5, -0.5], title: { text: "source: trained on", font: { size: 12 }, standoff: 8 } },
    coloraxis: {
      cmin: 0.5 - DATA.reach, cmax: 0.5 + DATA.reach, colorscale: DATA.scale,
      colorbar: {
        orientation: "h", thickness: 12, len: 320, lenmode: "pixels", x: 0, xanchor: "left", y: 0, yanchor: "top", ypad: 14, dtick: tickFormat, outlinewidth: 0,
        tickformat: ".2f", title: { text: shown.measure === "c_index_pooled" ? "pooled C-index (0.5 = chance)" : "mean C-index of folds (0.5 = chance)", side: "bottom", font: { size: 11 } },
      },
    },
    shapes, annotations,
  });
}

function drawMatrix(available = byId("matrix").clientWidth) {
  const size = matrixSize(available);
  const drawn = Plotly.react(byId("matrix-plot"), matrixTraces(size), matrixLayout(size), CONFIG);
  const mark = byId("cursor");
  mark.style.width = `${size.cell}px`;
  mark.style.height = `${size.rowHeight}px`;
  mark.style.left = `${MARGIN.l + cursor.column * size.cell}px`;
  mark.style.top = `${MARGIN.t + cursor.row * size.rowHeight}px`;
  return drawn;
}

function atCursor() {
  const { rows, columns } = DATA.orders[shown.order];
  return [rows[cursor.row], columns[cursor.column]];
}

function readOut(source, target) {
  byId("readout").textContent = pairLines(source, target).join("; ") + ".";
}

function moveCursor(row, column) {
  const inside = (value) => Math.min(COUNT - 1, Math.max(0, value));
  cursor.row = inside(row);
  cursor.column = inside(column);
  const size = matrixSize(byId("matrix").clientWidth);
  byId("cursor").style.left = `${MARGIN.l + cursor.column * size.cell}px`;
  byId("cursor").style.top = `${MARGIN.t + cursor.row * size.rowHeight}px`;
  byId("cursor").scrollIntoView({ block: "nearest", inline: "nearest" });
  readOut(...atCursor());
  if (!byId("cursor").hidden) Plotly.Fx.hover(byId("matrix-plot"), { xval: cursor.column, yval: cursor.row });
}

function matrixKey(event) {
  const moves = {
    ArrowUp: [cursor.row - 1, cursor.column], ArrowDown: [cursor.row + 1, cursor.column],
    ArrowLeft: [cursor.row, cursor.column - 1], ArrowRight: [cursor.row, cursor.column + 1],
    Home: [cursor.row, 0], End: [cursor.row, COUNT - 1], PageUp: [0, cursor.column], PageDown: [COUNT - 1, cursor.column],
  };
  if (event.target !== byId("matrix-holder")) return;
  if (moves[event.key]) moveCursor(...moves[event.key]);
  else if (event.key === "Enter" || event.key === " ") openPair(...atCursor());
  else return;
  event.preventDefault();
}

function startMatrix() {
  const drawn = drawMatrix();
  const holder = byId("matrix-holder");
  byId("matrix-plot").on("plotly_click", (event) => {
    const [row, column] = event.points[0].pointIndex;
    moveCursor(row, column);
    openPair(...atCursor());
  });
  byId("controls").addEventListener("change", (event) => {
    const input = event.target;
    shown[input.name] = input.type === "checkbox" ? input.checked : input.value;
    drawMatrix();
    if (!byId("cursor").hidden) readOut(...atCursor());
  });
  holder.addEventListener("keydown", matrixKey);
  holder.addEventListener("focus", () => {
    byId("cursor").hidden = !holder.matches(":focus-visible");
    if (!byId("cursor").hidden) readOut(...atCursor());
  });
  holder.addEventListener("blur", () => {
    byId("cursor").hidden = true;
    Plotly.Fx.unhover(byId("matrix-plot"));
  });
  return drawn;
}
