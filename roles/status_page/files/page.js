// Written by christmas.selfheal (role status_page). Draws the charts, and refreshes the page regularly.
"use strict";

let drawn = [];

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const day = document.documentElement.lang;
const clock = (at) => new Date(at).toLocaleTimeString(day, {hour: "2-digit", minute: "2-digit", hour12: false});

function chart(box, about, span) {
  const caption = box.parentNode.querySelector("figcaption");
  const title = caption.firstChild.textContent;
  const said = document.createElement("output");
  caption.append(said);
  const rows = about.rows.map(([at, ...values]) => [new Date(at * 1000), ...values]);
  const top = Math.max(...rows.flatMap((row) => row.slice(1)).filter((value) => value !== null), 0);
  return new Dygraph(box, rows, {
    labels: [title, ...about.labels],
    colors: [color("--one"), color("--two")],
    strokeWidth: 1.5,
    dateWindow: span,
    fillGraph: about.labels.length === 1,
    fillAlpha: 0.12,
    axisLineColor: color("--edge"),
    gridLineColor: color("--edge"),
    gridLineWidth: 1,
    // A share is drawn from 0 to 100 %, other values up to a little above their maximum.
    valueRange: [0, about.labels.length > 1 ? 100 : Math.max(top * 1.15, 1)],
    axes: {
      x: {drawGrid: false, axisLabelFormatter: clock, pixelsPerLabel: 70},
      y: {axisLabelWidth: 40, pixelsPerLabel: 36},
    },
    highlightCircleSize: 3,
    highlightCallback: (event, x, points) => {
      const values = points.filter((point) => point.yval !== null).map((point) => `${about.labels.length > 1 ? point.name + " " : ""}${point.yval}`);
      said.textContent = `${clock(x)}  ${values.join(" · ")}`;
    },
    unhighlightCallback: () => { said.textContent = ""; },
    // A scrolling finger must not zoom.
    interactionModel: {},
    underlayCallback: (canvas, area, graph) => {
      canvas.save();
      canvas.strokeStyle = color("--down");
      canvas.setLineDash([4, 4]);
      for (const limit of about.limits) {
        const y = graph.toDomYCoord(limit);
        if (y >= area.y && y <= area.y + area.h) {
          canvas.beginPath();
          canvas.moveTo(area.x, y);
          canvas.lineTo(area.x + area.w, y);
          canvas.stroke();
        }
      }
      canvas.restore();
    },
  });
}

function draw() {
  const data = JSON.parse(document.getElementById("data").textContent);
  document.documentElement.classList.add("drawn");
  drawn.forEach((one) => one.destroy());
  drawn = [];
  for (const [name, about] of Object.entries(data.charts)) {
    const box = document.getElementById(`chart-${name}`);
    if (box) drawn.push(chart(box, about, [data.from * 1000, data.to * 1000]));
  }
  return data.refresh;
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, {headers: {Accept: "text/html"}});
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (!fresh.getElementById("data")) return;
    const open = Boolean(document.querySelector("details[open]"));
    for (const id of ["page", "data", "asked"]) {
      document.getElementById(id).replaceWith(document.adoptNode(fresh.getElementById(id)));
    }
    document.querySelector("details")?.toggleAttribute("open", open);
    document.title = fresh.title;
    draw();
  } catch {
    // The next refresh may work; the page shows its own time.
  }
}

if (document.getElementById("data") && typeof Dygraph === "function") {
  // The library's legend has inline styles, which the page's policy forbids. The caption shows the values.
  Dygraph.PLUGINS = Dygraph.PLUGINS.filter((one) => one !== Dygraph.Plugins.Legend);
  setInterval(refresh, draw() * 1000);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}
